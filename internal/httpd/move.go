package httpd

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/baton-deploy/baton/internal/handoff"
	"github.com/baton-deploy/baton/internal/netconn"
	"golang.org/x/sys/unix"
)

// A Give moves a connection to the successor: its kind, its state, its descriptors,
// which stay the caller's. After nil the connection is the successor's; after an
// error it is still ours. See package handoff.
type Give = func(kind byte, state []byte, fds ...int) error

// errMoved ends what a connection's goroutine is doing because the connection is
// another process's by now. Nothing more may be read, written or logged for it.
var errMoved = errors.New("connection was moved")

// A window is a stretch of a connection's life in which its goroutine waits and the
// connection could move: Retire interrupts such a wait and no other. Whoever opens
// it looks at [conn.movable] afterwards, whoever retires sets that before he pokes,
// so one of the two sees the other. What cannot move at all is not interrupted.
func (c *conn) openWindow() { c.openWindowOn(nil) }

// A waiter is what is interrupted in the place of the connection: a tunnel that it
// is one end of, the socket of a server that it waits for.
type waiter interface {
	Interrupt()
	Resume()
}

// openWindowOn is openWindow for a goroutine that waits on w.
func (c *conn) openWindowOn(w waiter) {
	c.moveMu.Lock()
	c.window, c.waiter = c.CanMove(), w
	turn := c.turn
	c.turn = nil
	c.moveMu.Unlock()
	if turn != nil {
		<-turn
	}
}

// closeWindow ends the stretch; an interruption that came is over.
func (c *conn) closeWindow() {
	c.moveMu.Lock()
	poked, w := c.poked, c.waiter
	c.window, c.poked, c.waiter = false, false, nil
	c.moveMu.Unlock()
	switch {
	case !poked:
	case w != nil:
		w.Resume()
	default:
		c.Resume()
	}
}

// endWait is closeWindow behind a wait that ended with err. Who was not interrupted
// after all goes on here: others need not wait for what becomes of him.
func (c *conn) endWait(err error) {
	c.closeWindow()
	if !errors.Is(err, netconn.ErrInterrupted) {
		c.settleTurn()
	}
}

// poke interrupts the connection's wait if it could move now, and reports whether it
// did. turn, if not nil, is received from when what comes of it is over.
func (c *conn) poke(turn <-chan struct{}) bool {
	c.moveMu.Lock()
	defer c.moveMu.Unlock()
	switch {
	case !c.window || c.poked:
		return false
	case c.waiter != nil:
		c.waiter.Interrupt()
	default:
		c.Interrupt()
	}
	c.poked, c.turn = true, turn
	return true
}

// movable reports whether the connection is to be moved as soon as it can be.
func (c *conn) movable() bool {
	give := c.srv.give.Load()
	return give != nil && give != c.stays && c.CanMove()
}

// drains reports whether the connection is to end with its next response.
func (c *conn) drains() bool { return c.srv.retiring.Load() && !c.movable() && !c.expects() }

// laterPatience is how long another successor is waited for when the present one has
// promised him, or has ended. The master names him when it tells the one before to
// retire, or has put another in the place of one that died, so he comes soon or not at
// all.
const laterPatience = time.Second

// expects reports whether another successor should come soon: until then the client
// needs not be told to leave.
func (c *conn) expects() bool { return !c.later.IsZero() && time.Since(c.later) < laterPatience }

// giveAway moves the connection and reports whether it is gone. If not it stays and
// drains, unless another successor comes.
func (c *conn) giveAway(t *ticket, more ...int) bool {
	defer c.settleTurn()
	give := c.srv.give.Load()
	if give == nil || len(c.out) > len(t.owed) || c.broken != nil {
		c.stays = give // or whoever asks would ask for ever
		return false
	}
	t.number, t.served, t.listen = c.number, uint64(c.served), c.ln.key
	t.age, t.peer = time.Since(c.since), c.peer.AddrPort
	t.input = c.in.Data()
	state := t.append(nil)
	if len(state) > handoff.MaxState && t.shed(c.srv.site.carried) {
		state = t.append(nil)
	}
	err := errors.New("the descriptor is gone")
	if ctlErr := c.Raw.Control(func(fd uintptr) {
		err = (*give)(t.kind, state, append([]int{int(fd)}, more...)...)
	}); ctlErr != nil {
		err = ctlErr
	}
	if err != nil {
		c.stays = give
		if c.later = (time.Time{}); errors.Is(err, handoff.ErrLater) || errors.Is(err, handoff.ErrClosed) {
			c.later = time.Now()
		}
		c.srv.log.Debug("connection not moved, draining it", "conn", c.number, "err", err)
		return false
	}
	c.broken = errMoved
	c.srv.counts.moved.Add(1)
	return true
}

// await waits for the first byte of a request and reports whether there is one.
// timeout of zero waits for ever. A retiring server moves the connection here.
func (c *conn) await(timeout time.Duration) bool {
	whole := timeout
	for {
		if c.movable() && c.giveAway(c.waiting(whole, timeout)) {
			return false
		}
		if !c.in.Empty() {
			c.pipelined = c.headWaited == 0 // else it is a head that moved before it was whole
			return true
		}
		c.pipelined = false
		c.openWindow()
		if c.movable() {
			c.closeWindow()
			continue
		}
		c.BeginWaitAt(c.clock)
		c.clock = time.Time{}
		err := c.Fill(&c.in, timeout)
		c.BeginWaitAt(time.Time{})
		c.endWait(err)
		switch {
		case err == nil:
			return true
		case !errors.Is(err, netconn.ErrInterrupted):
			c.logIdleEnd(err)
			return false
		}
		timeout = c.ReadLeft()
	}
}

