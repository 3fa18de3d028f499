package httpd

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/h2"
	"github.com/baton-deploy/baton/internal/netconn"
	"golang.org/x/sys/unix"
)

// A conn is one client connection. It belongs to the goroutine that runs serve;
// only state, poke and Conn.Close are touched by others.
type conn struct {
	*netconn.Conn
	srv    *Server
	ln     *listener
	hosts  *hosts         // the virtual servers at the address it came to
	tls    *TLSState      // nil: plain
	asked  *VirtualServer // that the client named in its handshake, nil for none
	peer   netconn.Addr
	here   *netconn.Addr // the server's end, when it was asked for
	number uint64        // $connection: counted over the worker's life
	served int           // requests so far, the current one included
	since  time.Time     // when it was accepted
	in     netconn.Input
	out    []byte // written when full or when the response is complete
	// clock is what the time was when the response was made, as long as nothing was
	// waited for since; zero: not known. See Request.now.
	clock  time.Time
	broken error // set once: the client cannot be reached any more
	// answering: a response has begun whose end was not framed yet. See Response.SendHead.
	answering bool
	// patient: writes do not wait; what the socket does not take stays in out, and
	// stalled is set until all of that is written. See Request.Relay.
	patient, stalled bool
	state            atomic.Uint32
	// stream is what a request on a stream of HTTP/2 has of its own, carrier the
	// connection that the stream is on; nil for any other. h2 is what runs a carrier.
	stream  *streamConn
	carrier *conn
	h2      atomic.Pointer[h2.Conn]

	// headWaited is how long the bytes in in have waited for the rest of their
	// request head in the process that the connection came from.
	headWaited time.Duration
	pipelined  bool // the next request came before the answer to the one before
	// stays is the successor that the connection was offered to in vain: it drains
	// here unless there is another one.
	stays *Give
	// later is when a successor put the connection off; see [conn.expects].
	later time.Time
	// moveMu guards what follows. The connection's poller is told while it is held;
	// nothing else is locked.
	moveMu sync.Mutex
	window bool            // the connection waits and may be interrupted in order to move
	poked  bool            // it was
	turn   <-chan struct{} // received from when what came of that is over, see pokeInTurn
	waiter waiter          // what is interrupted; nil: the connection itself
}

// What a connection is doing, for stub_status and for retiring.
const (
	stateReading uint32 = iota // a request head
	stateWriting               // serving a request
	stateWaiting               // for the next request
)

// begin is serve for a connection that was accepted just now.
func (c *conn) begin(timeout time.Duration) {
	if c.hosts.secured {
		left, ok := c.secure(timeout)
		if !ok {
			c.close()
			return
		}
		timeout = left
	}
	if c.tls != nil && c.tls.NegotiatedProtocol == protocolHTTP2 {
		defer c.close()
		c.serveHTTP2()
		return
	}
	c.serve(timeout)
}

// serve runs the connection until it ends, or moves, and closes our descriptor of
// it. timeout bounds the wait for the first request.
func (c *conn) serve(timeout time.Duration) {
	defer c.close()
	for c.await(timeout) {
		if c.served == 0 && c.mayBeginHTTP2() && c.speaksHTTP2() {
			c.serveHTTP2()
			return
		}
		r := c.srv.getRequest(c)
		keep := c.one(r)
		timeout = r.keepaliveTimeout()
		c.srv.putRequest(r)
		if !keep {
			return
		}
		c.setState(stateWaiting)
	}
}

// one serves the request whose first byte is there and reports whether another may
// follow.
func (c *conn) one(r *Request) bool {
	c.setState(stateReading)
	c.srv.stats.requests()
	c.served++
	r.begin()
	r.pipelined = c.pipelined
	status, err := r.readHead()
	if err == errMoved {
		c.srv.stats.add(statRequests, -1) // it counts where it is answered
		return false
	}
	if err != nil {
		return c.headFailed(r, err)
	}
	c.setState(stateWriting)
	if status == 0 && c.hosts.secured {
		status = r.admit()
		r.keepalive = r.keepalive && !endsConnection(status)
	} else if status != 0 {
		r.keepalive = false
	}
	if status != 0 {
		r.finish(status)
	} else {
		r.serve()
	}
	return c.finished(r)
}

