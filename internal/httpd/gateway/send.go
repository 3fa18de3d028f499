package gateway

import (
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/baton-deploy/baton/internal/netconn"
)

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
	stage   stage
	left    []byte   // of what the present stage has begun to send
	off     int64    // in the body's file
	inFrame int      // bytes of it
	frame   int64    // where in the body's file the present record ends
	framed  bool     // the end of a body in records was sent
	head    [16]byte // of a record
	buf     []byte   // of a streamed body
	// duplex: the server answers already, and another goroutine reads the answer.
	duplex bool
}

// send sends what is left of the request. stop says that the server has something
// to say before it has everything.
func (x *Exchange) send() (f Failure, stop bool) {
	s, b := &x.out, x.Body
	defer x.unwatch()
	for {
		if f, stop = x.push(); f != 0 || stop {
			return f, stop
		}
		switch s.stage {
		case sendHead:
			s.stage = sendMemory
			if b != nil && !x.Composed {
				s.left = b.mem
			}
		case sendMemory:
			s.stage = sendRest
		case sendRest:
			switch {
			case b != nil && b.file != nil && s.off < b.Length:
				f, stop = x.sendFile()
			case b != nil && b.file != nil && x.Records != nil && !s.framed:
				s.framed, s.left = true, x.Records.Frame(x.Records.Behind(s.head[:0], s.inFrame), 0)
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
func (x *Exchange) push() (f Failure, stop bool) {
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
func (x *Exchange) pushed(err error, idle *time.Duration, waited time.Duration) (f Failure, stop bool) {
	switch {
	case err == nil:
		return 0, false
	case !errors.Is(err, netconn.ErrTimeout):
		x.unwatch() // who reads now
		if !x.out.duplex && x.ready() && x.conn.Fill(x.loc.readTimeout) == nil {
			return 0, true // it answered and closed its ear
		}
		return x.sendFailed(err), false
	case !x.out.duplex && x.ready():
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
func (x *Exchange) sendFile() (f Failure, stop bool) {
	s, b := &x.out, x.Body
	end := b.Length
	if x.Records != nil {
		if s.off == s.frame {
			n := int(min(MaxFrame, b.Length-s.off))
			s.left = x.Records.Frame(x.Records.Behind(s.head[:0], s.inFrame), n)
			s.frame, s.inFrame = s.off+int64(n), n
			return 0, false // and again, when that is sent
		}
		end = s.frame
	}
	idle := time.Duration(0)
	for s.off < end {
		wait := min(sendTick, x.loc.sendTimeout-idle)
		n, err := x.sendPart(end-s.off, wait)
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

func (x *Exchange) sendPart(left int64, wait time.Duration) (n int, err error) {
	rc, err := x.Body.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	size := int(min(left, maxSendFile))
	cerr := rc.Control(func(fd uintptr) { n, err = x.conn.SendFile(int(fd), x.out.off, size, wait) })
	return n, errors.Join(err, cerr)
}

const maxSendFile = 1 << 20

// stream reads the next piece of the client's body, to be pushed.
func (x *Exchange) stream() (f Failure, stop bool) {
	s, b := &x.out, x.Body
	if s.buf == nil {
		s.buf = make([]byte, copyBytes)
	}
	if !s.duplex && x.ready() {
		return 0, true
	}
	if !s.duplex {
		if err := x.R.Body().Invite(); err != nil {
			return x.bodyFailed(err), false
		}
		x.watch()
	}
	const room = 16   // for what goes before a chunk or into a record
	const behind = 16 // for what goes behind it
	const last = "0\r\n\r\n"
	n, err := x.R.Body().Read(s.buf[room : len(s.buf)-behind])
	switch {
	case err == netconn.ErrInterrupted:
		return 0, true // by watch, or by joinSender
	case err != nil && err != io.EOF:
		return x.bodyFailed(err), false
	}
	b.ended = err == io.EOF
	s.left = s.buf[room : room+n]
	switch {
	case x.Records != nil:
		s.left = x.frameRecord(s.buf, room, n, b.ended)
	case b.Length < 0:
		if n > 0 {
			s.left = frameChunk(s.buf, room, n)
		}
		if b.ended {
			s.left = append(s.left, last...)
		}
	}
	return 0, false
}

// frameRecord makes a record of the n bytes at buf[at:], and one that says that they
// are the last.
func (x *Exchange) frameRecord(buf []byte, at, n int, last bool) []byte {
	framed := buf[at:at]
	if n > 0 {
		head := x.Records.Frame(x.out.head[:0], n)
		framed = buf[at-len(head) : at+n]
		copy(framed, head)
		framed = x.Records.Behind(framed, n)
	}
	if last {
		framed = x.Records.Frame(framed, 0)
	}
	return framed
}

// watch interrupts what waits for more of the client's body as soon as the server has
// something to say: a client that sends slowly would get an early answer late. It is
// for a body that is streamed, once for each sending; unwatch must follow.
func (x *Exchange) watch() {
	if x.watching != nil {
		return
	}
	done := make(chan struct{})
	x.watching = done
	server, client := x.conn.Socket, x.client
	go func() { // ends with unwatch
		defer close(done)
		if server.WaitInput(0) != netconn.ErrInterrupted {
			client.Interrupt()
		}
	}()
}

// unwatch undoes watch, if there was one.
func (x *Exchange) unwatch() {
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
func (x *Exchange) sendOn() {
	x.out.duplex = true
	x.R.Body().ReadApart()
	x.sender = make(chan Failure, 1)
	go func() { // ends with joinSender
		f := FailError
		_ = x.R.Guarded(func() error {
			f, _ = x.send()
			return nil
		})
		x.sender <- f
	}()
}

// senderEnded reports whether nothing more is being sent, and is joinSender then.
func (x *Exchange) senderEnded() bool {
	select {
	case f := <-x.sender:
		x.whole, x.sender = f == 0, nil
		x.R.Body().Join()
		return true
	default:
		return x.sender == nil
	}
}

// joinSender ends what sendOn began: the answer is complete, or nobody wants the
// rest of it.
func (x *Exchange) joinSender() {
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
		x.R.CloseAfter() // nobody reads the rest of the body
	}
	x.sender = nil
	x.R.Body().Join()
}
