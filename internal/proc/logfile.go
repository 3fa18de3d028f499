package proc

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// OpenLog opens a log file for appending, creates it when it is not there, and
// gives it to user id, which may be nil. The error is in nginx's words.
//
// A log may lie in a folder of the workers' user, or of a user who is nobody's friend:
// links of other users are not followed, a file with several names is not written to where
// others may have given it one of them, and one that holds something is not given away
// where others may have put it. A FIFO that nobody reads is an error, since to wait would
// make a master deaf.
func OpenLog(path string, id *Identity) (*os.File, error) {
	fd, ours, err := openOwn(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT, 0o644)
	if err != nil {
		return nil, openError(path, err)
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	regular := err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
	if regular {
		if err = unix.SetNonblock(fd, false); err == nil && st.Nlink > 1 && !ours {
			err = unix.EMLINK
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, openError(path, err)
	}
	// As nginx: the owner changes and the group does not. What is not a plain
	// file (/dev/stdout, a pipe) is not ours to give away.
	if id != nil && regular && st.Nlink == 1 && (ours || st.Size == 0) {
		if err := unix.Fchown(fd, id.UID, -1); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("chown(%q, %d) failed (%w)", path, id.UID, Errno(err))
		}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Replace makes old another descriptor of what f is, in one step: whoever
// writes to old at this moment writes to one of the two files, and every logger
// keeps the *os.File that it has. f stays the caller's.
func Replace(old, f *os.File) error {
	return withFD(f, func(fd int) error {
		return withFD(old, func(oldFD int) error {
			if err := unix.Dup3(fd, oldFD, unix.O_CLOEXEC); err != nil {
				return fmt.Errorf("replace %s: %w", old.Name(), err)
			}
			return nil
		})
	})
}

// RedirectStderr makes standard error the first of the error logs, so that what
// a crash writes there is found, as nginx does. paths are the error logs of a
// configuration in order; when one is "stderr", standard error stays what it is.
func RedirectStderr(paths []string, files map[string]*os.File) error {
	if slices.Contains(paths, "stderr") {
		return nil
	}
	for _, path := range paths {
		f := files[path]
		if f == nil {
			continue
		}
		return withFD(f, func(fd int) error {
			if err := unix.Dup3(fd, 2, 0); err != nil {
				return fmt.Errorf("redirect standard error to %s: %w", path, err)
			}
			return nil
		})
	}
	return nil
}

// FD returns f's descriptor for as long as the caller keeps f open. Unlike
// f.Fd it leaves the mode alone: O_NONBLOCK is a flag of the open file
// description, which other processes share.
func FD(f *os.File) (int, error) {
	n := -1
	err := withFD(f, func(fd int) error { n = fd; return nil })
	return n, err
}

func withFD(f *os.File, do func(fd int) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("use descriptor of %s: %w", f.Name(), err)
	}
	if cerr := rc.Control(func(fd uintptr) { err = do(int(fd)) }); cerr != nil {
		return fmt.Errorf("use descriptor of %s: %w", f.Name(), cerr)
	}
	return err
}
