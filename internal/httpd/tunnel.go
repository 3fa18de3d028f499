package httpd

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/netconn"
)

// A Tunnel is two sockets between which bytes go both ways: a WebSocket and its
// server, after both have switched protocols. All that it consists of is here, so
// that it can be stopped and gone on with elsewhere: the two sockets, whose
// buffers hold the bytes in between, and the time-outs.
type Tunnel struct {
	Client, Server *netconn.Socket
	// ReadTimeout ends a tunnel in which nothing was passed on, either way, for so long.
	// SendTimeout bounds each write to the server, ClientTimeout to the client.
	ReadTimeout, SendTimeout, ClientTimeout time.Duration
	// FromClient and FromServer count the bytes that were passed on.
	FromClient, FromServer int64
	// ClientEnded and ServerEnded: that side has said all that it has to say, and the
	// other one has been told. It may still be spoken to.
	ClientEnded, ServerEnded bool

	passed time.Duration // of ReadTimeout, before Run is called
	active atomic.Int64  // when a byte was last passed on, in nanoseconds since start
	start  time.Time
	guard  func(f func() error) error // runs f and turns a panic into an error; may be nil
}

// Run passes bytes on until both sides have ended, one of them has failed, the time is over
// or [Tunnel.Interrupt] is called, and returns nil, [ErrTimeout], [ErrInterrupted] or the
// error of a socket. After an interruption every byte that was read and not
// passed on is in the buffers of the sockets. Only one goroutine may be in Run.
func (t *Tunnel) Run() error {
	t.start = time.Now()
	t.active.Store(int64(-t.passed))
	defer func() { t.passed = t.idle() }()
	back := make(chan error, 1)
	go func() { // ends by itself, or is interrupted by what ends the other direction
		back <- t.direct(&t.ClientEnded, func() error { return t.pump(t.Client, t.Server, t.SendTimeout, &t.FromClient) })
	}()
	err := t.direct(&t.ServerEnded, func() error { return t.pump(t.Server, t.Client, t.ClientTimeout, &t.FromServer) })
	other := <-back
	if err == nil || errors.Is(err, netconn.ErrInterrupted) && other != nil {
		err = other // the one that failed first says why
	}
	return err
}

// direct passes on what comes from one side, unless that has ended. At its end the other
// direction goes on; if anything else ends it there is no use in that.
func (t *Tunnel) direct(ended *bool, pump func() error) error {
	if *ended {
		return nil
	}
	err := t.guarded(pump)
	if err == nil {
		*ended = true
		return nil
	}
	t.Interrupt()
	return err
}

// guarded runs one direction. A panic in it must not leave the other alone, nor end
// the process.
func (t *Tunnel) guarded(f func() error) error {
	if t.guard == nil {
		return f()
	}
	return t.guard(f)
}

// Interrupt makes Run return, from any goroutine. [Tunnel.Resume] must be called
// before Run is called again.
func (t *Tunnel) Interrupt() {
	t.Client.Interrupt()
	t.Server.Interrupt()
}

// Resume undoes Interrupt once Run has returned.
func (t *Tunnel) Resume() {
	t.Client.Resume()
	t.Server.Resume()
}

// pump passes bytes from one socket to the other until the one has no more, which the other
// is told, or either fails.
func (t *Tunnel) pump(from, to *netconn.Socket, send time.Duration, count *int64) error {
	for {
		if p := from.Buffered(); len(p) > 0 {
			n, err := to.WriteSome(p, send)
			from.Consume(n)
			*count += int64(n)
			if n > 0 {
				t.active.Store(int64(time.Since(t.start)))
			}
			if err != nil {
				return err
			}
		}
		switch err := t.wait(from, t.ReadTimeout); {
		case err == io.EOF:
			return to.EndWrite(send)
		case err != nil:
			return err
		}
	}
}

