package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/baton-deploy/baton/internal/netconn"
)

// An answer is the head of a server's answer.
type answer struct {
	raw    []byte // a copy, which the fields are parts of
	fields []field
	status int
	reason []byte
	old    bool     // HTTP/1.0
	length int64    // of the body as declared, -1 when it was not
	chunks bool     // the body is in chunks
	close  bool     // the connection cannot be used again
	upgr   bool     // has Upgrade
	seen   uint16   // which of the fields came that there is one of
	extra  []string // what the log is to hear of fields that came again
}

type field struct{ name, value []byte }

// Faults of a head. The texts are nginx's.
var (
	errNoStatus   = errors.New("upstream sent no valid HTTP/1.0 header")
	errBadLength  = errors.New("upstream sent invalid \"Content-Length\" header")
	errTwoLengths = errors.New("upstream sent duplicate header line: \"Content-Length\"")
	errTwoCodings = errors.New("upstream sent duplicate header line: \"Transfer-Encoding\"")
	errBadCoding  = errors.New("upstream sent unknown \"Transfer-Encoding\"")
	errBoth       = errors.New("upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time")
)

// errGone: the client closed its connection.
var errGone = errors.New("client prematurely closed connection")

// readHead reads the answer's head. Answers that only say to wait (1xx) are
// skipped. waited is how long it was waited for already.
func (x *Exchange) readHead(waited time.Duration) Failure {
	if x.Records != nil {
		return x.readRecords(waited)
	}
	seen := 0
	for {
		n, ok := x.headEnd(x.conn.Buffered(), seen)
		if ok {
			if f := x.acceptHead(n); f != 0 {
				return f
			}
			if x.ans.status >= 200 || x.ans.status == 101 || x.loc.kind.Head != HeadHTTP {
				x.hasHead()
				return 0
			}
			seen = 0
			if f := x.resume(); f != 0 {
				return f
			}
			continue
		}
		seen = n
		before := len(x.conn.Buffered())
		if before >= x.loc.bufferSize {
			return x.readFailed(io.ErrShortBuffer)
		}
		if err := x.fillAfter(waited); err != nil {
			return x.readFailed(err)
		}
		waited = 0
		x.raw += int64(len(x.conn.Buffered()) - before)
	}
}

// resume goes on sending the request when what the server had to say was only that
// it is still there.
func (x *Exchange) resume() Failure {
	if x.whole {
		return 0
	}
	f, stop := x.send()
	x.whole = f == 0 && !stop
	return f
}

// hasHead notes that the answer's head is there.
func (x *Exchange) hasHead() {
	x.headLen = x.raw - int64(len(x.conn.Buffered()))
	x.now().Header = time.Since(x.tried)
	x.now().Status = x.ans.status
	x.st.Head = &x.ans
}

// acceptHead parses the n bytes of a head and takes them off the input.
func (x *Exchange) acceptHead(n int) Failure {
	a := &x.ans
	a.raw = append(a.raw[:0], x.conn.Buffered()[:n]...)
	x.conn.Consume(n)
	return x.parseHead()
}

// parseHead parses the head that is in x.ans.raw.
func (x *Exchange) parseHead() Failure {
	if err := x.ans.parse(x.loc.kind.Head); err != nil {
		x.Log(LevelError, err.Error()+" while "+x.doing)
		return FailHeader
	}
	for _, text := range x.ans.extra {
		x.Log(LevelWarn, text+" while "+x.doing)
	}
	return 0
}

// readRecords is readHead from records.
func (x *Exchange) readRecords(waited time.Duration) Failure {
	a, seen := &x.ans, 0
	a.raw = a.raw[:0]
	for {
		p, used, _, err := x.Records.Next(x.conn.Buffered())
		if err != nil {
			x.logFault(err)
			return FailHeader
		}
		a.raw = append(a.raw, p...)
		n, ok := x.headEnd(a.raw, seen)
		if ok {
			rest := len(a.raw) - n
			x.Records.Unread(rest)
			a.raw = a.raw[:n]
			x.conn.Consume(used - rest)
			if f := x.parseHead(); f != 0 {
				return f
			}
			x.hasHead()
			return 0
		}
		seen = n
		x.conn.Consume(used)
		if len(a.raw) >= x.loc.bufferSize {
			return x.readFailed(io.ErrShortBuffer)
		}
		if used > 0 && len(x.conn.Buffered()) > 0 {
			continue
		}
		before := len(x.conn.Buffered())
		if err := x.fillAfter(waited); err != nil {
			return x.readFailed(err)
		}
		waited = 0
		x.raw += int64(len(x.conn.Buffered()) - before)
	}
}

