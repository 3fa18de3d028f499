package sock

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Socket is one listening socket.
type Socket struct {
	// Key is its address in the form of conf.Listen.Key.
	Key string
	// FD is owned by the Set. It is non-blocking and close-on-exec.
	FD int
	// Reuseport: it may be one of several with the same Key.
	Reuseport bool

	path string  // of a unix socket, or ""
	file inodeID // what path was when we got the socket
}

// An inodeID identifies a file, whatever it is called.
type inodeID struct{ dev, ino uint64 }

func fileID(path string) inodeID {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return inodeID{}
	}
	return inodeID{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is narrower on some architectures
}

// Describe returns descriptor fd as a Socket, when it is a stream socket that
// listens. fd stays the caller's on failure.
func Describe(fd int) (*Socket, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("describe socket %d: %w", fd, err)
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, fmt.Errorf("describe socket %d: %w", fd, err)
	}
	if kind != unix.SOCK_STREAM || listens == 0 {
		return nil, fmt.Errorf("describe socket %d: not a listening stream socket", fd)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, fmt.Errorf("describe socket %d: %w", fd, err)
	}
	s := &Socket{FD: fd}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		s.Key = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		s.Key = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrUnix:
		s.Key, s.path, s.file = "unix:"+sa.Name, sa.Name, fileID(sa.Name)
	default:
		return nil, fmt.Errorf("describe socket %d: unknown address family", fd)
	}
	if s.path == "" {
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
		s.Reuseport = err == nil && n != 0
	}
	return s, nil
}

// adopt makes fd fit to be held: it may come from a process that left it
// blocking.
func adopt(fd int) (*Socket, error) {
	s, err := Describe(fd)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("adopt socket %d: %w", fd, err)
	}
	return s, nil
}

// close closes s. With unlink the file of a unix socket goes too, unless by now
// it is somebody else's.
func (s *Socket) close(unlink bool) error {
	var err error
	if unlink && s.path != "" && s.path[0] != '@' && fileID(s.path) == s.file {
		if err = os.Remove(s.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if cerr := syscall.Close(s.FD); err == nil && cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("close socket %s: %w", s.Key, err)
	}
	return nil
}
