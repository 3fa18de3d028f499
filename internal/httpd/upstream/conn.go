package upstream

import (
	"errors"
	"fmt"
	"time"

	"github.com/baton-deploy/baton/internal/netconn"
	"golang.org/x/sys/unix"
)

// A Conn is a connection to a server. It belongs to one goroutine.
type Conn struct {
	*netconn.Socket
	// Reused says that it was taken from the cache: the server may close it at the
	// very moment of the next request.
	Reused bool
	// Kind sets connections to one server apart that are not used for one another, as
	// those with TLS are; nil for plain ones. It can be compared.
	Kind any
	// User is what keeps the connection: the settings of a location. It can be compared.
	User any

	peer     *Peer
	requests int
	opened   time.Time
	since    time.Time // idle since
}

// DialOptions are what proxy_bind and its kin ask for.
type DialOptions struct {
	Timeout   time.Duration
	Bind      unix.Sockaddr // nil: the kernel chooses
	BindName  string        // as written
	KeepAlive bool          // SO_KEEPALIVE
}

// A RefusedError is an error of connect(2) itself: the kernel knew at once that it
// leads nowhere.
type RefusedError struct {
	Addr string
	Err  error
}

func (e *RefusedError) Error() string { return "connect to " + e.Addr + ": " + e.Err.Error() }

func (e *RefusedError) Unwrap() error { return e.Err }

// A LocalError is an error of this side: there is no socket to connect with. No server
// is to blame for it.
type LocalError struct {
	Call string // "bind(192.0.2.1)"
	Err  error
}

func (e *LocalError) Error() string { return e.Call + ": " + e.Err.Error() }

func (e *LocalError) Unwrap() error { return e.Err }

// Dial connects to p. The error is [netconn.ErrTimeout], a [*RefusedError], a
// [*LocalError], or wraps an errno.
func Dial(p *Peer, o *DialOptions) (*Conn, error) {
	fd, err := unix.Socket(p.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &LocalError{"socket()", err}
	}
	if err := prepare(fd, p, o); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	err = unix.Connect(fd, ownAddr(p.addr))
	pending := errors.Is(err, unix.EINPROGRESS)
	if err != nil && !pending {
		_ = unix.Close(fd)
		return nil, &RefusedError{p.name, err}
	}
	s, err := netconn.NewSocket(fd, "upstream")
	if err != nil {
		return nil, fmt.Errorf("poll upstream socket: %w", err)
	}
	if pending {
		if err := s.WaitConnected(o.Timeout); err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	return &Conn{Socket: s, peer: p, opened: time.Now()}, nil
}

// prepare sets what must be set before connect(2).
func prepare(fd int, p *Peer, o *DialOptions) error {
	if p.family != unix.AF_UNIX {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return &LocalError{"setsockopt(TCP_NODELAY)", err}
		}
		if o.Bind != nil {
			// Two connections to different servers may have the same port of ours: there
			// are not many ports. A kernel that does not know the option does without.
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			if err := unix.Bind(fd, ownAddr(o.Bind)); err != nil {
				return &LocalError{"bind(" + o.BindName + ")", err}
			}
		}
	}
	if o.KeepAlive {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
			return &LocalError{"setsockopt(SO_KEEPALIVE)", err}
		}
	}
	return nil
}

// ownAddr returns a copy of sa for one system call: x/sys builds what the kernel
// reads inside of the Sockaddr itself, so two goroutines must not share one.
func ownAddr(sa unix.Sockaddr) unix.Sockaddr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &unix.SockaddrInet4{Port: sa.Port, Addr: sa.Addr}
	case *unix.SockaddrInet6:
		return &unix.SockaddrInet6{Port: sa.Port, ZoneId: sa.ZoneId, Addr: sa.Addr}
	case *unix.SockaddrUnix:
		return &unix.SockaddrUnix{Name: sa.Name}
	default:
		return sa
	}
}

// Drop closes the connection. To one with TLS it says so.
func (c *Conn) Drop() {
	if c.Kind != nil {
		c.CloseWrite()
	}
	c.Socket.Drop()
}

// Used counts a request on the connection.
func (c *Conn) Used() { c.requests++ }

// Take returns an idle connection to p of a kind from the group's cache, or nil; where the
// block asks for it, or says nothing, only one that user kept. now is when
// the request that can be sent again came; the zero time for one that cannot. Only
// for the former a connection that was in use a moment ago is not looked at.
func (g *Group) Take(p *Peer, kind, user any, now time.Time) *Conn {
	if g.pool == nil {
		return nil
	}
	return g.pool.take(p, kind, user, now)
}

// Keep puts c, on which nothing is under way, into the group's cache, or closes it.
// now is the time.
func (g *Group) Keep(c *Conn, now time.Time) {
	if g.pool == nil || !g.pool.keep(c, now) {
		c.Drop()
	}
}