// finished ends a request that was answered, or whose connection is gone, and
// reports whether another may follow.
func (c *conn) finished(r *Request) bool {
	if c.broken == errMoved {
		return false // the successor completes it
	}
	r.complete()
	resetTimedOut(c, r)
	if !r.keepalive || c.broken != nil {
		c.linger(r)
		return false
	}
	return true
}

// headFailed ends a connection whose client went away, or was silent for too
// long, in the middle of a request head. nginx closes it without an answer.
func (c *conn) headFailed(r *Request, err error) bool {
	r.keepalive = false
	c.broken = err
	r.Out.Status = 400
	if errors.Is(err, netconn.ErrTimeout) {
		r.Out.Status = 408
	}
	r.runLog()
	resetTimedOut(c, r)
	return false
}

// resetTimedOut makes the end of the connection a reset when its client was silent for too
// long, or is to be told nothing, and the configuration wants that: the kernel drops what
// the client has not fetched.
func resetTimedOut(c *conn, r *Request) {
	if c.stream != nil || !r.core().ending.reset || !timedOut(r) {
		return
	}
	_ = c.Raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
}

// timedOut reports whether the client was silent for too long, or is to be told nothing.
func timedOut(r *Request) bool {
	return r.Out.Status == 444 || errors.Is(r.c.broken, netconn.ErrTimeout) || r.body.err == ErrBodyTimeout
}

func (c *conn) logIdleEnd(err error) {
	if err == io.EOF || errors.Is(err, netconn.ErrTimeout) {
		return
	}
	c.srv.log.Debug("keepalive connection ended", "conn", c.number, "err", err)
}

// setState tells the shared counters what the connection does now.
func (c *conn) setState(s uint32) {
	if old := c.state.Swap(s); old != s {
		c.srv.stats.move(old, s)
	}
}

// flush writes what is pending.
func (c *conn) flush(timeout time.Duration) error {
	return c.send(nil, timeout)
}

// send writes what is pending and then p.
func (c *conn) send(p []byte, timeout time.Duration) error {
	if c.broken != nil {
		return c.broken
	}
	if len(c.out)+len(p) == 0 {
		if c.stream != nil {
			return c.stream.flush(timeout)
		}
		return nil
	}
	if c.patient {
		return c.sendNow(p)
	}
	err := c.WriteAll(c.out, p, timeout)
	c.out = c.out[:0]
	if err != nil {
		c.broken = err
	}
	if c.WriteWaited() {
		c.clock = time.Time{}
	}
	return err
}

// sendNow is send that does not wait. While the connection is stalled it does not
// even try: what came first is to be written first.
func (c *conn) sendNow(p []byte) error {
	if c.stalled {
		c.hold(p)
		return nil
	}
	n, err := c.WriteNow(c.out, p)
	if err != nil {
		c.out = c.out[:0]
		c.broken = err
		return err
	}
	if n < len(c.out) {
		c.out = append(c.out[:0], c.out[n:]...)
	} else {
		p = p[n-len(c.out):]
		c.out = c.out[:0]
	}
	if c.stalled = len(c.out)+len(p) > 0; c.stalled {
		c.hold(p)
	}
	return nil
}

// pushFor writes what is pending as far as the client makes room within d. Only an
// error that ends the connection is one.
func (c *conn) pushFor(d time.Duration) error {
	before := c.Sent
	err := c.WriteAll(c.out, nil, d)
	if err != nil && err != netconn.ErrTimeout {
		c.out = c.out[:0]
		c.broken = err
		return err
	}
	c.out = append(c.out[:0], c.out[c.Sent-before:]...)
	return nil
}

// unsent is how much a stalled connection could not write.
func (c *conn) unsent() int64 {
	if !c.stalled {
		return 0
	}
	return int64(len(c.out))
}

