package httpd

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/netconn"
)

// A Stream is the body of an answer that a server is still sending. All that it
// consists of is here, so that it can be gone on with in another process: the
// server's socket with what was read from it, and how the body is framed.
type Stream struct {
	Server *netconn.Socket
	// Chunks decodes the body; nil when it is not in chunks.
	Chunks *Chunks
	// Records decodes the body; nil when it is not in records. One that is does not
	// move before it is complete.
	Records Records
	// Left is how much of a body with a length is still to come; -1 when only the
	// end of the connection tells, or Chunks.
	Left int64
	// Timeout bounds each wait for more.
	Timeout time.Duration
	// Waited is how much of it has passed.
	Waited time.Duration
	// Owner is told what becomes of the stream.
	Owner StreamOwner
	// Spool is how much is kept for a client that is slow. Nil: nothing is, and the
	// server has to wait.
	Spool *SpoolConf
	// Rate bounds how many bytes are read in a second; 0 for no bound. A stream that has
	// one does not move before it is complete.
	Rate int64
	// AtOnce sends each piece to the client when it comes; else small ones wait as
	// long as the server has more at once.
	AtOnce bool
	// IgnoreAbort reads the answer to its end although the client has gone.
	IgnoreAbort bool
	// Pinned: somebody else uses the sockets too, so the stream neither moves nor
	// is spooled, until Free, if it is set, reports that he has ended.
	Pinned bool
	Free   func() bool

	// Section is what of the content is wanted; nil for all of it. A stream that has one does
	// not move before it is complete.
	Section *Section
	// Short: the section that is wanted is complete, and the server may have more to say.
	Short bool

	// Content counts the bytes of the body, Raw what was read from the server.
	Content, Raw int64
	// Whole: the body came to its end.
	Whole bool

	spool   *spool        // nil while the client keeps up
	reading chan struct{} // closed when the goroutine that fills spool has ended; nil: there is none
	over    bool          // the owner was told that the stream has ended
	failed  error         // why it ended too soon
	blocked time.Duration // how long the client was waited for without reading on
	began   time.Time     // with Rate: when the body did
	warned  bool          // the log knows of a temporary file
	noFile  bool          // and that there can be none
}

// Records is how a body is cut into records that a server's socket carries.
type Records interface {
	// Next takes the next piece of content off b: used is how many bytes of b are done
	// with, of which p are the last; end says that the body ends here. It is called
	// again with what is not used, and then some.
	Next(b []byte) (p []byte, used int, end bool, err error)
	// EndsHere reports whether the body may end with the connection after what Next
	// was given.
	EndsHere() bool
}

// A StreamOwner is told what becomes of a [Stream].
type StreamOwner interface {
	// Settle is called before the stream moves: what the log will need must be in
	// the modules' states then.
	Settle()
	// Ended is called when the answer has come to its end, or failed with err,
	// before the client has got all of it: the server's socket is the owner's again,
	// who should let go of it. It may be called by another goroutine than the
	// request's, which waits for it before it does anything with the stream.
	Ended(err error)
	// Report writes to the log of the request, on the same terms as Ended.
	Report(level slog.Level, msg string)
}

// A Section is a part of an answer's content: what goes before it is left out.
type Section struct{ Skip, Length int64 }

// Of returns what p has of the section that is still to come, and whether it is complete.
func (sec *Section) Of(p []byte) (wanted []byte, whole bool) {
	n := min(sec.Skip, int64(len(p)))
	sec.Skip -= n
	p = p[n:]
	p = p[:min(sec.Length, int64(len(p)))]
	sec.Length -= int64(len(p))
	return p, sec.Length == 0
}

// next takes the next piece of content that is wanted from b: used is how many bytes of b
// are done with, end that the body ends here.
func (s *Stream) next(b []byte) (p []byte, used int, end bool, err error) {
	p, used, end, err = s.decode(b)
	if s.Section == nil || err != nil {
		return p, used, end, err
	}
	wanted, whole := s.Section.Of(p)
	s.Content += int64(len(p) - len(wanted))
	s.Short = whole && !end
	return wanted, used, end || whole, nil
}

