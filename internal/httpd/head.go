package httpd

import (
	"bytes"
	"errors"
	"io"

	"github.com/baton-deploy/baton/internal/netconn"
	"golang.org/x/sys/unix"
)

// errHeadClosed: the client closed or reset the connection inside a head.
var errHeadClosed = errors.New("client closed the connection")

// readHead reads and checks a request's head. A status other than 0 is what the
// client is to be told, after which the connection closes; an error means that
// there is nobody to tell.
func (r *Request) readHead() (status int, err error) {
	c := r.c
	lim := c.defaultServer()
	c.Limit = lim.maxHead()
	scanned, judged := 0, 0
	for {
		skipBlankLines(&c.in)
		data := c.in.Data()
		end, ok := headEnd(data, scanned)
		if ok {
			return r.acceptHead(data[:end]), nil
		}
		if at, status := headTooLarge(data, lim); status != 0 {
			return r.refuseHead(data[:at], status), nil
		}
		if judged == 0 && bytes.IndexByte(data, '\n') < 0 && len(data) > 0 && lacksMethod(data) {
			r.keepLine(data) // what speaks no HTTP may never end a line
			return r.invalidLine("method", 400), nil
		}
		scanned = end
		if n := bytes.LastIndexByte(data, '\n') + 1; n > judged {
			judged = n
			if _, status := r.scanHead(data[:n]); status != 0 {
				return status, nil
			}
		}
		switch err := c.fillHead(r.start, lim.clientHeaderTimeout); {
		case err == nil:
		case errors.Is(err, io.ErrShortBuffer):
			return r.refuseHead(data, statusHeaderTooLarge), nil
		case err == errMoved:
			return 0, err
		default:
			return 0, r.endHead(c.in.Data(), err)
		}
	}
}

// endHead keeps what there is of a head that does not come to its end for err, and returns
// why, for the log.
func (r *Request) endHead(data []byte, err error) error {
	part := "headers"
	if bytes.IndexByte(data, '\n') < 0 {
		part = "line"
		r.keepLine(data)
	}
	why := "client prematurely closed connection"
	switch {
	case errors.Is(err, netconn.ErrTimeout):
		why = "client timed out (110: Connection timed out)"
	case errors.Is(err, unix.ECONNRESET):
		why = "recv() failed (104: Connection reset by peer)"
	}
	r.Log(levelInfo, why+" while reading client request "+part, nil)
	if errors.Is(err, netconn.ErrTimeout) {
		return err
	}
	return errHeadClosed
}

// acceptHead parses a complete head and takes it off the input.
func (r *Request) acceptHead(head []byte) int {
	defer r.c.in.Consume(len(head))
	return r.takeHead(head)
}

// takeHead parses a complete head.
func (r *Request) takeHead(head []byte) int {
	// A stream's fields were measured one by one as they came: the cookies, which are put
	// together here, may well be larger than one field.
	if r.c.stream == nil {
		if at, status := headTooLarge(head, r.c.defaultServer()); status != 0 {
			return r.refuseHead(head[:at], status)
		}
	}
	f, status := r.scanHead(head)
	if status == 0 {
		r.headSize = int64(len(head))
		status = r.checkHead(&f)
	}
	return status
}

// refuseHead refuses a head that is too large, or of which no more than data came.
func (r *Request) refuseHead(data []byte, status int) int {
	if status == 414 {
		r.keepLine(data[:min(len(data), r.c.defaultServer().largeBufferSize)])
		r.Log(levelInfo, "client sent too long URI while reading client request line", nil)
		return status
	}
	_, _ = r.scanHead(data)
	if status == statusHeaderTooLarge {
		r.invalid("client sent too long header line", status)
	}
	return status
}

// keepLine keeps the request line, or what has come of it.
func (r *Request) keepLine(data []byte) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		data = data[:i]
	}
	if i := bytes.IndexByte(data, '\r'); i >= 0 {
		data = data[:i]
	}
	r.line = append(r.line[:0], data...)
	if r.c.stream != nil {
		r.line = bytes.TrimSuffix(r.line, []byte("1.1"))
		r.line = append(r.line, "2.0"...)
	}
}

// skipBlankLines drops line ends before a request line, as nginx does.
func skipBlankLines(in *netconn.Input) {
	d := in.Data()
	n := 0
	for n < len(d) && (d[n] == '\r' || d[n] == '\n') {
		n++
	}
	if n > 0 {
		in.Consume(n)
	}
}

// headEnd looks for the end of a head, from offset from on, and returns the head's
// length: an empty line, or the end of the line of an HTTP/0.9 request. Without
// one it returns where to go on looking.
func headEnd(b []byte, from int) (int, bool) {
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return max(from, i), false
		}
		at := i + n
		if from == 0 && i == 0 && endsInLine(b[:at]) {
			return at + 1, true
		}
		rest := b[at+1:]
		switch {
		case len(rest) > 0 && rest[0] == '\n':
			return at + 2, true
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return at + 3, true
		case len(rest) == 0 || len(rest) == 1 && rest[0] == '\r':
			return at, false
		}
		i = at + 1
	}
}

// endsInLine reports whether a request is over with its first line, because it is
// one of HTTP/0.9 or one that is refused.
func endsInLine(line []byte) bool {
	line, ok := cutLineEnd(line)
	if !ok {
		return true
	}
	if bytes.HasSuffix(line, []byte(" HTTP/1.1")) || bytes.HasSuffix(line, []byte(" HTTP/1.0")) {
		return false // whatever it is: it is looked at when it is whole
	}
	l, status := scanRequestLine(line, false)
	return status != 0 || l.version == 9
}

// cutLineEnd drops the CR at the end of a line. One elsewhere makes it no line.
func cutLineEnd(line []byte) ([]byte, bool) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	return line, bytes.IndexByte(line, '\r') < 0
}

// maxHead is how long a head can be at most: all buffers full.
func (c *serverConf) maxHead() int { return c.firstBufferSize + c.largeBuffers*c.largeBufferSize }

// headTooLarge applies nginx's rules that the request line and each field must fit
// in one buffer, and all of them in all buffers. It returns where the line begins
// that does not, and a status.
func headTooLarge(b []byte, lim *VirtualServer) (at, status int) {
	size := lim.largeBufferSize
	if len(b) < size {
		return 0, 0
	}
	n := bytes.IndexByte(b, '\n')
	if n < 0 || n >= size {
		return len(b), 414
	}
	for at = n + 1; len(b)-at >= size; at += n + 1 {
		if n = bytes.IndexByte(b[at:], '\n'); n < 0 || n >= size {
			return at, statusHeaderTooLarge
		}
	}
	if total := lim.maxHead(); len(b) > total {
		return bytes.LastIndexByte(b[:total], '\n') + 1, statusHeaderTooLarge
	}
	return 0, 0
}
