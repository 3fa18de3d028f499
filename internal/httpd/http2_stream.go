package httpd

import (
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/baton-deploy/baton/internal/h2"
	"github.com/baton-deploy/baton/internal/netconn"
	"golang.org/x/net/http2"
)

// A streamConn is what a request has for a connection that came on a stream of HTTP/2:
// what it knows of the client is the connection's that carries it, bytes come from the
// stream and go to it.
type streamConn struct {
	conn
	end  streamEnd
	head []byte // of the answer
	owes bool   // what flush was to send had no room
}

// A streamEnd is the stream as package netconn uses it.
type streamEnd struct {
	*h2.Stream
	carrier *conn
}

func (e *streamEnd) Read(try func(fd uintptr) bool) error {
	for !try(0) {
		if err := e.AwaitRead(); err != nil {
			return err
		}
	}
	return nil
}

func (e *streamEnd) Write(try func(fd uintptr) bool) error {
	for !try(0) {
		if err := e.AwaitWrite(); err != nil {
			return err
		}
	}
	return nil
}

// Control lends the descriptor of the socket that carries the stream.
func (e *streamEnd) Control(f func(fd uintptr)) error { return e.carrier.Raw.Control(f) }

func (e *streamEnd) SetDeadline(t time.Time) error {
	e.Stream.SetReadDeadline(t)
	e.Stream.SetWriteDeadline(t)
	return nil
}

func (e *streamEnd) SetReadDeadline(t time.Time) error {
	e.Stream.SetReadDeadline(t)
	return nil
}

func (e *streamEnd) SetWriteDeadline(t time.Time) error {
	e.Stream.SetWriteDeadline(t)
	return nil
}

// Close leaves the stream to whoever serves it, who is about to return.
func (e *streamEnd) Close() error { return nil }

func (e *streamEnd) Recv(_ int, p []byte) (int, error)    { return e.Stream.Recv(p) }
func (e *streamEnd) Send(_ int, a, b []byte) (int, error) { return e.Stream.Send(a, b) }
func (e *streamEnd) Peek(int) error                       { return e.Stream.Peek() }
func (e *streamEnd) HungUp(int) bool                      { return e.Stream.HungUp() }
func (e *streamEnd) CloseWrite(int)                       {}
func (e *streamEnd) CanMove() bool                        { return false }

// getStream returns the connection of a request that came on st.
func (s *Server) getStream(carrier *conn, st *h2.Stream) *streamConn {
	sc := s.streams.Get().(*streamConn)
	if sc.Conn == nil {
		sc.Conn = netconn.NewOn(&sc.end, &sc.end)
	}
	sc.end, sc.owes = streamEnd{st, carrier}, false
	sc.Reset()
	c := &sc.conn
	c.stream, c.carrier = sc, carrier
	c.srv, c.ln, c.hosts, c.tls, c.asked = carrier.srv, carrier.ln, carrier.hosts, carrier.tls, carrier.asked
	c.peer, c.here, c.number, c.since = carrier.peer, carrier.here, carrier.number, carrier.since
	c.served = st.Number()
	c.broken, c.patient, c.stalled, c.clock = nil, false, false, time.Time{}
	c.answering = false
	return sc
}

func (s *Server) putStream(sc *streamConn) {
	sc.in.Consume(len(sc.in.Data()))
	sc.in.Release()
	sc.out = sc.out[:0]
	sc.releaseOut()
	sc.end, sc.carrier = streamEnd{}, nil
	s.streams.Put(sc)
}

// flush sends what is to be sent besides content: a head, an end. While the connection is
// patient it may come to owe that.
func (sc *streamConn) flush(timeout time.Duration) error {
	if sc.broken == nil {
		err := sc.WriteNothing(timeout, sc.patient)
		if sc.owes = err == netconn.ErrWouldBlock; !sc.owes {
			sc.broken = err
		}
	}
	return sc.broken
}

// HTTP2 is "h2" for a request that came by HTTP/2 over TLS, "h2c" for one by HTTP/2
// without it, and "" for any other.
func (r *Request) HTTP2() string {
	switch {
	case r.c.carrier == nil:
		return ""
	case r.Secured():
		return protocolHTTP2
	}
	return "h2c"
}

