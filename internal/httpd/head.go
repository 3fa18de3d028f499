package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// errHeadClosed: the client closed or reset the connection inside a head.
var errHeadClosed = errors.New("client closed the connection")

// A headParser lends fasthttp's parser, which reads from a bufio.Reader, a head
// that is already in memory. One is in use only while a head is parsed.
type headParser struct {
	src bytes.Reader
	br  *bufio.Reader
}

var headParsers = sync.Pool{New: func() any {
	p := new(headParser)
	p.br = bufio.NewReaderSize(&p.src, bufferPage)
	return p
}}

// parseHead parses head, which must be complete, into h.
func parseHead(h *fasthttp.RequestHeader, head []byte) error {
	if len(head) > bufferPage {
		return h.Read(bufio.NewReaderSize(bytes.NewReader(head), len(head)))
	}
	p := headParsers.Get().(*headParser)
	p.src.Reset(head)
	p.br.Reset(&p.src)
	err := h.Read(p.br)
	p.src.Reset(nil)
	headParsers.Put(p)
	return err
}

// readHead reads and checks a request's head. A status other than 0 is what the
// client is to be told, after which the connection closes; an error means that
// there is nobody to tell.
func (r *Request) readHead() (status int, err error) {
	c := r.c
	lim := c.ln.def
	c.limit = lim.largeBufferSize * lim.largeBuffers
	deadline := r.start.Add(lim.clientHeaderTimeout)
	scanned := 0
	for {
		skipBlankLines(&c.in)
		data := c.in.data()
		end, ok := headEnd(data, scanned)
		if ok {
			return r.acceptHead(data[:end]), nil
		}
		if status := headTooLarge(data, lim.largeBufferSize, false); status != 0 {
			r.badLine = firstLine(data)
			return status, nil
		}
		scanned = end
		left := time.Until(deadline)
		if left <= 0 {
			r.badLine = firstLine(data)
			return 0, errTimeout
		}
		switch err := c.fill(&c.in, left); {
		case err == nil:
		case errors.Is(err, io.ErrShortBuffer):
			r.badLine = firstLine(data)
			return statusHeaderTooLarge, nil
		default:
			r.badLine = firstLine(c.in.data())
			if errors.Is(err, errTimeout) {
				return 0, err
			}
			return 0, errHeadClosed
		}
	}
}

// statusHeaderTooLarge is nginx's inner number for a header field that fits no
// buffer. The client is sent 400, error_page may name 494.
const statusHeaderTooLarge = 494

// acceptHead parses a complete head and takes it off the input.
func (r *Request) acceptHead(head []byte) int {
	lim := r.c.ln.def
	defer r.c.in.consume(len(head))
	if len(head) > lim.largeBufferSize {
		if status := headTooLarge(head, lim.largeBufferSize, true); status != 0 {
			r.badLine = firstLine(head)
			return status
		}
	}
	if err := parseHead(&r.Head, head); err != nil {
		r.badLine = firstLine(head)
		r.Log(levelInfo, "client sent invalid request", nil)
		return badHeadStatus(r.badLine)
	}
	return r.checkHead()
}

// badHeadStatus tells an HTTP version that nginx does not speak from junk.
func badHeadStatus(line []byte) int {
	i := bytes.LastIndex(line, []byte(" HTTP/"))
	if i < 0 {
		return 400
	}
	v := line[i+len(" HTTP/"):]
	if len(v) >= 3 && v[0] >= '2' && v[0] <= '9' && v[1] == '.' {
		return 505
	}
	return 400
}

// skipBlankLines drops line ends before a request line, as nginx does.
func skipBlankLines(in *inbuf) {
	d := in.data()
	n := 0
	for n < len(d) && (d[n] == '\r' || d[n] == '\n') {
		n++
	}
	if n > 0 {
		in.consume(n)
	}
}

// headEnd looks for the empty line that ends a head, from offset from on, and
// returns the head's length. Without one it returns where to go on looking.
func headEnd(b []byte, from int) (int, bool) {
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return max(from, i), false
		}
		at := i + n
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

