package httpd

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/netconn"
)

// ErrBodyTooLarge is wrapped by what Body.Read returns for a chunked body that goes over
// client_max_body_size, as soon as it says so. Answer 413.
var ErrBodyTooLarge = errors.New("client intended to send too large chunked body")

// ErrBodyTimeout is returned by Body.Read when client_body_timeout passed between
// two pieces of the body. Answer 408.
var ErrBodyTimeout = errors.New("client timed out while sending the body")

// ErrBodyBroken is returned by Body.Read when the client went away or broke the
// framing. Answer 400; the connection will be closed.
var ErrBodyBroken = errors.New("client prematurely closed connection or sent a broken body")

// ErrStreamGone is [ErrBodyBroken] where the client took the request back, which by
// HTTP/2 it can do alone, or went away with all its streams. Log 499.
var ErrStreamGone = errors.New("client prematurely closed stream")

// A Body is what follows a request's head. It is read at most once, by whichever
// module wants it; what nobody read is dropped before the next request.
type Body struct {
	r       *Request
	length  int64 // as declared; chunkedBody when the body says itself
	left    int64 // not yet read, of a declared length
	read    int64 // bytes of content so far
	limit   int64 // client_max_body_size, 0 for none
	timeout time.Duration
	chunks  chunks
	err     error
	wanted  bool   // see Want
	asked   bool   // 100 Continue was sent or is not wanted
	wire    int64  // bytes read, framing included
	kept    []byte // what was read so far, for $request_body
	keep    int64  // how much of it may be kept, 0 for none
	file    string // where it was put, for $request_body_file
	apart   bool   // it is read by another goroutine than the connection's
	lost    error  // then: why the client cannot be reached
}

// Length is the declared length, or -1 for a chunked body. 0 means no body.
func (b *Body) Length() int64 { return b.length }

// Ahead looks, without waiting, at what has come of the body and was not read. whole
// reports that this is all of it. The error is what Read would come to, [ErrBodyTooLarge]
// or [ErrBodyBroken].
func (b *Body) Ahead() (whole bool, err error) {
	c := b.r.c
	switch {
	case b.err == io.EOF:
		return true, nil
	case b.err != nil:
		return false, b.err
	case c.stream != nil:
		return b.length == chunkedBody && c.stream.end.Ended(), nil
	case b.length != chunkedBody:
		return b.left <= int64(len(c.in.Data())), nil
	}
	whole, err = b.scanAhead()
	if whole || err != nil {
		return whole, err
	}
	client := b.r.Client()
	if client.FillNow() != nil {
		return false, nil //nolint:nilerr // Read finds out why
	}
	return b.scanAhead()
}

// scanAhead is Ahead for a chunked body.
func (b *Body) scanAhead() (whole bool, err error) {
	ahead, in, read := b.chunks, b.r.c.in.Data(), b.read
	for {
		n, ok := ahead.frame(in)
		in = in[n:]
		switch {
		case !ok:
			b.r.Log(levelError, invalidChunks, nil)
			b.err = ErrBodyBroken
			return false, b.err
		case ahead.state == chunkDone:
			return true, nil
		case ahead.state == chunkData && b.limit > 0 && b.limit-read < ahead.size:
			b.err = tooLarge(read, ahead.size)
			return false, b.err
		case len(in) == 0:
			return false, nil
		}
		some := min(int64(len(in)), ahead.size)
		ahead.took(some)
		in, read = in[some:], read+some
	}
}

// invalidChunks is what the log has of a body whose chunks are none.
const invalidChunks = "client sent invalid chunked body"

// tooLarge is the error for a body of which read bytes have come, and more are announced.
func tooLarge(read, more int64) error {
	return fmt.Errorf("%w: %d+%d bytes", ErrBodyTooLarge, read, more)
}

// BytesRead is how much of the content was read so far.
func (b *Body) BytesRead() int64 { return b.read }

// Read reads some of the content. io.EOF is the whole body's end. The first call
// tells a client that waits for it to go on. [ErrInterrupted] is not the body's end:
// nothing is lost, and Read may be called again.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := b.Invite(); err != nil {
		return 0, err
	}
	var n int
	switch {
	case b.length != chunkedBody:
		n, b.err = b.readPlain(p)
	case b.r.c.stream != nil:
		n, b.err = b.readStream(p)
	default:
		n, b.err = b.readChunked(p)
	}
	if b.err == netconn.ErrInterrupted {
		b.err = nil
		return 0, netconn.ErrInterrupted
	}
	b.read += int64(n)
	if b.limit > 0 && b.read > b.limit {
		b.err = tooLarge(b.read-int64(n), int64(n))
		return 0, b.err
	}
	if b.keep > 0 {
		b.keepSome(p[:n])
	}
	if n > 0 && b.err == io.EOF {
		return n, nil
	}
	return n, b.err
}

// AwaitEnd waits for the end of a body of which all that its length says was read: by
// HTTP/2 more may come. Its errors are those of Read.
func (b *Body) AwaitEnd() error {
	var more [1]byte
	if _, err := b.Read(more[:]); err != io.EOF {
		return err
	}
	return nil
}

// PutInto says that the body, or a part of it, lies in the file called name.
func (b *Body) PutInto(name string) { b.file = name }

// Want says that the body is going to be read, piece by piece: until then a length
// that its head did not tell is not known. That of a body nobody wants is 0.
func (b *Body) Want() { b.wanted = true }

