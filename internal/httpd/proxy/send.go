package proxy

import (
	"errors"
	"io"
	"strconv"
	"strings"
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
		if httpd.HasLineBreak(b) {
			b = append(b[:0], httpd.EscapeLineBreaks(b)...)
		}
	} else {
		b = append(b, r.Head.Method()...)
	}
	x.isHead = string(b) == "HEAD"
	b = append(b, ' ')
	from := len(b)
	b = x.appendURI(b)
	if httpd.HasLineBreak(b[from:]) { // it would begin a request of the client's making
		b = append(b[:from], httpd.EscapeLineBreaks(b[from:])...)
	}
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
		if httpd.HasLineBreak(b[valueAt:]) {
			name := strings.TrimSuffix(string(f.name), ": ")
			x.r.Log(levelError, "line break in the field \""+name+"\" for the server, which is not sent", nil)
			return b[:start]
		}
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

// What of a request is still to be sent.
type stage uint8

const (
	sendHead stage = iota
	sendMemory
	sendRest // of a body in a file, or of a streamed one
	sendDone
)

// A sending is how far the request was sent in the present try.
type sending struct {
	stage stage
	left  []byte // of what the present stage has begun to send
	off   int64  // in the body's file
	buf   []byte // of a streamed body
	// duplex: the server answers already, and another goroutine reads the answer.
	duplex bool
}

// send sends what is left of the request. stop says that the server has something
// to say before it has everything.
func (x *exchange) send() (f failure, stop bool) {
	s, b := &x.out, x.body
	defer x.unwatch()
	for {
		if f, stop = x.push(); f != 0 || stop {
			return f, stop
		}
		switch s.stage {
		case sendHead:
			s.stage = sendMemory
			if b != nil {
				s.left = b.mem
			}
		case sendMemory:
			s.stage = sendRest
		case sendRest:
			switch {
			case b != nil && b.file != nil && s.off < b.length:
				f, stop = x.sendFile()
			case b != nil && b.streams && !b.ended:
				f, stop = x.stream()
			default:
				s.stage = sendDone
			}
			if f != 0 || stop {
				return f, stop
			}
		case sendDone:
			return 0, false
		}
	}
}

// sendTick is how long a write to a server may block before it is looked whether
// the server has answered already.
const sendTick = 100 * time.Millisecond

// push writes what is left of the present piece.
func (x *exchange) push() (f failure, stop bool) {
	s := &x.out
	idle := time.Duration(0)
	for len(s.left) > 0 {
		wait := min(sendTick, x.loc.sendTimeout-idle)
		n, err := x.conn.WriteSome(s.left, wait)
		x.now().Sent += int64(n)
		if s.left = s.left[n:]; n > 0 {
			idle = 0
		}
		if f, stop = x.pushed(err, &idle, wait); f != 0 || stop {
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
	case !errors.Is(err, httpd.ErrTimeout):
		x.unwatch() // who reads now
		if !x.out.duplex && x.conn.Ready() && x.conn.Fill(x.loc.readTimeout) == nil {
			return 0, true // it answered and closed its ear
		}
		return x.sendFailed(err), false
	case !x.out.duplex && x.conn.Ready():
		return 0, true
	}
	if *idle += waited; *idle >= x.loc.sendTimeout {
		return x.sendFailed(err), false
	}
	if !x.out.duplex && x.gone() {
		return x.readFailed(errGone), false
	}
	return 0, false
}

// sendFile sends the next part of a body that lies in a file.
func (x *exchange) sendFile() (f failure, stop bool) {
	s, b := &x.out, x.body
	idle := time.Duration(0)
	for s.off < b.length {
		wait := min(sendTick, x.loc.sendTimeout-idle)
		n, err := x.sendPart(wait)
		s.off += int64(n)
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

func (x *exchange) sendPart(wait time.Duration) (n int, err error) {
	rc, err := x.body.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	size := int(min(x.body.length-x.out.off, maxSendFile))
	cerr := rc.Control(func(fd uintptr) { n, err = x.conn.SendFile(int(fd), x.out.off, size, wait) })
	return n, errors.Join(err, cerr)
}

const maxSendFile = 1 << 20

// stream reads the next piece of the client's body, to be pushed.
func (x *exchange) stream() (f failure, stop bool) {
	s, b := &x.out, x.body
	if s.buf == nil {
		s.buf = make([]byte, copyBytes)
	}
	if !s.duplex && x.conn.Ready() {
		return 0, true
	}
	if !s.duplex {
		if err := x.r.Body().Invite(); err != nil {
			return x.bodyFailed(err), false
		}
		x.watch()
	}
	const room = 10 // for a chunk's size line before what is read
	const last = "0\r\n\r\n"
	n, err := x.r.Body().Read(s.buf[room : len(s.buf)-2-len(last)])
	switch {
	case err == httpd.ErrInterrupted:
		return 0, true // by watch, or by joinSender
	case err != nil && err != io.EOF:
		return x.bodyFailed(err), false
	}
	b.ended = err == io.EOF
	s.left = s.buf[room : room+n]
	if b.length < 0 {
		if n > 0 {
			s.left = frameChunk(s.buf, room, n)
		}
		if b.ended {
			s.left = append(s.left, last...)
		}
	}
	return 0, false
}

// watch interrupts what waits for more of the client's body as soon as the server has
// something to say: a client that sends slowly would get an early answer late. It is
// for a body that is streamed, once for each sending; unwatch must follow.
func (x *exchange) watch() {
	if x.watching != nil {
		return
	}
	done := make(chan struct{})
	x.watching = done
	server, client := x.conn.Socket, x.client
	go func() { // ends with unwatch
		defer close(done)
		if server.WaitInput(0) != httpd.ErrInterrupted {
			client.Interrupt()
		}
	}()
}

// unwatch undoes watch, if there was one.
func (x *exchange) unwatch() {
	if x.watching == nil || x.out.duplex {
		return
	}
	x.conn.Interrupt()
	<-x.watching
	x.watching = nil
	x.conn.Resume()
	x.client.Resume()
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

// sendOn goes on sending the request while its answer is passed on: a server may
// answer as it reads. joinSender must follow.
func (x *exchange) sendOn() {
	x.out.duplex = true
	x.r.Body().ReadApart()
	x.sender = make(chan failure, 1)
	go func() { // ends with joinSender
		f := failError
		_ = x.r.Guarded(func() error {
			f, _ = x.send()
			return nil
		})
		x.sender <- f
	}()
}

// senderEnded reports whether nothing more is being sent, and is joinSender then.
func (x *exchange) senderEnded() bool {
	select {
	case f := <-x.sender:
		x.whole, x.sender = f == 0, nil
		x.r.Body().Join()
		return true
	default:
		return x.sender == nil
	}
}

// joinSender ends what sendOn began: the answer is complete, or nobody wants the
// rest of it.
func (x *exchange) joinSender() {
	if x.sender == nil {
		return
	}
	select {
	case f := <-x.sender:
		x.whole = f == 0
	default:
		x.conn.Interrupt()
		x.client.Interrupt()
		<-x.sender
		x.client.Resume()
		x.r.CloseAfter() // nobody reads the rest of the body
	}
	x.sender = nil
	x.r.Body().Join()
}