// decode is next for all of the content.
func (s *Stream) decode(b []byte) (p []byte, used int, end bool, err error) {
	switch {
	case s.Chunks != nil:
		p, used, ok := s.Chunks.Next(b)
		if !ok {
			return nil, used, false, ErrChunks
		}
		return p, used, s.Chunks.Done(), nil
	case s.Records != nil:
		return s.Records.Next(b)
	case s.Left < 0:
		return b, len(b), false, nil
	}
	n := min(int64(len(b)), s.Left)
	s.Left -= n
	return b[:n], int(n), s.Left == 0, nil
}

// pinned is Pinned by now.
func (s *Stream) pinned() bool {
	if s.Pinned && s.Free != nil && s.Free() {
		s.Pinned = false
	}
	return s.Pinned
}

// stays reports whether the stream does not move before it is complete.
func (s *Stream) stays() bool { return s.Records != nil || s.Rate > 0 || s.Section != nil }

// took follows what next returned.
func (s *Stream) took(p []byte, used int) {
	s.Content += int64(len(p))
	s.Server.Consume(used)
}

// endsWith reports whether err, of reading more, is the body's end.
func (s *Stream) endsWith(err error) bool {
	return err == io.EOF && s.Chunks == nil && s.Left < 0 && (s.Records == nil || s.Records.EndsHere())
}

// ErrChunks is returned for a body whose chunks are none.
var ErrChunks = errors.New("upstream sent invalid chunked response")

// Relay passes the rest of s on to the client, whose response's head was sent. It
// returns when the answer is complete, which s.Whole tells, or the client is lost
// for a reason, or the server failed with err, which is [ErrMoved] when the request
// is another process's by now and [ErrGone] when the client left while the server
// was waited for.
//
// As long as the client takes what comes this is all that happens. When its socket
// has no room the answer is spooled: see [Request.outlast].
func (r *Request) Relay(s *Stream) (lost, err error) {
	c := r.c
	defer func() {
		c.patient, c.stalled = false, false
		s.unspool()
	}()
	s.start()
	released := false
	for {
		c.patient = !s.pinned()
		if c.stalled {
			if lost, err = r.outlast(s); err != nil || lost != nil && !s.IgnoreAbort {
				return lost, err
			}
		}
		if s.Whole {
			if lost == nil && s.Content > bufpool.Largest {
				// Not left to the end of the request: here the connection can still move.
				lost = r.Out.flush()
			}
			if c.stalled {
				continue
			}
			return lost, nil
		}
		p, used, end, err := s.next(s.Server.Buffered())
		if err != nil {
			return lost, err
		}
		if len(p) > 0 && lost == nil {
			if lost = r.pass(p, s.AtOnce); lost != nil && !s.IgnoreAbort {
				return lost, nil
			}
		}
		s.took(p, used)
		s.Whole = end
		if end || c.stalled || used > 0 && len(s.Server.Buffered()) > 0 {
			continue
		}
		if !released {
			s.Server.Release() // the small buffer of the head
			released = true
		}
		if err := r.more(s, lost == nil); s.endsWith(err) {
			s.Whole = true
		} else if err != nil {
			return lost, err
		}
	}
}

// pass sends p to the client.
func (r *Request) pass(p []byte, flush bool) error {
	if _, err := r.Out.Write(p); err != nil || !flush {
		return err
	}
	return r.Out.Flush()
}

// more waits for more of the body. What the client is owed goes out first, unless it
// is little and the rest may be here in a moment.
func (r *Request) more(s *Stream, flush bool) error {
	if s.early() > 0 {
		if err := r.holdStream(s, flush); err != nil || r.c.stalled {
			return err
		}
	}
	before := len(s.Server.Buffered())
	err := netconn.ErrWouldBlock
	switch owed := len(r.c.out); {
	case !flush || owed == 0 && r.Out.encoder == nil:
		// Nothing is to be done before the wait, which looks first.
	case owed < postponed && !s.AtOnce && s.Waited == 0:
		err = r.fillShortly(s)
	default:
		err = s.Server.FillNow()
	}
	if errors.Is(err, netconn.ErrWouldBlock) {
		if flush {
			if err := r.Out.Flush(); err != nil && !s.IgnoreAbort {
				return ErrGone
			}
			if r.c.stalled {
				return nil
			}
		}
		err = r.waitStream(s)
	}
	if err == nil {
		s.Waited = 0
		s.Raw += int64(len(s.Server.Buffered()) - before)
	}
	return err
}

