package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// OldBin is what the pid file of a master gets appended while its successor
// has the file itself.
const OldBin = ".oldbin"

// CheckPidFile reports whether a pid file could be written at path, and leaves
// no trace. The error is worded as nginx words it.
func CheckPidFile(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return openError(path, err)
		}
		f.Close()
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return openError(path, err)
	}
	f, err := createNew(path + ".new")
	if err != nil {
		return openError(path, err)
	}
	f.Close()
	return os.Remove(path + ".new")
}

// createNew creates a file. What lies there was left by who was killed; a link is not
// followed.
func createNew(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

// WritePidFile makes path say pid. A reader finds the old content, or nothing
// when there was none, or the new one, and never a part of it; when it fails, the old one.
func WritePidFile(path string, pid int) error {
	text := strconv.Itoa(pid) + "\n"
	// What is not a plain file (a link, /dev/null) is written to and not
	// replaced; so is a file in a folder that we may not write to.
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		return writeInPlace(path, text)
	}
	f, err := createNew(path + ".new")
	if err != nil {
		if _, serr := os.Lstat(path); serr == nil {
			return writeInPlace(path, text)
		}
		return openError(path, err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		os.Remove(path + ".new")
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}

// writeInPlace writes over what path has, and cuts off only what is left of that: an
// empty file is worse than an old one, and a full disk has no room for what was cut.
func writeInPlace(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	_, err = f.WriteString(text)
	if fi, serr := f.Stat(); err == nil && serr == nil && fi.Mode().IsRegular() {
		err = f.Truncate(int64(len(text)))
	}
	if err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return nil
}

// maxPidFile is more than a pid file has.
const maxPidFile = 64

// ReadPidFile returns the pid that path holds.
func ReadPidFile(path string) (int, error) {
	pid, _, err := ReadPidFileOf(path)
	return pid, err
}

// ReadPidFileOf returns the pid that path holds, and whose the file is. What is no regular
// file, or larger than any pid file, is not read.
func ReadPidFileOf(path string) (pid, owner int, err error) {
	b, owner, err := ReadRegular(path, 0, maxPidFile)
	if err != nil {
		return 0, owner, fmt.Errorf("read pid file: %w", err)
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0, owner, fmt.Errorf("read pid file: invalid PID number %q in %q", strings.TrimSpace(string(b)), path)
	}
	return pid, owner, nil
}

// RemoveStalePidFile removes path when it names a process that does not exist,
// or none at all.
func RemoveStalePidFile(path string) error {
	pid, err := ReadPidFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !HasEnded(pid) {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("unlink() %q failed (%w)", path, Errno(err))
	}
	return nil
}

// openError words a failed open as nginx does: open() "path" failed (2: No such
// file or directory).
func openError(path string, err error) error {
	return fmt.Errorf("open() %q failed (%w)", path, Errno(err))
}

// Errno returns the system's error inside err in nginx's form, number and text:
// "2: No such file or directory". Without one it returns err.
func Errno(err error) error {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err
	}
	return errnoText{no}
}

// errnoText words an Errno as nginx does; Go's texts begin in lower case.
type errnoText struct{ syscall.Errno }

func (e errnoText) Error() string {
	s := e.Errno.Error()
	return fmt.Sprintf("%d: %s%s", int(e.Errno), strings.ToUpper(s[:1]), s[1:])
}

func (e errnoText) Unwrap() error { return e.Errno }
