package httpd

import "bytes"

// A framing is what the scan of a head found out: how the body is framed, and
// what else decides about connection and host. Two ways to frame one body are how
// requests are smuggled, so it is taken from the lines of the head itself, once.
type framing struct {
	line    requestLine
	host    []byte // value of the Host field
	hosts   int
	length  int64
	lengths int
	codings int
	wish    connectionWish
	unique  uint16 // fields seen of those that may come once
}

// A connectionWish is what the client wants of the connection.
type connectionWish uint8

const (
	wishNone connectionWish = iota
	wishClose
	wishKeep
)

// chunkedBody as a length: the body says itself where it ends.
const chunkedBody = -1

// scanHead scans a head, complete or not, the way nginx does, and keeps in r.clean
// what of it is to be parsed: without the fields that are ignored, up to the first
// that is broken. It returns 0 or the status to refuse it with.
func (r *Request) scanHead(head []byte) (f framing, status int) {
	rest, line := []byte(nil), head
	if i := bytes.IndexByte(head, '\n'); i >= 0 {
		line, rest = head[:i], head[i+1:]
	}
	r.keepLine(line)
	text, ok := cutLineEnd(line)
	if !ok {
		return f, 400
	}
	if f.line, status = scanRequestLine(text); status != 0 {
		return f, status
	}
	r.version = f.line.version
	if status := r.setTarget(f.line.target); status != 0 {
		return f, status
	}
	r.startClean(&f.line)
	underscores := !r.c.ln.def.root.core.noUnderscore
	for status == 0 {
		n := bytes.IndexByte(rest, '\n')
		if n < 0 || n == 0 || n == 1 && rest[0] == '\r' {
			break
		}
		name, value, kind := scanField(rest[:n+1], underscores)
		switch kind {
		case fieldBroken:
			status = 400
		case fieldGood:
			if status = f.field(name, value); status == 0 {
				r.clean = append(append(r.clean, name...), ": "...)
				r.clean = append(append(r.clean, value...), "\r\n"...)
			}
		}
		rest = rest[n+1:]
	}
	r.clean = append(r.clean, "\r\n"...)
	return f, status
}

// startClean begins the head that is to be parsed.
func (r *Request) startClean(l *requestLine) {
	r.clean = append(append(r.clean[:0], l.method...), ' ')
	r.clean = append(r.clean, l.target...)
	if l.version >= 11 {
		r.clean = append(r.clean, " HTTP/1.1\r\n"...)
	} else {
		r.clean = append(r.clean, " HTTP/1.0\r\n"...)
	}
}

// Fields that nginx refuses to see twice, besides Host, Content-Length and
// Transfer-Encoding.
var uniqueFields = [...]string{
	"if-modified-since", "if-unmodified-since", "if-match", "if-none-match",
	"if-range", "expect", "authorization", "content-range",
}

// field takes note of one field. It returns 0 or the status to refuse it with.
func (f *framing) field(name, value []byte) int {
	switch len(name) {
	case len("host"):
		if equalFold(name, "host") {
			f.host = value
			f.hosts++
			if f.hosts > 1 {
				return 400
			}
		}
	case len("connection"):
		if equalFold(name, "connection") {
			f.connection(value)
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return f.contentLength(value)
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			f.codings++
			if f.codings > 1 {
				return 400
			}
			if !equalFold(value, "chunked") {
				f.codings = unknownCoding
			}
		}
	}
	if c := name[0] | 0x20; c == 'i' || c == 'e' || c == 'a' || c == 'c' {
		return f.once(name)
	}
	return 0
}

// unknownCoding as the number of codings: there is one, and it is not "chunked".
const unknownCoding = 1 << 10

// once refuses the second of a field that may come once.
func (f *framing) once(name []byte) int {
	for i, u := range uniqueFields {
		if equalFold(name, u) {
			if f.unique&(1<<i) != 0 {
				return 400
			}
			f.unique |= 1 << i
			break
		}
	}
	return 0
}

func (f *framing) connection(value []byte) {
	switch {
	case containsFold(value, "close"):
		f.wish = wishClose
	case containsFold(value, "keep-alive"):
		f.wish = wishKeep
	}
}