// What is less than postponed bytes waits for more, but not longer than shortly: many
// servers write the end of a small answer separately, and two packets would cost the
// client and us twice. nginx waits for as long as it takes.
const (
	postponed = 1460
	shortly   = 10 * time.Millisecond
)

// fillShortly is Fill that returns [ErrWouldBlock] when nothing came for a moment.
func (r *Request) fillShortly(s *Stream) error {
	wait := shortly
	if s.Timeout > 0 {
		wait = min(wait, s.Timeout)
	}
	err := s.fill(wait)
	if errors.Is(err, netconn.ErrTimeout) && (s.Timeout <= 0 || s.Waited < s.Timeout) {
		return netconn.ErrWouldBlock
	}
	return err
}

// ErrGone: the client closed its connection.
var ErrGone = errors.New("client closed the connection")

// How often a wait for the server looks whether the client is still there: soon at
// first, seldom when it takes long.
const (
	firstLook = 100 * time.Millisecond
	lastLook  = 2 * time.Second
)

// waitStream waits for input as long as the client is there.
func (r *Request) waitStream(s *Stream) error {
	client := r.Client()
	look := firstLook
	for ; ; look = min(2*look, lastLook) {
		wait := look
		if s.Timeout > 0 {
			wait = max(min(wait, s.Timeout-s.Waited), time.Millisecond)
		}
		err := r.fillStream(s, wait)
		if !errors.Is(err, netconn.ErrTimeout) {
			return err
		}
		if s.Timeout > 0 && s.Waited >= s.Timeout {
			return err
		}
		if client.HungUp() && (!s.IgnoreAbort || client.Closed()) {
			return ErrGone
		}
		if sc := r.c.stream; sc != nil && sc.owes {
			_ = sc.flush(0) // there was no room for the head: perhaps there is now
			look = firstLook / 2
		}
	}
}

// fill is s.Server.Fill that keeps Waited up to date. It needs no clock of its own
// where something came.
func (s *Stream) fill(timeout time.Duration) error {
	err := s.Server.Fill(timeout)
	switch {
	case errors.Is(err, netconn.ErrTimeout):
		s.Waited += timeout
	case errors.Is(err, netconn.ErrInterrupted):
		s.Waited += timeout - s.Server.ReadLeft()
	default:
		s.Waited = 0
	}
	return err
}

// fillStream is s.fill. When the server retires the stream moves to the successor in
// such a wait, and fillStream returns [ErrMoved].
func (r *Request) fillStream(s *Stream, timeout time.Duration) error {
	c, end := r.c, s.Waited+timeout
	for {
		timeout = max(end-s.Waited, time.Millisecond)
		if s.pinned() || s.stays() || !r.Out.streamMovable() || !s.Server.CanMove() {
			return s.fill(timeout)
		}
		if c.movable() && r.moveStream(s) {
			return ErrMoved
		}
		c.openWindowOn(s.Server)
		if c.movable() {
			c.closeWindow()
			continue
		}
		err := s.fill(timeout)
		c.endWait(err)
		if !errors.Is(err, netconn.ErrInterrupted) {
			return err
		}
	}
}

// streamMovable reports whether the response can go on in another process: nothing
// of it waits here, in a buffer or in an encoder's memory, and nothing of the request
// is left that a successor would take for the next one.
func (o *Response) streamMovable() bool { return len(o.r.c.out) == 0 && o.movable() }

// movable is streamMovable but for what is pending.
func (o *Response) movable() bool {
	return o.head && !o.bodiless && o.encoder == nil && o.r.c.broken == nil && !o.r.bodyUnread()
}