// Invite tells a client that waits for it to go on, as the first Read does. It is for
// who interrupts reads: what is written here must not be interrupted.
func (b *Body) Invite() error {
	if err := b.expect(); err != nil {
		b.err = ErrBodyBroken
		return b.err
	}
	return nil
}

// keepSome keeps content for $request_body, unless there is more than the buffer
// of a body would hold: then there is no value.
func (b *Body) keepSome(p []byte) {
	if b.read > b.keep {
		b.keep, b.kept = 0, b.kept[:0]
		return
	}
	b.kept = append(b.kept, p...)
}

// expecting reports whether the client waits for our word before it sends a body.
func (b *Body) expecting() bool {
	r := b.r
	return !b.asked && r.c.stream == nil && r.has&hasExpect != 0 && r.version >= 11 && equalFold(r.Head.Peek("Expect"), "100-continue")
}

// expect sends 100 Continue if the client waits for it before it sends the body.
func (b *Body) expect() error {
	if b.asked {
		return nil
	}
	wait := b.expecting()
	b.asked = true
	if !wait {
		return nil
	}
	c := b.r.c
	out, err := c.outRoom(len(continueLine), b.timeout)
	if err != nil {
		return err
	}
	c.out = append(out, continueLine...)
	return c.flush(b.timeout)
}

const continueLine = "HTTP/1.1 100 Continue\r\n\r\n"

func (b *Body) readPlain(p []byte) (int, error) {
	stream := b.r.c.stream
	switch {
	case b.left == 0 && stream != nil:
		return 0, b.checkStreamEnd()
	case b.left == 0:
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.raw(p)
	b.left -= int64(n)
	switch {
	case err == nil && b.left > 0 && stream != nil && stream.end.Ended() && stream.end.Buffered() == 0:
		return 0, b.endedEarly() // and nobody sees what came with the end
	case err != nil || b.left > 0:
	case stream == nil:
		err = io.EOF
	case stream.end.Buffered() > 0 || stream.end.Ended():
		err = b.checkStreamEnd()
	}
	return n, err
}

// raw reads bytes as they are on the wire.
func (b *Body) raw(p []byte) (int, error) {
	c := b.r.c
	if !c.in.Empty() {
		n := copy(p, c.in.Data())
		c.in.Consume(n)
		b.wire += int64(n)
		return n, nil
	}
	n, err := c.ReadInto(p, b.timeout)
	b.wire += int64(n)
	return n, b.failed(err)
}

// failed turns a failed read from the connection into what Read returns.
func (b *Body) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, netconn.ErrTimeout):
		return ErrBodyTimeout
	case errors.Is(err, netconn.ErrInterrupted):
		return netconn.ErrInterrupted
	case err == io.EOF && b.r.c.stream != nil:
		return b.endedEarly()
	}
	if b.apart {
		b.lost = err
	} else {
		b.r.c.broken = err
	}
	if b.r.c.stream != nil {
		return ErrStreamGone
	}
	return ErrBodyBroken
}

func (b *Body) readChunked(p []byte) (int, error) {
	c := b.r.c
	for b.chunks.state != chunkData {
		if c.in.Empty() {
			if err := c.Fill(&c.in, b.timeout); err != nil {
				return 0, b.failed(err)
			}
		}
		n, ok := b.chunks.frame(c.in.Data())
		c.in.Consume(n)
		b.wire += int64(n)
		switch {
		case !ok:
			b.r.Log(levelError, invalidChunks, nil)
			return 0, ErrBodyBroken
		case b.chunks.state == chunkDone:
			return 0, io.EOF
		}
	}
	if b.limit > 0 && b.limit-b.read < b.chunks.size {
		return 0, tooLarge(b.read, b.chunks.size)
	}
	n, err := b.raw(p[:min(int64(len(p)), b.chunks.size)])
	b.chunks.took(int64(n))
	return n, err
}

// bufferedBroken reports whether what has come of a chunked body, and was not read
// yet, is broken: there can be no next request then.
func (b *Body) bufferedBroken() bool {
	if b.length != chunkedBody || b.err != nil || b.r.c.stream != nil {
		return false
	}
	ahead, in := b.chunks, b.r.c.in.Data()
	for len(in) > 0 && ahead.state != chunkDone {
		n, ok := ahead.frame(in)
		if !ok {
			return true
		}
		in = in[n:]
		if ahead.state == chunkData && len(in) > 0 {
			n := min(int64(len(in)), ahead.size)
			ahead.took(n)
			in = in[n:]
		}
	}
	return false
}

// bodyUnread reports whether content of the request's body is still to come.
func (r *Request) bodyUnread() bool {
	b := &r.body
	return b.err == nil && (b.length == chunkedBody || b.left > 0) || b.err != nil && b.err != io.EOF
}

// discardBody reads what nobody wanted, so that the next request can be read. It
// reports whether the connection can be used again.
func (r *Request) discardBody() bool {
	b := &r.body
	if !r.bodyUnread() {
		return true
	}
	if b.err != nil || b.expecting() {
		return false // nobody knows what the client sends next
	}
	core := r.core()
	b.limit, b.keep, b.timeout = 0, 0, core.ending.timeout
	end := time.Now().Add(core.ending.time)
	buf := bufpool.Get(bufpool.Large)
	defer bufpool.Put(buf)
	for {
		if _, err := b.Read(buf); err != nil {
			return err == io.EOF
		}
		if time.Now().After(end) {
			return false
		}
	}
}