// maxLengthDigits keeps a declared length within 63 bits.
const maxLengthDigits = 18

func (f *framing) contentLength(value []byte) int {
	f.lengths++
	if f.lengths > 1 || len(value) == 0 || len(value) > maxLengthDigits {
		return 400
	}
	for _, d := range value {
		if d < '0' || d > '9' {
			return 400
		}
		f.length = f.length*10 + int64(d-'0')
	}
	return 0
}

// bodyLength is the length of the body that follows, or chunkedBody. A status
// other than 0 refuses the request.
func (f *framing) bodyLength() (n int64, status int) {
	switch {
	case f.codings > 0 && f.line.version < 11:
		return 0, 400
	case f.codings == unknownCoding:
		return 0, 501
	case f.codings > 0 && f.lengths > 0:
		return 0, 400
	case f.codings > 0:
		return chunkedBody, 0
	}
	return f.length, 0
}

// keep reports whether the client wants the connection to stay open.
func (f *framing) keep() bool {
	if f.wish == wishNone {
		return f.line.version >= 11
	}
	return f.wish == wishKeep
}

// setTarget takes the request target apart. It returns 0 or 400.
func (r *Request) setTarget(target []byte) int {
	host, path, args, err := splitTarget(target)
	if err != nil {
		return 400
	}
	r.target = append(r.target[:0], target[len(target)-targetTail(target, host):]...)
	if len(r.target) == 0 || r.target[0] != '/' {
		// nginx: only "http://host?args" and "http://host" come here.
		r.target = append(r.target[:0], '/')
		if len(args) > 0 {
			r.target = append(append(r.target, '?'), args...)
		}
	}
	r.rawURI = r.target
	r.rawPath = r.target[:min(len(path), len(r.target))]
	r.targetHost = append(r.targetHost[:0], host...)
	r.Args = append(r.Args[:0], args...)
	if r.URI, err = normalizePath(r.URI[:0], path, r.c.ln.def.mergeSlashes); err != nil {
		r.URI = r.URI[:0]
		return 400
	}
	return 0
}

// targetTail is the length of what follows the host in a target.
func targetTail(target, host []byte) int {
	if host == nil {
		return len(target)
	}
	i := bytes.Index(target, []byte("://"))
	return len(target) - i - len("://") - len(host)
}

// checkHead applies what is left to check of a head that was parsed, and chooses
// the virtual server.
func (r *Request) checkHead(f *framing) int {
	if status := r.chooseServer(f); status != 0 {
		return status
	}
	if f.hosts == 0 && f.line.version >= 11 {
		r.Log(levelInfo, "client sent HTTP/1.1 request without \"Host\" header", nil)
		return 400
	}
	length, status := f.bodyLength()
	if status != 0 {
		r.Log(levelInfo, "client sent a body with contradicting or unknown framing", nil)
		return status
	}
	r.body.length = length
	if m := string(f.line.method); m == "CONNECT" || m == "TRACE" {
		r.Log(levelInfo, "client sent "+m+" method", nil)
		return 405
	}
	r.keepalive = f.keep()
	return 0
}

// chooseServer chooses the virtual server by the host of the target, else by the
// Host field. It returns 0 or 400.
func (r *Request) chooseServer(f *framing) int {
	status := 0
	host := r.targetHost
	if f.hosts > 0 {
		var ok bool
		if r.Host, ok = validHost(r.Host[:0], f.host); !ok {
			r.Host = r.Host[:0]
			r.Log(levelInfo, "client sent invalid host header", nil)
			status = 400
		}
	}
	if len(host) > 0 {
		var ok bool
		if r.Host, ok = validHost(r.Host[:0], host); !ok {
			r.Host = r.Host[:0]
			return 400
		}
	}
	if len(r.Host) > 0 {
		r.Server = r.c.ln.find(r)
		r.loc = r.Server.root
	}
	return status
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

// containsFold reports whether s, which is lower-case, is anywhere in b, in any
// case.
func containsFold(b []byte, s string) bool {
	for ; len(b) >= len(s); b = b[1:] {
		if equalFold(b[:len(s)], s) {
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