// serveStream serves the request whose head came on st, to the end of its answer.
func (r *Request) serveStream(st *h2.Stream) {
	c := r.c
	c.srv.stats.requests()
	r.begin()
	status := r.takeStream(st)
	if status == 0 && c.hosts.secured {
		status = r.admit()
	}
	if status == 400 {
		st.Malformed()
	}
	if status != 0 {
		r.finish(status)
	} else {
		r.serve()
	}
	r.Out.end()
	_ = c.flush(r.core().sendTimeout)
	if timedOut(r) {
		st.FailWith(http2.ErrCodeProtocol)
	}
	if errors.Is(c.broken, h2.ErrReset) && st.Canceled() {
		r.Log(levelInfo, "client canceled stream "+strconv.Itoa(int(st.ID())), nil)
	}
	r.runLog()
	c.releaseOut()
}

// takeStream reads and checks the head. A status other than 0 is what the client is to
// be told.
func (r *Request) takeStream(st *h2.Stream) int {
	fault, line := st.Fault()
	var status int
	switch {
	case fault == "":
		status = r.takeHead(st.Head())
	case line:
		// What came before the fault says whose answer this is.
		if _, status = r.scanHead(st.Head()); status == 0 {
			r.chooseServer()
			status = r.invalid(fault, 400)
		}
	default:
		r.clean = append(r.clean[:0], st.Head()...)
		status = r.invalid(fault, 400)
	}
	r.headSize = int64(st.HeadBytes())
	r.keepalive = false // it is not for a request to say
	switch {
	case !r.c.hosts.http2 && !r.Server.http2.on:
		return r.invalid("client attempted to request the server name for which the negotiated protocol is disabled", 421)
	case status != 0:
		return status
	}
	return r.streamBody(st)
}

// streamBody finds out about the body: its end is the stream's, and a length that was
// declared must be true. What was not declared is not known before the body is read,
// also when all of it is there by chance: what becomes of a request does not depend on
// how quickly its body came.
func (r *Request) streamBody(st *h2.Stream) int {
	b, declared := &r.body, r.Head.Peek("content-length") != nil
	none := st.Ended() && st.Buffered() == 0
	switch {
	case none && b.length > 0:
		return r.invalid("client prematurely closed stream", 400)
	case none:
		b.length = 0
	case !declared:
		b.length = chunkedBody
	}
	return 0
}

// sendStreamHead gives the head to the stream, which sends it with the first of the
// body, or when the response is flushed or over.
func (o *Response) sendStreamHead(sc *streamConn) {
	length := o.ContentLength
	if o.bodiless {
		length = 0
	}
	sc.head = o.appendRest(o.appendOrigin(sc.head[:0]))
	sc.end.SetChunk(o.r.core().http2Chunk)
	sc.end.SetHead(o.Status, sc.head, length)
}

// readStream reads from a body of which only the stream's end tells the length.
func (b *Body) readStream(p []byte) (int, error) {
	c := b.r.c
	n, err := c.ReadInto(p, b.timeout)
	b.wire += int64(n)
	if err == io.EOF {
		return n, err
	}
	return n, b.failed(err)
}

// endedEarly is what follows a body that is shorter than was said. The stream can be
// answered all the same.
func (b *Body) endedEarly() error {
	b.r.Log(levelInfo, "client prematurely closed stream: only "+strconv.FormatInt(b.length-b.left, 10)+
		" out of "+strconv.FormatInt(b.length, 10)+" bytes of request body received", nil)
	return ErrBodyBroken
}

// checkStreamEnd waits, at the end of what a body's length said, for the end of the stream:
// when there is more the request is broken.
func (b *Body) checkStreamEnd() error {
	var more [1]byte
	n, err := b.r.c.ReadInto(more[:], b.timeout)
	switch {
	case n == 0 && err == io.EOF:
		return io.EOF
	case n == 0:
		return b.failed(err)
	}
	b.r.Log(levelInfo, "client intended to send body data larger than declared", nil)
	return ErrBodyBroken
}
