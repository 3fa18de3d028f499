package proxy

import (
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// compose writes the request's head, which is the same for all tries, and a small
// body behind it.
func (x *exchange) compose() {
	l, r := x.loc, x.r
	b := x.req[:0]
	if l.method != nil {
		b = l.method.Append(b, r)
	} else {
		b = append(b, r.Head.Method()...)
	}
	x.isHead = string(b) == "HEAD"
	b = append(b, ' ')
	from := len(b)
	b = x.appendURI(b)
	to := len(b)
	if l.http11 {
		b = append(b, " HTTP/1.1\r\n"...)
	} else {
		b = append(b, " HTTP/1.0\r\n"...)
	}
	for i := range l.sets {
		b = x.appendSet(b, &l.sets[i])
	}
	if l.passFields {
		b = x.appendFields(b)
	}
	b = append(b, "\r\n"...)
	x.req, x.uri = b, b[from:to]
}

// appendSet appends one field of proxy_set_header or its defaults; one without a
// value is not sent.
func (x *exchange) appendSet(b []byte, f *setField) []byte {
	start := len(b)
	b = append(b, f.name...)
	valueAt := len(b)
	switch f.kind {
	case setText:
		b = f.value.Append(b, x.r)
	case setHost:
		b = append(b, x.to.host...)
	case setLength:
		if x.body != nil && x.body.length >= 0 {
			b = strconv.AppendInt(b, x.body.length, 10)
		}
	case setCoding:
		if x.body != nil && x.body.length < 0 {
			b = append(b, "chunked"...)
		}
	}
	if len(b) == valueAt {
		return b[:start]
	}
	return append(b, "\r\n"...)
}

// appendFields appends the client's fields, in its order and spelling.
func (x *exchange) appendFields(b []byte) []byte {
	underscores := !x.r.Location().DropsUnderscores()
	x.r.EachField(func(name, value []byte) {
		var buf [64]byte
		if !validName(name, underscores) || x.loc.replaced[string(lower(&buf, name))] {
			return
		}
		b = append(append(b, name...), ": "...)
		b = append(append(b, value...), "\r\n"...)
	})
	return b
}

// validName reports whether nginx would take a field of that name for one.
func validName(name []byte, underscores bool) bool {
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
		case c == '_' && underscores:
		default:
			return false
		}
	}
	return len(name) > 0
}

// lower is name in lower case, in buf when it fits.
func lower(buf *[64]byte, name []byte) []byte {
	out := buf[:0]
	if len(name) > len(buf) {
		out = make([]byte, 0, len(name))
	}
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		out = append(out, c)
	}
	return out
}

// send sends the request. A server that answers before it has everything is
// listened to: the rest of the body is not sent then.
func (x *exchange) send() failure {
	x.sent = true
	b := x.body
	var mem []byte
	if b != nil {
		mem = b.mem
	}
	if f, stop := x.push(x.req); f != 0 || stop {
		return f
	}
	if len(mem) > 0 {
		if f, stop := x.push(mem); f != 0 || stop {
			return f
		}
	}
	switch {
	case b == nil:
	case b.file != nil:
		if f, stop := x.sendFile(); f != 0 || stop {
			return f
		}
	case b.streams:
		if f, stop := x.stream(); f != 0 || stop {
			return f
		}
	}
	x.whole = true
	return 0
}

// sendTick is how long a write to a server may block before it is looked whether
// the server has answered already.
const sendTick = 100 * time.Millisecond

// push writes p. stop says that the server has something to say instead.
func (x *exchange) push(p []byte) (f failure, stop bool) {
	idle := time.Duration(0)
	for len(p) > 0 {
		wait := min(sendTick, x.loc.sendTimeout-idle)
		n, err := x.conn.WriteSome(p, wait)
		x.now().Sent += int64(n)
		if p = p[n:]; n > 0 {
			idle = 0
		}
		f, stop = x.pushed(err, &idle, wait)
		if f != 0 || stop {
			return f, stop
		}
	}
	return 0, false
}

// pushed says what follows from the outcome of one write.
func (x *exchange) pushed(err error, idle *time.Duration, waited time.Duration) (f failure, stop bool) {
	switch {
	case err == nil:
		return 0, false
	case errors.Is(err, httpd.ErrTimeout):
		if x.conn.Ready() {
			return 0, true
		}
		if *idle += waited; *idle >= x.loc.sendTimeout {
			return x.sendFailed(err), false
		}
		if x.gone() {
			return x.readFailed(errGone), false
		}
		return 0, false
	case x.conn.Ready() && x.conn.Fill(x.loc.readTimeout) == nil:
		return 0, true // it answered and closed its ear
	}
	return x.sendFailed(err), false
}

// sendFile sends a body that lies in a file.
func (x *exchange) sendFile() (f failure, stop bool) {
	b := x.body
	idle := time.Duration(0)
	for off := int64(0); off < b.length; {
		wait := min(sendTick, x.loc.sendTimeout-idle)
		n := 0
		var err error
		control := func(fd uintptr) {
			n, err = x.conn.SendFile(int(fd), off, int(min(b.length-off, maxSendFile)), wait)
		}
		rc, rerr := b.file.SyscallConn()
		if rerr == nil {
			rerr = rc.Control(control)
		}
		if rerr != nil {
			return x.sendFailed(rerr), false
		}
		off += int64(n)
		x.now().Sent += int64(n)
		if n > 0 {
			idle = 0
		}
		if f, stop = x.pushed(err, &idle, wait); f != 0 || stop {
			return f, stop
		}
	}
	return 0, false
}

const maxSendFile = 1 << 20

// stream passes the client's body on as it comes.
func (x *exchange) stream() (f failure, stop bool) {
	b, in := x.body, x.r.Body()
	b.started = true
	buf := make([]byte, copyBytes)
	const room = 10 // for a chunk's size line before what is read
	for {
		if x.conn.Ready() {
			return 0, true
		}
		n, err := in.Read(buf[room : len(buf)-2])
		if n > 0 {
			p := buf[room : room+n]
			if b.length < 0 {
				p = frameChunk(buf, room, n)
			}
			if f, stop = x.push(p); f != 0 || stop {
				return f, stop
			}
		}
		switch {
		case err == io.EOF:
			if b.length < 0 {
				return x.push([]byte("0\r\n\r\n"))
			}
			return 0, false
		case err != nil:
			return x.bodyFailed(err), false
		}
	}
}

// frameChunk makes a chunk of the n bytes at buf[at:].
func frameChunk(buf []byte, at, n int) []byte {
	var line [16]byte
	size := append(strconv.AppendInt(line[:0], int64(n), 16), "\r\n"...)
	start := at - len(size)
	copy(buf[start:], size)
	copy(buf[at+n:], "\r\n")
	return buf[start : at+n+2]
}
