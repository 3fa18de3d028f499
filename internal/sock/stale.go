package sock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/proc"
)

// A folder is where the file of a unix socket is to be, held open so that whoever renames
// a part of its path meanwhile changes nothing.
type folder struct {
	fd   int
	base string
	path string // of the socket, for messages
	// locked: no other start of ours looks at sockets in this folder or makes one.
	locked bool
}

// openFolder opens the folder of the socket path. The caller must close it.
func openFolder(path string) (*folder, error) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		// Where names cannot be listed there can be a socket all the same.
		fd, err = unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	// Not waited for: whoever may read the folder may hold the lock for as long as he likes.
	locked := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil
	return &folder{fd, filepath.Base(path), path, locked}, nil
}

func (f *folder) close() { _ = unix.Close(f.fd) } // nothing was written

// bind gives socket fd its path. A file there that is a socket on which nobody listens was
// left by a server that was killed, and goes. Somebody who is about to listen on it, in
// another start, has the folder locked.
func (f *folder) bind(fd int, sa unix.Sockaddr) error {
	err := unix.Bind(fd, sa)
	if err != unix.EADDRINUSE || !f.locked || !f.stale() {
		return err
	}
	if err := unix.Unlinkat(f.fd, f.base, 0); err != nil && err != unix.ENOENT {
		return unix.EADDRINUSE // it stays, whyever
	}
	return unix.Bind(fd, sa)
}

// stale reports whether the file is a socket, and certainly nobody's.
func (f *folder) stale() bool {
	var before, after unix.Stat_t
	if unix.Fstatat(f.fd, f.base, &before, unix.AT_SYMLINK_NOFOLLOW) != nil || before.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	// A server whose queue is full is one, and so is one that speaks in datagrams: they
	// are other errors.
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", f.fd, f.base)})
	return err == unix.ECONNREFUSED &&
		unix.Fstatat(f.fd, f.base, &after, unix.AT_SYMLINK_NOFOLLOW) == nil && before.Ino == after.Ino && before.Dev == after.Dev
}

// letIn lets everybody connect who may reach the folder, as nginx does. It follows no link
// that was put in the place of the socket.
func (f *folder) letIn() error {
	fd, err := unix.Openat(f.fd, f.base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
			err = unix.ENOTSOCK
		}
	}
	if err == nil {
		err = os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o666)
	}
	if err != nil {
		return fmt.Errorf("chmod() %q failed (%w)", f.path, proc.Errno(err))
	}
	return nil
}

// remove undoes bind.
func (f *folder) remove() {
	_ = unix.Unlinkat(f.fd, f.base, 0) // bound by us a moment ago
}

// openUnix opens, binds and listens on the unix socket l that has a file.
func openUnix(l conf.Listen) (*Socket, error) {
	f, err := openFolder(l.Path)
	if err != nil {
		return nil, &BindError{Key: l.Key(), Err: err}
	}
	defer f.close()
	fd, err := newSocket(unix.AF_UNIX, l)
	if err != nil {
		return nil, err
	}
	if err := f.bind(fd, &unix.SockaddrUnix{Name: l.Path}); err != nil {
		unix.Close(fd)
		return nil, &BindError{Key: l.Key(), Err: err}
	}
	var sk *Socket
	err = errors.Join(f.letIn(), configure(fd, l))
	if err == nil {
		if sk, err = Describe(fd); err == nil {
			return sk, nil
		}
	}
	f.remove()
	unix.Close(fd)
	return nil, err
}
