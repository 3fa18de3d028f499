package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// A Tunnel is two sockets between which bytes go both ways: a WebSocket and its
// server, after both have switched protocols. All that it consists of is here, so
// that it can be stopped and gone on with elsewhere: the two sockets, whose
// buffers hold the bytes in between, and the time-outs.
type Tunnel struct {
	Client, Server *httpd.Socket
	// ReadTimeout ends a tunnel in which nothing moved, either way, for so long.
	// SendTimeout bounds each write to the server, ClientTimeout to the client.
	ReadTimeout, SendTimeout, ClientTimeout time.Duration
	// FromClient and FromServer count the bytes that were passed on.
	FromClient, FromServer int64

	moved atomic.Int64 // when a byte was last passed on, in nanoseconds since start
	start time.Time
}

// Run passes bytes on until one side ends, the time is over or [Tunnel.Interrupt]
// is called, and returns nil, [httpd.ErrTimeout], [httpd.ErrInterrupted] or the
// error of a socket. After an interruption every byte that was read and not
// passed on is in the buffers of the sockets. Only one goroutine may be in Run.
func (t *Tunnel) Run() error {
	t.start = time.Now()
	t.moved.Store(0)
	back := make(chan error, 1)
	go func() { // ends with the interruption below, at the latest
		err := t.pump(t.Client, t.Server, t.SendTimeout, 0, &t.FromClient)
		t.Interrupt()
		back <- err
	}()
	err := t.pump(t.Server, t.Client, t.ClientTimeout, t.ReadTimeout, &t.FromServer)
	t.Interrupt()
	other := <-back
	if errors.Is(err, httpd.ErrInterrupted) {
		err = other // the one that ended first says why
	}
	if err == io.EOF {
		return nil
	}
	return err
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

// pump passes bytes from one socket to the other until one of them fails. idle
// bounds how long nothing may move in the whole tunnel; 0 means for ever.
func (t *Tunnel) pump(from, to *httpd.Socket, send, idle time.Duration, count *int64) error {
	for {
		if p := from.Buffered(); len(p) > 0 {
			n, err := to.WriteSome(p, send)
			from.Consume(n)
			*count += int64(n)
			t.moved.Store(int64(time.Since(t.start)))
			if err != nil {
				return err
			}
		}
		if err := t.wait(from, idle); err != nil {
			return err
		}
	}
}

// wait waits for input as long as something moves in the other direction.
func (t *Tunnel) wait(from *httpd.Socket, idle time.Duration) error {
	left := idle
	for {
		err := from.Fill(left)
		if !errors.Is(err, httpd.ErrTimeout) {
			return err
		}
		left = idle - (time.Since(t.start) - time.Duration(t.moved.Load()))
		if left <= 0 {
			return err
		}
	}
}

// tunnel sends the head of a 101 answer and passes bytes both ways from then on.
func (x *exchange) tunnel() int {
	r := x.r
	r.CloseAfter()
	if len(r.Field("Upgrade")) == 0 {
		// The client did not ask for it: it would not know what follows.
		return x.finish(r.Out.SendHead(), nil, false)
	}
	r.Out.Upgraded = true
	if err := r.Out.SendHead(); err != nil {
		return x.finish(err, nil, false)
	}
	if err := r.Out.Flush(); err != nil {
		return x.finish(err, nil, false)
	}
	x.doing = "proxying upgraded connection"
	x.conn.SetBuffer(httpd.BufferPage, httpd.BufferLarge)
	t := &Tunnel{
		Client: &x.client, Server: x.conn.Socket,
		ReadTimeout: x.loc.readTimeout, SendTimeout: x.loc.sendTimeout,
		ClientTimeout: r.Location().SendTimeout(),
	}
	err := t.Run()
	if errors.Is(err, httpd.ErrTimeout) {
		x.logTimeout()
	}
	x.raw += t.FromServer
	x.count = t.FromServer
	x.now().Sent += t.FromClient
	r.Out.CountTunnel(t.FromServer)
	x.done(false)
	return r.Lost(0)
}
