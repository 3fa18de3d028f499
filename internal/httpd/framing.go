package httpd

import (
	"bytes"
	"strconv"
)

// A framing is what the scan of a head found out: how the body is framed, and
// what else decides about connection and host. Two ways to frame one body are how
// requests are smuggled, so it is taken from the lines of the head itself, once.
type framing struct {
	line    requestLine
	host    []byte // value of the Host field
	hosts   int
	length  int64
	lengths int
	invalid bool // the length is none
	codings int
	coding  []byte // one that is not chunked
	wish    connectionWish
}

// A fieldSet tells which of some fields a request has: most have none of them, and
// then none needs to be looked for.
type fieldSet uint16

const (
	hasIfModifiedSince fieldSet = 1 << iota
	hasIfUnmodifiedSince
	hasIfMatch
	hasIfNoneMatch
	hasIfRange
	hasExpect
	hasAuthorization
	hasContentRange
	hasRange

	hasCondition = hasIfModifiedSince | hasIfUnmodifiedSince | hasIfMatch | hasIfNoneMatch
)

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
	r.Server = r.c.defaultServer() // until Host, if that was read before it was read again
	r.loc = r.Server.root
	rest, line := []byte(nil), head
	if i := bytes.IndexByte(head, '\n'); i >= 0 {
		line, rest = head[:i], head[i+1:]
	}
	r.keepLine(line)
	text, ok := cutLineEnd(line)
	if !ok {
		return f, r.invalidLine("request", 400)
	}
	f.line, status = scanRequestLine(text, r.c.stream != nil)
	r.headless = f.line.version == 9
	switch {
	case status == 505:
		return f, r.invalidLine("version", status)
	case status != 0 && len(f.line.method) == 0:
		return f, r.invalidLine("method", status)
	case status != 0:
		return f, r.invalidLine("request", status)
	}
	r.version = f.line.version
	if len(line) < len(head) {
		r.headSize = int64(len(line) + 1)
	}
	if status := r.setTarget(&f.line); status != 0 {
		return f, r.invalidLine("request", status)
	}
	r.startClean(&f.line)
	r.has = 0
	defer func() { r.Head.set(&f.line, r.clean) }()
	for fields := 0; ; {
		vs := r.Server // which Host may change
		n := bytes.IndexByte(rest, '\n')
		if n < 0 || n == 0 || n == 1 && rest[0] == '\r' {
			r.clean = append(r.clean, "\r\n"...)
			return f, 0
		}
		name, value, kind := scanField(rest[:n+1], vs.names)
		if kind == fieldBroken {
			return f, r.invalid("client sent invalid header line", 400)
		}
		if kind == fieldIgnored && r.headSize >= r.noted {
			r.noted = r.headSize + int64(n+1) // the head may be read again, with what comes yet
			r.invalid("client sent invalid header line: "+strconv.Quote(string(bytes.TrimRight(rest[:n], "\r"))), 0)
		}
		r.headSize += int64(n + 1)
		rest = rest[n+1:]
		if kind == fieldIgnored {
			continue
		}
		if r.counts(name) {
			fields++
		}
		if fields > vs.maxFields {
			return f, r.invalid("client sent too many header lines", statusHeaderTooLarge)
		}
		r.clean = append(append(r.clean, name...), ": "...)
		r.clean = append(append(r.clean, value...), "\r\n"...)
		if status := r.field(&f, name, value); status != 0 {
			return f, status
		}
	}
}

// counts reports whether a field is one of those that max_headers bounds. By HTTP/2 the
// host is none as a rule, and cookies, which may come in crumbs, are none ever.
func (r *Request) counts(name []byte) bool {
	return r.c.stream == nil || !equalFold(name, "host") && !equalFold(name, "cookie")
}

// invalid logs why a request is refused with status, or a part of it ignored.
func (r *Request) invalid(why string, status int) int {
	r.Log(levelInfo, why+" while reading client request headers", nil)
	return status
}