// Ticks of looking whether the client is still there while a server thinks: soon
// at first, seldom for one that thinks long.
const (
	firstTick = 100 * time.Millisecond
	lastTick  = 2 * time.Second
)

// fillAfter waits for input from the server, as long as the client is there. Some of
// the time is over already.
func (x *Exchange) fillAfter(waited time.Duration) error {
	timeout := x.loc.readTimeout
	for tick := firstTick; ; tick = min(2*tick, lastTick) {
		switch {
		case waited <= 0:
		case waited >= timeout:
			return netconn.ErrTimeout
		case x.gone():
			return errGone
		}
		wait := min(tick, timeout-waited)
		if err := x.conn.Fill(wait); !errors.Is(err, netconn.ErrTimeout) {
			return err
		}
		waited += wait
	}
}

// gone reports whether the client closed its connection and this ends the
// request, or the server ended the connection because its time is over.
func (x *Exchange) gone() bool {
	return x.client.HungUp() && (!x.loc.ignoreAbort || x.client.Closed())
}

// headEnd is the function of that name, but for a head without any field, which is one
// where it needs no status line.
func (x *Exchange) headEnd(b []byte, from int) (int, bool) {
	if x.loc.kind.Head != HeadHTTP && from == 0 {
		switch {
		case len(b) > 0 && b[0] == '\n':
			return 1, true
		case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
			return 2, true
		}
	}
	return headEnd(b, from)
}

// headEnd looks for the empty line that ends a head, from offset from on, and
// returns the head's length. Without one it returns where to go on looking.
func headEnd(b []byte, from int) (int, bool) {
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return i, false
		}
		at := i + n
		switch rest := b[at+1:]; {
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

// parse reads a.raw, which ends with an empty line, into a.
func (a *answer) parse(kind HeadKind) error {
	a.fields = a.fields[:0]
	a.status, a.reason, a.old, a.length = 0, nil, false, -1
	a.chunks, a.close, a.upgr = false, false, false
	a.seen, a.extra = 0, nil
	line, rest := cutLine(a.raw)
	switch {
	case kind == HeadCGI:
		rest = a.raw
	case a.statusLine(line):
	case kind == HeadHTTP:
		return errNoStatus
	default:
		a.status, a.reason, rest = 0, nil, a.raw
	}
	if err := a.parseFields(rest); err != nil {
		return err
	}
	if kind != HeadHTTP {
		return a.parseCGI()
	}
	if a.old {
		a.close = true
	}
	return nil
}

func (a *answer) parseFields(rest []byte) error {
	var line []byte
	for {
		line, rest = cutLine(rest)
		if len(line) == 0 {
			break
		}
		if bytes.HasPrefix(line, []byte("HTTP/")) {
			continue // a second status line, as servers write whose scripts write one
		}
		name, value, _ := bytes.Cut(line, []byte(":")) // nginx takes a name alone too
		if err := plainField(line, name, value); err != nil {
			return err
		}
		f := field{name, trimBlanks(value)}
		if bit := lonely(name); bit != 0 {
			if a.seen&bit != 0 {
				a.cameAgain(f)
				continue
			}
			a.seen |= bit
		}
		a.fields = append(a.fields, f)
		if err := a.meaning(f); err != nil {
			return err
		}
	}
	if a.chunks && a.length >= 0 {
		return errBoth
	}
	return nil
}

// lonely is a bit for a field of which an answer has one, 0 for others.
func lonely(name []byte) uint16 {
	is := func(lower string, bit uint16) uint16 {
		if IsName(name, lower) {
			return bit
		}
		return 0
	}
	switch len(name) {
	case len("date"):
		return is("date", 1) | is("etag", 2)
	case len("server"):
		return is("server", 4) | is("status", 8)
	case len("expires"):
		return is("expires", 16) | is("refresh", 32)
	case len("location"):
		return is("location", 64)
	case len("content-type"):
		return is("content-type", 128)
	case len("last-modified"):
		return is("last-modified", 256)
	case len("x-accel-expires"):
		return is("x-accel-expires", 512)
	case len("x-accel-redirect"):
		return is("x-accel-redirect", 1024)
	case len("x-accel-limit-rate"):
		return is("x-accel-limit-rate", 2048)
	}
	return 0
}

// cameAgain leaves out a field of which the first counts.
func (a *answer) cameAgain(f field) {
	for _, first := range a.fields {
		if len(first.name) == len(f.name) && bytes.EqualFold(first.name, f.name) {
			a.extra = append(a.extra, fmt.Sprintf("upstream sent duplicate header line: \"%s: %s\", previous value: \"%s: %s\", ignored",
				f.name, f.value, first.name, first.value))
			return
		}
	}
}

// trimBlanks is bytes.Trim whose result is never nil: an empty field is passed on.
func trimBlanks(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	for len(v) > 0 && v[0] == ' ' {
		v = v[1:]
	}
	for len(v) > 0 && v[len(v)-1] == ' ' {
		v = v[:len(v)-1]
	}
	return v
}

// cutLine splits b behind its first line and drops the line end.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil
	}
	return bytes.TrimSuffix(b[:i], []byte("\r")), b[i+1:]
}

