package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MakeTemp creates the folder path for temporary files unless it is there, and makes
// it user id's, who may be nil. It follows no links of other users. The error is in
// nginx's words.
func MakeTemp(path string, id *Identity) error {
	dir, _, err := openOwn(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		err = unix.Mkdirat(dir, filepath.Base(path), 0o700)
		_ = unix.Close(dir) // nothing was written
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("mkdir() \"%s\" failed (%w)", path, Errno(err))
	}
	if id == nil {
		return nil
	}
	fd, _, err := openOwn(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("stat() \"%s\" failed (%w)", path, Errno(err))
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat() \"%s\" failed (%w)", path, Errno(err))
	}
	if int(st.Uid) != id.UID {
		if err := unix.Fchownat(fd, "", id.UID, -1, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("chown(\"%s\", %d) failed (%w)", path, id.UID, Errno(err))
		}
	}
	const all = 0o700 // of the owner
	if st.Mode&all != all {
		if err := os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), os.FileMode(st.Mode&0o777|all)); err != nil {
			return fmt.Errorf("chmod() \"%s\" failed (%w)", path, Errno(err))
		}
	}
	return nil
}
