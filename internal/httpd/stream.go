package httpd

import (
	"errors"
	"io"
	"time"
)

// A Stream is the body of an answer that a server is still sending. All that it
// consists of is here, so that it can be gone on with in another process: the
// server's socket with what was read from it, and how the body is framed.
type Stream struct {
	Server *Socket
	// Chunks decodes the body; nil when it is not in chunks.
	Chunks *Chunks
	// Left is how much of a body with a length is still to come; -1 when only the
	// end of the connection tells, or Chunks.
	Left int64
	// Timeout bounds each wait for more; for the process that goes on with it.
	Timeout time.Duration
	// Settle is called before the stream moves: what the log will need must be in
	// the modules' states then.
	Settle func()
}

// next takes the next piece of content from b: used is how many bytes of b are done
// with, end that the body ends here.
func (s *Stream) next(b []byte) (p []byte, used int, end bool, err error) {
	switch {
	case s.Chunks != nil:
		p, used, ok := s.Chunks.Next(b)
		if !ok {
			return nil, used, false, errChunks
		}
		return p, used, s.Chunks.Done(), nil
	case s.Left < 0:
		return b, len(b), false, nil
	}
	n := min(int64(len(b)), s.Left)
	s.Left -= n
	return b[:n], int(n), s.Left == 0, nil
}

var errChunks = errors.New("upstream sent invalid chunked response")

// FillStream is s.Server.Fill for a stream that is passed on to the client. When
// the server retires the stream moves to the successor in such a wait, and
// FillStream returns [ErrMoved]: the request is another process's then.
func (r *Request) FillStream(s *Stream, timeout time.Duration) error {
	c := r.c
	for {
		if !c.movable() || !r.Out.streamMovable() {
			return r.fillStream(s, timeout)
		}
		s.Settle()
		if r.moveStream(s) {
			return ErrMoved
		}
	}
}

// fillStream waits once, and again from the start when it was interrupted in order
// to move.
func (r *Request) fillStream(s *Stream, timeout time.Duration) error {
	c := r.c
	if !r.Out.streamMovable() {
		return s.Server.Fill(timeout)
	}
	c.openWindowOn(s.Server)
	if c.movable() {
		c.closeWindow()
		return r.FillStream(s, timeout)
	}
	err := s.Server.Fill(timeout)
	c.closeWindow()
	if errors.Is(err, ErrInterrupted) {
		return r.FillStream(s, timeout)
	}
	return err
}

// streamMovable reports whether the response can go on in another process: nothing
// of it waits here, in a buffer or in an encoder's memory, and nothing of the request
// is left that a successor would take for the next one.
func (o *Response) streamMovable() bool {
	return o.head && !o.bodiless && o.encoder == nil && len(o.r.c.out) == 0 && o.r.c.broken == nil && !o.r.bodyUnread()
}

// moveStream moves the client's socket and the server's, with what was read from
// either, and reports whether they are gone.
func (r *Request) moveStream(s *Stream) bool {
	t := r.ticket(ticketStream)
	t.toClient, t.timeout = s.Server.Buffered(), s.Timeout
	t.chunked = r.Out.chunked
	switch {
	case s.Chunks != nil:
		t.framing = framedChunks
		t.chunkState, t.left = uint64(s.Chunks.c.state), uint64(s.Chunks.c.size)
	case s.Left < 0:
		t.framing = framedClose
	default:
		t.framing, t.left = framedLength, uint64(s.Left)
	}
	gone := false
	_ = s.Server.Control(func(fd uintptr) { gone = r.c.giveAway(t, int(fd)) })
	return gone
}

// How the body of a moved answer is framed by its server.
const (
	framedLength = 1
	framedChunks = 2
	framedClose  = 3
)

// stream is the Stream of a ticket, on a server's socket.
func (t *ticket) stream(server *Socket) (*Stream, error) {
	s := &Stream{Server: server, Left: -1}
	switch {
	case t.framing == framedLength:
		s.Left = int64(t.left)
	case t.framing == framedChunks && t.chunkState < uint64(chunkDone):
		s.Chunks = &Chunks{chunks{state: chunkState(t.chunkState), size: int64(t.left)}}
	case t.framing != framedClose:
		return nil, ErrTicket
	}
	return s, nil
}

// goOnStream passes the rest of a moved answer on until it ends, or moves again.
func (r *Request) goOnStream(t *ticket, fd int) error {
	server, err := NewSocket(fd, "upstream")
	if err != nil {
		return err
	}
	defer server.Drop()
	s, err := t.stream(server)
	if err != nil {
		return err
	}
	server.SetBuffer(BufferLarge, BufferLarge)
	server.in.fillWith(t.toClient)
	o := &r.Out
	o.chunked = t.chunked
	if s.Left < 0 {
		o.ContentLength = -1
	}
	o.startPace()
	s.Timeout = t.timeout
	account := r.accounts()
	s.Settle = func() { account(o.bodyLen) }
	err = r.passOn(s)
	if errors.Is(err, ErrMoved) {
		return nil
	}
	s.Settle()
	switch {
	case err == nil:
	case errors.Is(err, errGone):
		r.Lost(499)
	default:
		r.Log(levelError, "upstream failed while a moved answer was read", err)
		o.Abort()
	}
	return nil
}

var errGone = errors.New("client closed the connection")

// accounts returns a function that tells the modules what has passed, up to bodyLen
// in all, since it was last called.
func (r *Request) accounts() func(bodyLen int64) {
	settled, from := time.Now(), r.Out.bodyLen
	return func(bodyLen int64) {
		for _, m := range r.c.srv.site.movers {
			m.Passed(r, time.Since(settled), bodyLen-from, 0)
		}
		settled, from = time.Now(), bodyLen
	}
}

// passOn sends what comes to the client.
func (r *Request) passOn(s *Stream) error {
	for {
		p, used, end, err := s.next(s.Server.Buffered())
		if err != nil {
			return err
		}
		if len(p) > 0 {
			if _, err := r.Out.Write(p); err != nil {
				return errGone
			}
		}
		s.Server.Consume(used)
		if end {
			return nil
		}
		if used > 0 && len(s.Server.Buffered()) > 0 {
			continue
		}
		if r.Out.Flush() != nil {
			return errGone
		}
		if err := r.waitStream(s); err != nil {
			if err == io.EOF && s.Chunks == nil && s.Left < 0 {
				return nil
			}
			return err
		}
	}
}

// lookAfterClient is how often a wait for the server looks whether the client is
// still there.
const lookAfterClient = 2 * time.Second

// waitStream waits for input as long as the client is there.
func (r *Request) waitStream(s *Stream) error {
	timeout := s.Timeout
	client := r.Client()
	for waited := time.Duration(0); ; {
		wait := lookAfterClient
		if timeout > 0 {
			wait = min(wait, timeout-waited)
		}
		err := r.FillStream(s, wait)
		if !errors.Is(err, ErrTimeout) {
			return err
		}
		if waited += wait; timeout > 0 && waited >= timeout {
			return err
		}
		if client.HungUp() {
			return errGone
		}
	}
}
