package control

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxWaiting is how many messages a Conn keeps for a receiver that does not read:
	// far more than anybody is sent who lives.
	maxWaiting = 64
	// postPatience is how long the first of them waits before the receiver counts as
	// hung. The kernel wakes who waits for room when three quarters of the socket's
	// buffer are free, see unix_writable.
	postPatience = 5 * time.Second
)

// ErrNotRead is what Post returns when too many messages wait to be read.
var ErrNotRead = errors.New("messages are not read")

// A packet is one datagram: the bytes and the descriptors that ride on them.
type packet struct {
	kind string
	data []byte
	fds  []int
}

// An outbox is what Post could not send at once.
type outbox struct {
	// mu guards what follows. It is a leaf, and nothing blocks while it is held.
	mu      sync.Mutex
	waiting []packet // with descriptors of our own; not empty while a goroutine sends
	err     error    // set once: nothing is sent any more
}

// Post sends like [Conn.Send] and never waits. What the socket has no room for is kept,
// with duplicates of its descriptors, and sent in order by a goroutine, which ends
// when all is sent or c is closed. When the receiver reads nothing for some seconds, c
// is of no more use to it, and lost is called once, by that goroutine.
//
// An error is one of this message, and final: of an ended channel, of a receiver
// that is lost, or [ErrNotRead]. On one Conn either Post or Send is used.
func (c *Conn) Post(kind string, body any, files ...File) error {
	var ps []packet
	for len(files) > maxFiles {
		p, err := pack(KindFiles, nil, files[:maxFiles])
		if err != nil {
			return err
		}
		ps, files = append(ps, p), files[maxFiles:]
	}
	p, err := pack(kind, body, files)
	if err != nil {
		return err
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for _, p := range append(ps, p) {
		if err := c.postLocked(p); err != nil {
			return fmt.Errorf("send %s: %w", p.kind, err)
		}
	}
	return nil
}

// WhenLost sets what is called when messages that Post took cannot be sent. It must be
// set before the first Post.
func (c *Conn) WhenLost(lost func(error)) { c.lost = lost }

// postLocked sends p or keeps it. c.out.mu must be held.
func (c *Conn) postLocked(p packet) error {
	switch {
	case c.out.err != nil:
		return c.out.err
	case len(c.out.waiting) >= maxWaiting:
		return ErrNotRead
	case len(c.out.waiting) == 0:
		err := c.try(p)
		if !errors.Is(err, unix.EAGAIN) {
			return err
		}
	}
	p, err := p.own()
	if err != nil {
		return err
	}
	c.out.waiting = append(c.out.waiting, p)
	if len(c.out.waiting) == 1 {
		go c.sendWaiting()
	}
	return nil
}

// try sends p if there is room for it now; else it returns EAGAIN.
func (c *Conn) try(p packet) error {
	rc, err := c.uc.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = rc.Control(func(fd uintptr) {
		sendErr = unix.Sendmsg(int(fd), p.data, p.rights(), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	if err != nil {
		return err
	}
	return sendErr
}

// sendWaiting sends what waits until nothing does.
func (c *Conn) sendWaiting() {
	for more := true; more; {
		c.out.mu.Lock()
		p := c.out.waiting[0]
		c.out.mu.Unlock()
		err := c.uc.SetWriteDeadline(time.Now().Add(c.patience))
		if err == nil {
			_, _, err = c.uc.WriteMsgUnix(p.data, p.rights(), nil)
		}
		if err != nil {
			c.drop(fmt.Errorf("send %s: %w", p.kind, err))
			return
		}
		p.close()
		c.out.mu.Lock()
		c.out.waiting = c.out.waiting[1:]
		more = len(c.out.waiting) > 0
		c.out.mu.Unlock()
	}
}

// drop forgets what waits.
func (c *Conn) drop(err error) {
	c.out.mu.Lock()
	waiting := c.out.waiting
	c.out.waiting, c.out.err = nil, err
	c.out.mu.Unlock()
	for _, p := range waiting {
		p.close()
	}
	// A receiver that has gone, or that we hung up on, is nothing to report.
	gone := errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
	if c.lost != nil && !gone {
		c.lost(err)
	}
}

// own returns p with duplicates of its descriptors, which close closes: the caller of
// Post may close its own as soon as that has returned.
func (p packet) own() (packet, error) {
	q := p
	q.fds = nil
	for _, fd := range p.fds {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			q.close()
			return packet{}, fmt.Errorf("keep descriptor %d: %w", fd, err)
		}
		q.fds = append(q.fds, dup)
	}
	return q, nil
}

func (p packet) close() {
	for _, fd := range p.fds {
		unix.Close(fd)
	}
}

func (p packet) rights() []byte {
	if len(p.fds) == 0 {
		return nil
	}
	return unix.UnixRights(p.fds...)
}