// wait waits for input as long as something moves in the other direction.
func (t *Tunnel) wait(from *netconn.Socket, idle time.Duration) error {
	left := idle
	if idle > 0 {
		left = max(idle-t.idle(), time.Millisecond)
	}
	for {
		err := from.Fill(left)
		if !errors.Is(err, netconn.ErrTimeout) {
			return err
		}
		left = idle - t.idle()
		if left <= 0 {
			return err
		}
	}
}

// idle is how long nothing was passed on.
func (t *Tunnel) idle() time.Duration {
	return time.Since(t.start) - time.Duration(t.active.Load())
}

// ErrMoved is returned by [Request.ServeTunnel] when the tunnel is another
// process's by now. The request is that process's too: return [Done] and leave
// both sockets alone but for closing them.
var ErrMoved = errMoved

// ServeTunnel is [Tunnel.Run] for the tunnel that the request's connection has
// become, which moves to the successor when the server retires. settle is called
// before it moves: what the log will need must be in the modules' states then.
func (r *Request) ServeTunnel(t *Tunnel, settle func()) error {
	c := r.c
	t.guard = r.Guarded
	if !t.Server.CanMove() {
		return t.Run()
	}
	for {
		if c.movable() {
			settle()
			if r.moveTunnel(t) {
				return ErrMoved
			}
		}
		c.openWindowOn(t)
		if c.movable() {
			c.closeWindow()
			t.Resume()
			continue
		}
		err := t.Run()
		c.closeWindow()
		t.Resume() // Run leaves both sides interrupted
		if !errors.Is(err, netconn.ErrInterrupted) {
			return err
		}
	}
}

// moveTunnel moves both sockets and the bytes between them, and reports whether
// they are gone.
func (r *Request) moveTunnel(t *Tunnel) bool {
	tk := r.ticket(ticketTunnel)
	tk.timeout, tk.sendTimeout, tk.clientTimeout = t.ReadTimeout, t.SendTimeout, t.ClientTimeout
	tk.waited = t.passed
	tk.setEnded(t)
	tk.toClient = t.Server.Buffered()
	gone := false
	_ = t.Server.Control(func(fd uintptr) { gone = r.c.giveAway(tk, int(fd)) })
	return gone
}

// Which side of a tunnel has ended.
const (
	clientEnded = 1
	serverEnded = 2
)

// setEnded says which side has ended; with both there is nothing to be moved.
func (t *ticket) setEnded(tunnel *Tunnel) {
	switch {
	case tunnel.ClientEnded:
		t.ended = clientEnded
	case tunnel.ServerEnded:
		t.ended = serverEnded
	}
}

// goOnTunnel serves a tunnel that was taken until it ends, or moves on.
func (r *Request) goOnTunnel(tk *ticket, fd int) error {
	server, err := netconn.NewSocket(fd, "upstream")
	if err != nil {
		return err
	}
	defer server.Drop()
	server.SetBuffer(bufpool.Page, bufpool.Large)
	server.FillWith(tk.toClient)
	client := r.Client()
	t := &Tunnel{
		Client: &client, Server: server,
		ReadTimeout: tk.timeout, SendTimeout: tk.sendTimeout, ClientTimeout: tk.clientTimeout, passed: tk.waited,
		ClientEnded: tk.ended == clientEnded, ServerEnded: tk.ended == serverEnded,
	}
	r.Out.Upgraded, r.Out.ContentLength = true, -1
	settled := time.Now()
	var from, to int64
	settle := func() {
		r.Out.CountTunnel(t.FromServer - from)
		p := Passage{Took: time.Since(settled), Received: t.FromServer - from, Sent: t.FromClient - to}
		for _, m := range r.c.srv.site.movers {
			m.Passed(r, p)
		}
		settled, from, to = time.Now(), t.FromServer, t.FromClient
	}
	err = r.ServeTunnel(t, settle)
	if errors.Is(err, ErrMoved) {
		return nil
	}
	settle()
	if errors.Is(err, netconn.ErrTimeout) {
		r.Log(levelError, "upstream timed out while proxying upgraded connection", nil)
	}
	r.Lost(0)
	return nil
}
