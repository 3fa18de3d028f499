package h2

import (
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

// A Stream is one request and the response to it. Of its methods those about input
// may be called by one goroutine and those about output by another; HungUp by any.
type Stream struct {
	c      *Conn
	id     uint32
	number int // it is the connection's number-th
	head   []byte
	size   int
	fault  string
	line   bool // the head has a request line

	authority bool // and the host of ":authority"

	input, output gate

	// What follows is guarded by the connection's mu.
	code       http2.ErrCode // of the reset, should it end before its answer is complete
	body       []byte        // what came and was not read begins at at
	at         int
	recvWindow int64 // what the client may still send
	declared   int64 // length of the body, -1: only its end tells
	received   int64 // how much of it came
	malformed  bool  // the request is not as HTTP/2 has it
	wanted     bool  // somebody reads the body
	inClosed   bool  // the body has come to its end
	answer     []byte
	status     int
	headSent   bool
	left       int64 // bytes of the answer to come, -1: only ending tells
	ending     bool  // what is sent next ends the answer
	outClosed  bool
	sendWindow int64 // what may be sent
	chunk      int   // the largest frame
	overhead   int64 // bytes of heads and frames that went out besides content
	gone       bool  // reset, by either side
	over       bool  // both sides are complete; who serves it is about to return
	canceled   bool  // by the client
	waits      bool  // is one of the connection's waiting
}

// streams keeps what a stream is made of for the next one.
var streams = sync.Pool{New: func() any {
	st := new(Stream)
	st.input.init()
	st.output.init()
	return st
}}

const (
	// wantedWindow is how much of a body is kept for who reads it.
	wantedWindow = 256 << 10
	// keptBody is how large a buffer of a body is kept for the next stream.
	keptBody = 64 << 10
	// defaultChunk is nginx's http2_chunk_size.
	defaultChunk = 8 << 10
)

func newStream(c *Conn, b *block, h *headReader) *Stream {
	st := streams.Get().(*Stream)
	st.c, st.id, st.size = c, b.id, b.size
	st.head = h.appendTo(st.head[:0])
	st.fault, st.line, st.authority = h.fault, h.line, h.seen&hasAuthority != 0
	st.declared, st.malformed = h.length, b.end && h.length > 0
	st.input.reset()
	st.output.reset()
	st.code = http2.ErrCodeInternal
	st.recvWindow, st.sendWindow = int64(c.conf.Preread), c.initial
	st.inClosed = b.end
	st.left, st.chunk = -1, defaultChunk
	return st
}

// recycle keeps st for the next stream. Nobody may use it any more.
func (st *Stream) recycle() {
	body := st.body[:0]
	if cap(body) > keptBody {
		body = nil
	}
	in, out := &st.input, &st.output
	*st = Stream{
		head: st.head[:0], answer: st.answer[:0], body: body,
		input: gate{news: in.news, timer: in.timer}, output: gate{news: out.news, timer: out.timer},
	}
	streams.Put(st)
}

// tell wakes who waits for the stream, either way.
func (st *Stream) tell() {
	st.input.tell()
	st.output.tell()
}

// Head is the request's head as HTTP/1.1 has it, valid until the stream is over. After
// a Fault it ends there.
func (st *Stream) Head() []byte { return st.head }

// Authority reports whether the head has a host because of its ":authority".
func (st *Stream) Authority() bool { return st.authority }

// ID is the stream's number in its frames.
func (st *Stream) ID() uint32 { return st.id }

// Number says that the stream is the connection's n-th.
func (st *Stream) Number() int { return st.number }

// HeadBytes is the size of the head as it came.
func (st *Stream) HeadBytes() int { return st.size }

// Fault is what is wrong with the head, "" for nothing; line says that it has a request
// line all the same.
func (st *Stream) Fault() (why string, line bool) { return st.fault, st.line }

// Malformed says that the request is not as HTTP/2 has it. The answer is followed by a
// reset that says so, too: the one is for who looks at the answer, the other for who has
// to mend the client.
func (st *Stream) Malformed() {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	st.malformed = true
}

// verdict is the code of the reset behind a complete answer. c.mu is held.
func (st *Stream) verdict() http2.ErrCode {
	if st.malformed {
		return http2.ErrCodeProtocol
	}
	return http2.ErrCodeNo
}

// Ended reports whether the body has come to its end, read or not.
func (st *Stream) Ended() bool {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.inClosed
}

// Buffered is how much of the body has come and was not read.
func (st *Stream) Buffered() int {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return len(st.body) - st.at
}

// Canceled reports whether the client gave the stream up by itself.
func (st *Stream) Canceled() bool {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.canceled
}

// HungUp reports whether nobody waits for the answer any more.
func (st *Stream) HungUp() bool {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.lost() != nil
}

// Overhead is how many bytes went out besides the content of the answer.
func (st *Stream) Overhead() int64 {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.overhead
}

// FailWith sets the code of the reset that a stream ends with whose answer is not
// complete.
func (st *Stream) FailWith(code http2.ErrCode) {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	st.code = code
}

// ErrReset is returned for a stream that was reset.
var ErrReset = errors.New("stream was reset")

// lost says why the stream cannot go on. c.mu is held.
func (st *Stream) lost() error {
	switch {
	case st.c.fault != nil:
		return st.c.fault
	case st.gone:
		return ErrReset
	}
	return nil
}

// take appends p to what came of the body, and ends it with end. c.mu is held.
func (st *Stream) take(p []byte, end bool) {
	if st.at > 0 && len(st.body)+len(p) > cap(st.body) {
		n := copy(st.body, st.body[st.at:])
		st.body, st.at = st.body[:n], 0
	}
	st.body = append(st.body, p...)
	st.received += int64(len(p))
	if st.declared >= 0 && (st.received > st.declared || end && st.received < st.declared) {
		st.malformed = true
	}
	st.inClosed = end
	st.input.tell()
	st.closed()
}

// Peek is the error that Recv would return; nil when there is something.
func (st *Stream) Peek() error {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	return st.peek()
}

func (st *Stream) peek() error {
	switch err := st.lost(); {
	case st.at < len(st.body):
		return nil
	case st.inClosed:
		return io.EOF
	case err != nil:
		return err
	}
	return unix.EAGAIN
}

// Recv reads some of the body. It returns unix.EAGAIN when there is nothing yet, and
// io.EOF at the end.
func (st *Stream) Recv(p []byte) (int, error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := st.peek(); err != nil {
		if err == unix.EAGAIN {
			st.invite()
			c.flush(false)
		}
		return 0, err
	}
	n := copy(p, st.body[st.at:])
	if st.at += n; st.at == len(st.body) {
		st.body, st.at = st.body[:0], 0
	}
	if !st.inClosed {
		st.invite()
		c.flush(false)
	}
	return n, nil
}

// invite lets the client send more when it has used up half of what it may. c.mu is
// held.
func (st *Stream) invite() {
	st.wanted = true
	target := int64(max(wantedWindow, st.c.conf.Preread))
	more := target - st.recvWindow - int64(len(st.body)-st.at)
	if more >= target/2 {
		st.recvWindow += more
		st.c.appendWindowUpdate(st.id, more)
	}
}

// SetHead sets the head of the answer: its status and its fields, each in a line with CR
// LF. It goes out with the next Send. length is that of the content, or -1.
func (st *Stream) SetHead(status int, fields []byte, length int64) {
	st.answer = append(st.answer[:0], fields...)
	st.status, st.left = status, length
}

// SetChunk sets how large a frame may be.
func (st *Stream) SetChunk(n int) { st.chunk = n }

// End makes what is sent next the end of the answer.
func (st *Stream) End() { st.ending = true }

// Send sends some of a and then b, and returns how much; unix.EAGAIN when there is no
// room for any. With nothing in a and b it sends what else is to be sent: a head, an end.
func (st *Stream) Send(a, b []byte) (int, error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := st.lost(); err != nil {
		return 0, err
	}
	sent, all := 0, len(a)+len(b)
	if !st.headSent {
		if !st.room(headLimit) {
			return 0, unix.EAGAIN
		}
		if err := st.lost(); err != nil {
			return 0, err
		}
		st.sendHead(all)
	}
	for sent < all && st.room(outLimit) && st.lost() == nil {
		if st.outClosed {
			return all, nil // more than was promised: nobody can tell the client
		}
		n := st.allowed(all - sent)
		if n <= 0 {
			if st.sendWindow > 0 {
				st.wait() // for others on the connection
			}
			break
		}
		a, b = st.frame(a, b, n, sent+n == all)
		sent += n
	}
	if sent == all && st.ending && !st.outClosed && st.lost() == nil {
		st.frame(nil, nil, 0, true)
	}
	c.flush(true)
	if err := st.lost(); err != nil && sent == 0 && all > 0 {
		return 0, err
	}
	if sent == 0 && all > 0 {
		return 0, unix.EAGAIN
	}
	return sent, nil
}

// room makes pending output less than limit, or else lets st wait for it. c.mu is held,
// but not while the socket is written to: whether st is lost must be found out anew.
func (st *Stream) room(limit int) bool {
	c := st.c
	if len(c.out) < limit {
		return true
	}
	if c.flush(false); len(c.out) < limit {
		return true
	}
	st.wait()
	return false
}

// allowed is how much of n bytes may go in the next frame. c.mu is held.
func (st *Stream) allowed(n int) int {
	n = min(n, st.chunk, st.c.frameSize, outLimit)
	return int(min(int64(n), st.sendWindow, st.c.sendWindow))
}

// sendHead sends the head, if there is one yet. content tells of some right behind it. c.mu is
// held.
func (st *Stream) sendHead(content int) {
	if st.status == 0 {
		return
	}
	st.headSent = true
	end := content == 0 && (st.ending || st.left == 0)
	st.outClosed = end
	st.overhead += int64(st.c.appendHead(st, end))
	st.closed()
}

// frame composes a frame with n bytes of a and b, and returns what is left of them. last
// says that it is all that the caller has. c.mu is held.
func (st *Stream) frame(a, b []byte, n int, last bool) (restA, restB []byte) {
	c := st.c
	if st.left > 0 {
		st.left -= int64(n)
	}
	var flags http2.Flags
	if last && st.ending || st.left == 0 {
		flags, st.outClosed = http2.FlagDataEndStream, true
	}
	c.out = appendFrame(c.buffer(), n, http2.FrameData, flags, st.id)
	k := min(n, len(a))
	c.out = append(append(c.out, a[:k]...), b[:n-k]...)
	st.sendWindow -= int64(n)
	c.sendWindow -= int64(n)
	c.sentUseful += int64(n)
	st.overhead += frameHeader
	st.closed()
	return a[k:], b[n-k:]
}

// closed takes the stream off those that the client has open, once both sides are
// complete: it may open another one as soon as it has read the last frame, and who
// serves this one may have something to do still. c.mu is held.
func (st *Stream) closed() {
	if st.outClosed && st.inClosed && !st.gone && !st.over {
		st.over = true
		st.c.ending++
		delete(st.c.streams, st.id)
		if st.malformed {
			st.c.appendReset(st.id, st.verdict())
		}
	}
}

// AwaitRead waits until another Recv may come to something; os.ErrDeadlineExceeded says
// that the deadline has passed. Nothing that happened since a Recv is missed.
func (st *Stream) AwaitRead() error { return st.input.wait() }

// AwaitWrite is AwaitRead for Send.
func (st *Stream) AwaitWrite() error { return st.output.wait() }

// SetReadDeadline ends waits at t; zero: none. It may be called by any goroutine.
func (st *Stream) SetReadDeadline(t time.Time) { st.input.setDeadline(t) }

// SetWriteDeadline likewise.
func (st *Stream) SetWriteDeadline(t time.Time) { st.output.setDeadline(t) }