// hold makes p pending, however much that is.
func (c *conn) hold(p []byte) {
	if need := len(c.out) + len(p); need > cap(c.out) {
		grown := append(bufpool.Get(need)[:0], c.out...)
		if c.out != nil {
			bufpool.Put(c.out)
		}
		c.out = grown
	}
	c.out = append(c.out, p...)
}

// push writes the first n bytes of what is pending, in a window: when it is
// interrupted, what was not sent stays pending.
func (c *conn) push(n int, timeout time.Duration) error {
	if c.broken != nil {
		return c.broken
	}
	before := c.Sent
	err := c.WriteAll(c.out[:n], nil, timeout)
	if err != nil && err != netconn.ErrInterrupted {
		c.out = c.out[:0]
		c.broken = err
		return err
	}
	c.out = append(c.out[:0], c.out[c.Sent-before:]...)
	return err
}

// outRoom returns the pending output, which has room for at least n more bytes
// unless n is larger than any buffer.
func (c *conn) outRoom(n int, timeout time.Duration) ([]byte, error) {
	if c.out == nil {
		c.out = bufpool.Get(bufpool.Page)[:0]
	}
	if len(c.out)+n <= cap(c.out) {
		return c.out, nil
	}
	if len(c.out) == 0 || cap(c.out) < bufpool.Large && len(c.out)+n <= bufpool.Large {
		big := append(bufpool.Get(bufpool.Large)[:0], c.out...)
		bufpool.Put(c.out)
		c.out = big
		return c.out, nil
	}
	err := c.flush(timeout)
	return c.out, err
}

// releaseOut gives the output buffer back between requests.
func (c *conn) releaseOut() {
	if c.out != nil && len(c.out) == 0 {
		bufpool.Put(c.out)
		c.out = nil
	}
}

// chooseHosts finds the virtual servers at the address that the connection came to.
func (c *conn) chooseHosts() {
	c.hosts = c.ln.hosts
	if c.ln.specific == nil {
		return
	}
	if h := c.ln.specific[c.local().AddrPort]; h != nil {
		c.hosts = h
	}
}

// askRemote asks the kernel for the client's address and reports whether it told:
// it forgets that of a connection which was reset.
func (c *conn) askRemote() (ok bool) {
	_ = c.Raw.Control(func(fd uintptr) {
		if sa, err := unix.Getpeername(int(fd)); err == nil {
			c.peer, ok = netconn.PeerAddr(sa), true
		}
	})
	return ok
}

// local is the server's end of the connection.
func (c *conn) local() *netconn.Addr {
	if c.here == nil {
		p := &netconn.Addr{}
		_ = c.Raw.Control(func(fd uintptr) {
			if sa, err := unix.Getsockname(int(fd)); err == nil {
				*p = netconn.LocalAddr(sa)
			}
		})
		c.here = p
	}
	return c.here
}

// linger reads on for a while after the last response when the client may still
// be sending: closing a socket with unread input resets it, and the reset could
// overtake the response on its way to the client.
func (c *conn) linger(r *Request) {
	if c.broken != nil || (c.in.Empty() && !r.bodyUnread() && !c.Conn.Pending()) {
		return
	}
	loc := r.core()
	if loc.ending.linger == lingerOff {
		return
	}
	c.drainInput(loc)
}

// drainInput reads on for a while, after which the client should have got what was sent.
func (c *conn) drainInput(loc *coreConf) {
	c.ShutdownWrite()
	var scratch [4096]byte
	for end := time.Now().Add(loc.ending.time); time.Now().Before(end); {
		if _, err := c.ReadInto(scratch[:], loc.ending.timeout); err != nil {
			return
		}
	}
}

// close ends the connection and takes it off the server's books.
func (c *conn) close() {
	c.settleTurn()
	c.in.Consume(len(c.in.Data()))
	c.in.Release()
	c.out = c.out[:0]
	c.releaseOut()
	if l, ok := c.Layer.(*tlsLayer); ok && c.broken == nil {
		_ = c.Raw.Control(func(fd uintptr) { l.farewell(int(fd)) }) // the socket's end comes with Close
	}
	_ = c.Conn.Close()
	c.srv.forget(c)
}
