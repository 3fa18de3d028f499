package httpd

import (
	"bufio"
	"errors"
	"io"
	"net/http/httputil"
	"time"
)

// ErrBodyTooLarge is returned by Body.Read for a chunked body that goes over
// client_max_body_size. Answer 413.
var ErrBodyTooLarge = errors.New("client intended to send too large chunked body")

// ErrBodyTimeout is returned by Body.Read when client_body_timeout passed between
// two pieces of the body. Answer 408.
var ErrBodyTimeout = errors.New("client timed out while sending the body")

// ErrBodyBroken is returned by Body.Read when the client went away or broke the
// framing. Answer 400; the connection will be closed.
var ErrBodyBroken = errors.New("client prematurely closed connection or sent a broken body")

// A Body is what follows a request's head. It is read at most once, by whichever
// module wants it; what nobody read is dropped before the next request.
type Body struct {
	r       *Request
	length  int64 // as declared; chunkedBody when the body says itself
	left    int64 // not yet read, of a declared length
	read    int64 // bytes of content so far
	limit   int64 // client_max_body_size, 0 for none
	timeout time.Duration
	chunks  io.Reader
	br      *bufio.Reader
	err     error
	asked   bool   // 100 Continue was sent or is not wanted
	wire    int64  // bytes read, framing included
	kept    []byte // what was read so far, for $request_body
	keep    int64  // how much of it may be kept, 0 for none
}

// Length is the declared length, or -1 for a chunked body. 0 means no body.
func (b *Body) Length() int64 { return b.length }

// BytesRead is how much of the content was read so far.
func (b *Body) BytesRead() int64 { return b.read }

// Read reads some of the content. io.EOF is the whole body's end. The first call
// tells a client that waits for it to go on.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := b.expect(); err != nil {
		b.err = ErrBodyBroken
		return 0, b.err
	}
	var n int
	if b.length == chunkedBody {
		n, b.err = b.readChunked(p)
	} else {
		n, b.err = b.readPlain(p)
	}
	b.read += int64(n)
	if b.limit > 0 && b.read > b.limit {
		b.err = ErrBodyTooLarge
		return 0, b.err
	}
	if n > 0 && b.err == io.EOF {
		return n, nil
	}
	return n, b.err
}

// expect sends 100 Continue if the client waits for it before it sends the body.
func (b *Body) expect() error {
	if b.asked {
		return nil
	}
	b.asked = true
	c := b.r.c
	if !b.r.Head.IsHTTP11() || !c.in.empty() || !equalFold(b.r.Head.Peek("Expect"), "100-continue") {
		return nil
	}
	if b.left == 0 && b.length != chunkedBody {
		return nil
	}
	c.out = append(c.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	return c.flush(b.timeout)
}

func (b *Body) readPlain(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.raw(p)
	b.left -= int64(n)
	if err == nil && b.left == 0 {
		return n, io.EOF
	}
	return n, err
}

// raw reads bytes as they are on the wire.
func (b *Body) raw(p []byte) (int, error) {
	c := b.r.c
	if !c.in.empty() {
		n := copy(p, c.in.data())
		c.in.consume(n)
		return n, nil
	}
	n, err := c.readInto(p, b.timeout)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, errTimeout):
		return n, ErrBodyTimeout
	}
	c.broken = err
	return n, ErrBodyBroken
}

// rawReader is a body's bytes as an io.Reader for the chunk decoder.
type rawReader struct{ b *Body }

func (r rawReader) Read(p []byte) (int, error) { return r.b.raw(p) }

func (b *Body) readChunked(p []byte) (int, error) {
	if b.chunks == nil {
		b.br = bufio.NewReaderSize(rawReader{b}, bufferPage)
		b.chunks = httputil.NewChunkedReader(b.br)
	}
	n, err := b.chunks.Read(p)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		return n, b.endChunks()
	case errors.Is(err, ErrBodyTimeout), errors.Is(err, ErrBodyBroken):
		return n, err
	}
	return n, ErrBodyBroken
}

// endChunks reads the trailer, which is dropped, and puts back what the decoder
// read too much: the beginning of a pipelined request.
func (b *Body) endChunks() error {
	for lines := 0; ; lines++ {
		line, err := b.br.ReadSlice('\n')
		if err != nil || lines > maxTrailerLines {
			return ErrBodyBroken
		}
		if len(line) <= 2 && (line[0] == '\n' || line[0] == '\r') {
			break
		}
	}
	rest, _ := b.br.Peek(b.br.Buffered())
	if len(rest) > 0 {
		b.r.c.in.putBack(rest)
	}
	b.left = 0
	return io.EOF
}

const maxTrailerLines = 100

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
	if b.err != nil {
		return false
	}
	if !b.asked && len(r.Head.Peek("Expect")) > 0 {
		return false // it waits for our word, which was no: nobody knows if it sends
	}
	b.limit = 0
	buf := getBuffer(bufferLarge)
	defer putBuffer(buf)
	for {
		if _, err := b.Read(buf); err != nil {
			return err == io.EOF
		}
	}
}

// putBack puts p before what is not yet consumed.
func (in *inbuf) putBack(p []byte) {
	rest := in.data()
	b := getBuffer(max(len(p)+len(rest), bufferSmall))
	n := copy(b, p)
	n += copy(b[n:], rest)
	if in.b != nil {
		putBuffer(in.b)
	}
	*in = inbuf{b: b, w: n}
}
