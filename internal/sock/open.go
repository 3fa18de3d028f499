package sock

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/proc"
)

// defaultBacklog is nginx's on Linux. The kernel caps it at net.core.somaxconn.
const defaultBacklog = 511

// A BindError is a failure to get an address. It wraps the system's error.
type BindError struct {
	Key string
	Err error
}

// Error is nginx's wording.
func (e *BindError) Error() string {
	return fmt.Sprintf("bind() to %s failed (%v)", e.Key, proc.Errno(e.Err))
}

// Unwrap returns the cause.
func (e *BindError) Unwrap() error { return e.Err }

// Busy reports whether the address is taken for now: the process that has it
// may be just about to go.
func (e *BindError) Busy() bool { return errors.Is(e.Err, unix.EADDRINUSE) }

// open opens, binds and listens on l.
func open(l conf.Listen) (*Socket, error) {
	if l.Network == "unix" {
		return openUnix(l)
	}
	family, sa := address(l)
	fd, err := newSocket(family, l)
	if err != nil {
		return nil, err
	}
	if err := bind(fd, sa, l); err != nil {
		unix.Close(fd)
		return nil, err
	}
	err = configure(fd, l)
	if err == nil {
		var sk *Socket
		if sk, err = Describe(fd); err == nil {
			return sk, nil
		}
	}
	unix.Close(fd)
	return nil, err
}

// newSocket opens a socket for l.
func newSocket(family int, l conf.Listen) (fd int, err error) {
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket() %s failed (%w)", l.Key(), proc.Errno(err))
	}
	return fd, nil
}

func address(l conf.Listen) (family int, sa unix.Sockaddr) {
	port := int(l.Addr.Port())
	if a := l.Addr.Addr(); a.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: l.Addr.Addr().As16()}
}

// bind sets what must be set before an address is taken, and takes it.
func bind(fd int, sa unix.Sockaddr, l conf.Listen) error {
	type option struct {
		level, name, value int
		text               string
	}
	opts := []option{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, "SO_REUSEADDR"}}
	if l.Reuseport {
		opts = append(opts, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "SO_REUSEPORT"})
	}
	if l.Addr.Addr().Is6() {
		opts = append(opts, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, number(l.IPv6Only), "IPV6_V6ONLY"})
	}
	for _, o := range opts {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("setsockopt(%s) %s failed (%w)", o.text, l.Key(), proc.Errno(err))
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return &BindError{Key: l.Key(), Err: err}
	}
	return nil
}

// configure sets the options that may change while a socket listens, and
// listens: once more on a socket that does already changes its backlog.
func configure(fd int, l conf.Listen) error {
	set := func(level, name, value int, text string) error {
		if err := unix.SetsockoptInt(fd, level, name, value); err != nil {
			return fmt.Errorf("setsockopt(%s, %d) %s failed (%w)", text, value, l.Key(), proc.Errno(err))
		}
		return nil
	}
	var errs []error
	if l.Rcvbuf > 0 {
		errs = append(errs, set(unix.SOL_SOCKET, unix.SO_RCVBUF, int(l.Rcvbuf), "SO_RCVBUF"))
	}
	if l.Sndbuf > 0 {
		errs = append(errs, set(unix.SOL_SOCKET, unix.SO_SNDBUF, int(l.Sndbuf), "SO_SNDBUF"))
	}
	if l.Network != "unix" {
		errs = append(errs, keepAlive(l, set)...)
		// Seconds that the kernel waits for the first bytes before it hands out the
		// connection anyway; nginx's value.
		errs = append(errs, set(unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, number(l.Deferred), "TCP_DEFER_ACCEPT"))
		if l.FastOpen > 0 {
			errs = append(errs, set(unix.IPPROTO_TCP, unix.TCP_FASTOPEN, l.FastOpen, "TCP_FASTOPEN"))
		}
	}
	backlog := l.Backlog
	if backlog < 0 {
		backlog = defaultBacklog
	}
	if err := unix.Listen(fd, backlog); err != nil {
		errs = append(errs, fmt.Errorf("listen() to %s, backlog %d failed (%w)", l.Key(), backlog, proc.Errno(err)))
	}
	return errors.Join(errs...)
}

// allowReuseport makes open sockets accept company on their address.
func allowReuseport(sks []*Socket) {
	for _, sk := range sks {
		// A failure shows when the next socket is bound.
		if unix.SetsockoptInt(sk.FD, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) == nil {
			sk.Reuseport = true
		}
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// keepAlive sets what so_keepalive asks for; without it the system's default
// stays, or what the process before left.
func keepAlive(l conf.Listen, set func(level, name, value int, text string) error) []error {
	k := l.KeepAlive
	if !k.Set {
		return nil
	}
	errs := []error{set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, number(k.On), "SO_KEEPALIVE")}
	if k.Idle > 0 {
		errs = append(errs, set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(k.Idle.Seconds()), "TCP_KEEPIDLE"))
	}
	if k.Every > 0 {
		errs = append(errs, set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(k.Every.Seconds()), "TCP_KEEPINTVL"))
	}
	if k.Count > 0 {
		errs = append(errs, set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.Count, "TCP_KEEPCNT"))
	}
	return errs
}
