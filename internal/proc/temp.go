package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// MakeTemp creates the folder path for temporary files unless it is there, and makes
// it user id's, who may be nil. The error is in nginx's words.
func MakeTemp(path string, id *Identity) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("mkdir() \"%s\" failed (%w)", path, Errno(err))
	}
	if id == nil {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("stat() \"%s\" failed (%w)", path, Errno(err))
	}
	if int(st.Uid) != id.UID {
		if err := os.Chown(path, id.UID, -1); err != nil {
			return fmt.Errorf("chown(\"%s\", %d) failed (%w)", path, id.UID, Errno(err))
		}
	}
	const all = 0o700 // of the owner
	if st.Mode&all != all {
		if err := os.Chmod(path, fs.FileMode(st.Mode&0o777|all)); err != nil {
			return fmt.Errorf("chmod() \"%s\" failed (%w)", path, Errno(err))
		}
	}
	return nil
}