// invalidLine is invalid for the request line; what names the part that is wrong.
func (r *Request) invalidLine(what string, status int) int {
	r.Log(levelInfo, "client sent invalid "+what+" while reading client request line", nil)
	return status
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
// Transfer-Encoding, in the order of a fieldSet's bits.
var uniqueFields = [...]string{
	"if-modified-since", "if-unmodified-since", "if-match", "if-none-match",
	"if-range", "expect", "authorization", "content-range",
}

// field takes note of one field. It returns 0 or the status to refuse it with.
func (r *Request) field(f *framing, name, value []byte) int {
	switch len(name) {
	case len("host"):
		if equalFold(name, "host") {
			return r.hostField(f, value)
		}
	case len("range"):
		if equalFold(name, "range") {
			r.has |= hasRange
		}
	case len("connection"):
		if equalFold(name, "connection") {
			f.connection(value)
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return r.lengthField(f, value)
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			if f.codings++; f.codings > 1 {
				return r.invalid("client sent duplicate \"Transfer-Encoding\" header", 400)
			}
			if !equalFold(value, "chunked") {
				f.codings, f.coding = unknownCoding, value
			}
		}
	}
	if c := name[0] | 0x20; c == 'i' || c == 'e' || c == 'a' || c == 'c' {
		return r.uniqueField(name)
	}
	return 0
}

// hostField chooses the virtual server, unless the request target named one.
func (r *Request) hostField(f *framing, value []byte) int {
	if f.hosts++; f.hosts > 1 {
		return r.invalid("client sent duplicate host header: "+strconv.Quote("Host: "+string(value))+
			", previous value: "+strconv.Quote("Host: "+string(f.host)), 400)
	}
	f.host = value
	n := len(r.targetHost)
	host, ok := validHost(r.targetHost, value)
	if !ok {
		what := "host"
		if r.c.stream != nil && r.c.stream.end.Authority() {
			what = "\":authority\""
		}
		return r.invalid("client sent invalid "+what+" header", 400)
	}
	r.targetHost = host[:n]
	if n == 0 {
		r.Host = append(r.Host[:0], host...)
		r.Server = r.c.hosts.find(r)
		r.loc = r.Server.root
	}
	return 0
}

// unknownCoding as the number of codings: there is one, and it is not "chunked".
const unknownCoding = 1 << 10

// uniqueField refuses the second of a field that may come once.
func (r *Request) uniqueField(name []byte) int {
	for i, u := range uniqueFields {
		if equalFold(name, u) {
			if r.has&(1<<i) != 0 {
				return r.invalid("client sent duplicate header line", 400)
			}
			r.has |= 1 << i
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

func (r *Request) lengthField(f *framing, value []byte) int {
	if f.lengths++; f.lengths > 1 {
		return r.invalid("client sent duplicate header line", 400)
	}
	for _, d := range value {
		if d < '0' || d > '9' {
			f.invalid = true
			return 0
		}
		f.length = f.length*10 + int64(d-'0')
	}
	f.invalid = len(value) == 0 || len(value) > maxLengthDigits
	return 0
}

// bodyLength is the length of the body that follows, or chunkedBody. A status
// other than 0 refuses the request.
func (r *Request) bodyLength(f *framing) (n int64, status int) {
	switch {
	case f.invalid:
		return 0, r.invalid("client sent invalid \"Content-Length\" header", 400)
	case f.codings == 0:
		return f.length, 0
	case f.line.version < 11:
		return 0, r.invalid("client sent HTTP/1.0 request with \"Transfer-Encoding\" header", 400)
	case f.codings == unknownCoding:
		return 0, r.invalid("client sent unknown \"Transfer-Encoding\": "+strconv.Quote(string(f.coding)), 501)
	case f.lengths > 0:
		return 0, r.invalid("client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time", 400)
	}
	return chunkedBody, 0
}

// keep reports whether the client wants the connection to stay open.
func (f *framing) keep() bool {
	if f.wish == wishNone {
		return f.line.version >= 11
	}
	return f.wish == wishKeep
}

// setTarget takes the request target apart. It returns 0 or 400.
func (r *Request) setTarget(l *requestLine) int {
	target := l.target
	if string(l.method) == methodConnect && r.c.stream == nil {
		r.URI, r.Args = append(r.URI[:0], '/'), r.Args[:0]
		r.target = append(r.target[:0], '/')
		r.rawPath = r.target
		return r.setTargetHost(target)
	}
	host, path, args, err := splitTarget(target)
	if err != nil {
		return 400
	}
	if r.URI, err = normalizePath(r.URI[:0], path, r.c.defaultServer().mergeSlashes); err != nil {
		r.URI = r.URI[:0]
		return 400
	}
	r.Args = append(r.Args[:0], args...)
	r.target = append(r.target[:0], target[len(target)-targetTail(target, host):]...)
	if len(r.target) == 0 || r.target[0] != '/' {
		// nginx: only "http://host?args" and "http://host" come here.
		r.target = append(append(r.target[:0], '/'), target[len(target)-targetTail(target, host):]...)
	}
	r.rawPath = r.target[:min(len(path), len(r.target))]
	if host == nil {
		return 0
	}
	return r.setTargetHost(host)
}

// setTargetHost chooses the virtual server by a host in the target. It returns 0 or 400.
func (r *Request) setTargetHost(host []byte) int {
	var ok bool
	if r.targetHost, ok = validHost(r.targetHost[:0], host); !ok {
		return 400
	}
	r.Host = append(r.Host[:0], r.targetHost...)
	r.Server = r.c.hosts.find(r)
	r.loc = r.Server.root
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

// checkHead applies what is left to check of a whole head.
func (r *Request) checkHead(f *framing) int {
	r.chooseServer()
	if f.hosts == 0 && f.line.version >= 11 {
		return r.invalid("client sent HTTP/1.1 request without \"Host\" header", 400)
	}
	length, status := r.bodyLength(f)
	if status != 0 {
		return status
	}
	r.body.length = length
	if m := string(f.line.method); m == methodConnect || m == "TRACE" {
		return r.invalid("client sent "+m+" method", 405)
	}
	r.keepalive = f.keep()
	return 0
}

// chooseServer chooses the virtual server of a request that named none.
func (r *Request) chooseServer() {
	if len(r.Host) == 0 {
		r.Server = r.c.hosts.find(r)
		r.loc = r.Server.root
	}
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
