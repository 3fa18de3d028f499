package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrNotRegular says that something is no regular file: a pipe, a device or a folder, which
// may do anything when it is opened or read.
var ErrNotRegular = errors.New("it is no regular file")

// ErrTooLarge says that a file has more than a file of its kind has.
var ErrTooLarge = errors.New("it is too large")

// OpenRegular opens a regular file as os.OpenFile does, and nothing else: what it is is
// known before it is opened. flags may say how to open and O_NOFOLLOW.
func OpenRegular(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|flags&unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	opened, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), flags&^unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) { // there is no /proc
		opened, err = openAgain(path, flags, &st)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(opened), path), nil
}

// openAgain opens path, which led to the regular file st a moment ago.
func openAgain(path string, flags int, st *unix.Stat_t) (fd int, err error) {
	if fd, err = unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0); err != nil {
		return -1, err
	}
	var now unix.Stat_t
	if err = unix.Fstat(fd, &now); err == nil && (now.Dev != st.Dev || now.Ino != st.Ino) {
		err = ErrNotRegular
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// ReadRegular reads a regular file of at most most bytes, and tells whose it is.
func ReadRegular(path string, flags int, most int64) (text []byte, owner int, err error) {
	f, err := OpenRegular(path, os.O_RDONLY|flags)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	return ReadOpen(f, most)
}

// ReadOpen is [ReadRegular] for a file that is open.
func ReadOpen(f *os.File, most int64) (text []byte, owner int, err error) {
	fd, err := FD(f)
	if err != nil {
		return nil, 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	text, err = io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = &os.PathError{Op: "read", Path: f.Name(), Err: fmt.Errorf("%w: more than %d bytes", ErrTooLarge, most)}
	}
	if err != nil {
		return nil, 0, err
	}
	return text, int(st.Uid), nil
}