// headTooLarge applies nginx's rule that the request line and each field must
// fit in one buffer. whole says that b is a complete head.
func headTooLarge(b []byte, size int, whole bool) int {
	if len(b) < size {
		return 0
	}
	n := bytes.IndexByte(b, '\n')
	if n < 0 || n >= size {
		return 414
	}
	for b = b[n+1:]; len(b) > size; b = b[n+1:] {
		if n = bytes.IndexByte(b, '\n'); n < 0 || n >= size {
			return statusHeaderTooLarge
		}
	}
	return 0
}

// firstLine copies the first line of b, at most what a log line may hold.
func firstLine(b []byte) []byte {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	b = bytes.TrimSuffix(b, []byte("\r"))
	return append([]byte(nil), b[:min(len(b), 4096)]...)
}

// checkHead applies what the parser leaves open: which host is meant, and how
// the body is framed. Two ways to frame one body are how requests are smuggled.
func (r *Request) checkHead() int {
	h := &r.Head
	host, path, args, err := splitTarget(h.RequestURI())
	if err != nil || h.IsConnect() {
		if h.IsConnect() {
			return 405
		}
		return 400
	}
	if host == nil {
		host = h.Host()
	}
	framing, ok := bodyFraming(h)
	if !ok {
		r.Log(levelInfo, "client sent a body with contradicting or unknown framing", nil)
		return framing
	}
	r.body.length = int64(framing)
	if framing == chunkedBody && !h.IsHTTP11() {
		return 400
	}
	r.Host, ok = validHost(r.Host[:0], host)
	if !ok && (h.IsHTTP11() || len(host) > 0) {
		return 400
	}
	r.Server = r.c.ln.find(r)
	r.loc = r.Server.root
	r.rawPath = path
	r.Args = append(r.Args[:0], args...)
	if r.URI, err = normalizePath(r.URI[:0], path, r.Server.mergeSlashes); err != nil {
		return 400
	}
	r.keepalive = !connectionClose(h)
	return 0
}

// chunkedBody as a length: the body says itself where it ends.
const chunkedBody = -1

// bodyFraming returns the body's length, or chunkedBody, or false and a status.
func bodyFraming(h *fasthttp.RequestHeader) (int, bool) {
	var length, coding []byte
	lengths, codings := 0, 0
	forEachField(h.RawHeaders(), func(name, value []byte) {
		switch {
		case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
			length = value
			lengths++
		case len(name) == len("transfer-encoding") && bytes.EqualFold(name, []byte("transfer-encoding")):
			coding = value
			codings++
		}
	})
	switch {
	case codings > 0 && lengths > 0, codings > 1, lengths > 1:
		return 400, false
	case codings == 1 && !bytes.EqualFold(coding, []byte("chunked")):
		return 501, false
	case codings == 1:
		return chunkedBody, true
	case lengths == 0:
		return 0, true
	}
	n := 0
	if len(length) == 0 || len(length) > 18 {
		return 400, false
	}
	for _, d := range length {
		if d < '0' || d > '9' {
			return 400, false
		}
		n = n*10 + int(d-'0')
	}
	return n, true
}

// forEachField calls f for each header field of a raw head, in order, names as
// the client wrote them. The head was accepted by the parser before.
func forEachField(raw []byte, f func(name, value []byte)) {
	for len(raw) > 0 {
		line := raw
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			line, raw = raw[:i], raw[i+1:]
		} else {
			raw = nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			continue
		}
		f(line[:colon], bytes.Trim(line[colon+1:], " \t\r"))
	}
}

// connectionClose reports whether the client wants the connection closed after
// this request.
func connectionClose(h *fasthttp.RequestHeader) bool {
	if h.ConnectionClose() {
		return true
	}
	v := h.Peek("Connection")
	return len(v) > 0 && hasToken(v, "close")
}

// hasToken reports whether the comma-separated list v holds token, in any case.
func hasToken(v []byte, token string) bool {
	for len(v) > 0 {
		item := v
		if i := bytes.IndexByte(v, ','); i >= 0 {
			item, v = v[:i], v[i+1:]
		} else {
			v = nil
		}
		if equalFold(bytes.TrimSpace(item), token) {
			return true
		}
	}
	return false
}

func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		c, d := b[i], s[i]
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}