// waiting describes a wait for a request of whose time whole there is left. What a
// head that came from another process has waited there counts too.
func (c *conn) waiting(whole, left time.Duration) *ticket {
	if whole <= 0 {
		return &ticket{kind: ticketWaiting}
	}
	before := c.headWaited
	return &ticket{kind: ticketWaiting, timeout: whole + before, waited: whole - left + before}
}

// fillHead reads more of a request head that has begun at start, and moves the
// connection with what there is of it when the server retires.
func (c *conn) fillHead(start time.Time, whole time.Duration) error {
	for {
		left := time.Until(start.Add(whole))
		if left <= 0 {
			return netconn.ErrTimeout
		}
		if c.movable() {
			// This request counts where it is answered.
			c.served--
			if c.giveAway(&ticket{kind: ticketWaiting, timeout: whole, waited: whole - left}) {
				return errMoved
			}
			c.served++
		}
		c.openWindow()
		if c.movable() {
			c.closeWindow()
			continue
		}
		err := c.Fill(&c.in, left)
		c.endWait(err)
		if !errors.Is(err, netconn.ErrInterrupted) {
			return err
		}
	}
}

// Take makes the connection of a ticket one of the server's own and serves it. fds
// are the server's from then on, also when it fails; then they are closed.
func (s *Server) Take(kind byte, state []byte, fds []int) error {
	t, err := parseTicket(kind, state)
	if err == nil {
		err = s.takes(t, len(fds))
	}
	if err != nil {
		closeFDs(fds)
		return fmt.Errorf("take a connection: %w", err)
	}
	return s.adopt(t, fds)
}

// Wants reports whether such a connection is welcome. Take serves what was, also
// when the server has become full or retires since: its giver has let go of it.
func (s *Server) Wants(kind byte, state []byte, fds int) bool {
	t, err := parseTicket(kind, state)
	return err == nil && s.takes(t, fds) == nil && !s.retiring.Load() && !s.full()
}

// full reports whether as many connections are open as may be.
func (s *Server) full() bool { return s.maxConns > 0 && int64(s.Conns()) >= s.maxConns }

// takes says why a ticket cannot be taken.
func (s *Server) takes(t *ticket, fds int) error {
	switch {
	case fds != 1+t.sockets()+t.files():
		return fmt.Errorf("%w: %d descriptors", ErrTicket, fds)
	case s.site.hosts[t.listen] == nil:
		return fmt.Errorf("nobody listens on %s here", t.listen)
	case s.site.hosts[t.listen].secured:
		return fmt.Errorf("what comes to %s by now is TLS", t.listen)
	case t.kind != ticketWaiting:
		return s.takesResponse(t)
	}
	return nil
}

func (s *Server) adopt(t *ticket, fds []int) error {
	if err := checkSockets(t, fds); err != nil {
		closeFDs(fds)
		return fmt.Errorf("take a connection: %w", err)
	}
	tr, err := netconn.New(fds[0], "client")
	if err != nil {
		closeFDs(fds[1:])
		return fmt.Errorf("take a connection: %w", err)
	}
	c := &conn{
		Conn: tr, srv: s, ln: s.homes[t.listen], number: t.number, served: int(t.served),
		since: time.Now().Add(-t.age),
	}
	if !c.askRemote() {
		c.peer.AddrPort = t.peer // the client has reset the connection meanwhile
	}
	tr.Delays = c.peer.AddrPort.IsValid()
	c.chooseHosts()
	if len(t.input) > 0 {
		c.in.FillWith(t.input)
	}
	if !s.rememberTaken(c) {
		closeFDs(fds[1:])
		_ = tr.Close()
		return errors.New("take a connection: the server has ended")
	}
	for n := s.numbers.Load(); n < t.number && !s.numbers.CompareAndSwap(n, t.number); {
		n = s.numbers.Load()
	}
	c.state.Store(stateWaiting)
	s.stats.taken()
	go func() {
		defer s.wg.Done()
		defer guard(s.log, c.number)
		c.goOn(t, fds[1:])
	}()
	return nil
}

// checkSockets makes sure of what a ticket says of its descriptors: stream sockets,
// but for a file. They do not block, or a wait on one could not be interrupted.
func checkSockets(t *ticket, fds []int) error {
	for _, fd := range fds[:1+t.sockets()] {
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err != nil || kind != unix.SOCK_STREAM {
			return fmt.Errorf("%w: descriptor that is no stream socket", ErrTicket)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}

// rememberTaken is remember for a connection that was promised its place. It counts
// the goroutine that is to serve c, which the caller starts; but not from zero when
// Retire waits for zero: then it has come too late.
func (s *Server) rememberTaken(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waits && len(s.conns) == 0 {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

// goOn serves a connection that was taken from where it is.
func (c *conn) goOn(t *ticket, fds []int) {
	if t.kind != ticketWaiting {
		c.serveMoved(t, fds)
		return
	}
	left := t.timeout
	if left > 0 {
		left = max(t.timeout-t.waited, time.Millisecond)
	}
	if len(t.input) > 0 {
		c.headWaited = t.waited
	}
	c.serve(left)
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