// plainField refuses what could be read in two ways: no name, blanks and controls
// in a name, NUL and a bare carriage return in a value.
func plainField(line, name, value []byte) error {
	if len(name) == 0 {
		return badField(line, 0)
	}
	for i, c := range name {
		if c <= ' ' || c >= 0x7f {
			return badField(line, i)
		}
	}
	for i, c := range value {
		if c == 0 || c == '\r' {
			return badField(line, len(name)+1+i)
		}
	}
	return nil
}

// badField is the error for the byte at i of a line.
func badField(line []byte, i int) error {
	return fmt.Errorf("upstream sent invalid header: \"%s\\x%02x...\"", line[:i], line[i])
}

// statusLine reads "HTTP/1.1 200 OK" and reports whether it is one.
func (a *answer) statusLine(line []byte) bool {
	const fixed = len("HTTP/1.1 200")
	if len(line) < fixed || string(line[:5]) != "HTTP/" || line[6] != '.' || line[8] != ' ' {
		return false
	}
	major, minor := line[5], line[7]
	if major < '1' || major > '9' || minor < '0' || minor > '9' {
		return false
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return false
		}
		a.status = a.status*10 + int(c-'0')
	}
	if a.status < 100 {
		return false
	}
	if rest := line[fixed:]; len(rest) > 0 {
		if rest[0] != ' ' || bytes.IndexByte(rest, 0) >= 0 || bytes.IndexByte(rest, '\r') >= 0 {
			return false
		}
		a.reason = rest[1:]
	}
	a.old = major == '1' && minor == '0'
	return true
}

// meaning notes what f says about the connection and the body.
func (a *answer) meaning(f field) error {
	switch len(f.name) {
	case len("upgrade"):
		a.upgr = a.upgr || IsName(f.name, "upgrade")
	case len("connection"):
		if IsName(f.name, "connection") && containsFold(f.value, "close") {
			a.close = true
		}
	case len("content-length"):
		if !IsName(f.name, "content-length") {
			return nil
		}
		if a.length >= 0 {
			return errTwoLengths
		}
		n, ok := parseLength(f.value)
		if !ok {
			return errBadLength
		}
		a.length = n
	case len("transfer-encoding"):
		switch {
		case !IsName(f.name, "transfer-encoding"):
		case a.chunks:
			return errTwoCodings
		case !IsName(f.value, "chunked"):
			return errBadCoding
		default:
			a.chunks = true
		}
	}
	return nil
}

// containsFold reports whether lower is somewhere in v, in any case.
func containsFold(v []byte, lower string) bool {
	for ; len(v) >= len(lower); v = v[1:] {
		if IsName(v[:len(lower)], lower) {
			return true
		}
	}
	return false
}

// parseLength reads a Content-Length.
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// EachField calls f for each field, as the server spelled it.
func (a *answer) EachField(f func(name, value []byte)) {
	for i := range a.fields {
		f(a.fields[i].name, a.fields[i].value)
	}
}
