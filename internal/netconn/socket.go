package netconn

import (
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/rawcall"
	"golang.org/x/sys/unix"
)

// A Socket is a stream socket with what was read from it and not yet consumed. It
// is non-blocking and on the runtime's poller; a wait holds no buffer. One
// goroutine may read while another writes; Interrupt and Close may be called from
// any.
type Socket struct {
	c  *Conn
	in *Input
}

// NewSocket takes over the non-blocking descriptor fd, also when it fails.
func NewSocket(fd int, name string) (*Socket, error) {
	t, err := New(fd, name)
	if err != nil {
		return nil, err
	}
	return &Socket{c: t, in: new(Input)}, nil
}

// SocketOf is a Socket that shares a connection and its input buffer with whoever owns them.
func SocketOf(t *Conn, in *Input) Socket { return Socket{c: t, in: in} }

// Conn is the connection under the socket.
func (s *Socket) Conn() *Conn { return s.c }

// CanMove reports whether what is known of the connection in this process is enough
// for another one to go on.
func (s *Socket) CanMove() bool { return s.c.CanMove() }

// ReadLeft is [Conn.ReadLeft].
func (s *Socket) ReadLeft() time.Duration { return s.c.ReadLeft() }

// FillWith makes p, which is copied, what was read; nothing may be buffered.
func (s *Socket) FillWith(p []byte) { s.in.FillWith(p) }

// Pause waits for d; it ends early, with an error, when the socket is closed or with
// [ErrInterrupted].
func (s *Socket) Pause(d time.Duration) error { return s.c.Pause(d) }

// SetLayer makes l read and write in the place of the socket from here on. Nothing
// may be buffered.
func (s *Socket) SetLayer(l Layer) { s.c.Layer = l }

// SetBuffer sets how large a first input buffer is, and how large it may grow.
func (s *Socket) SetBuffer(first, largest int) { s.c.First, s.c.Limit = first, largest }

// Fill waits for input and reads once into the buffer. It returns io.EOF at the
// end, io.ErrShortBuffer when the buffer is full, [ErrTimeout], [ErrInterrupted],
// or the socket's error. A timeout of zero waits for ever.
func (s *Socket) Fill(timeout time.Duration) error { return s.c.Fill(s.in, timeout) }

// Ask writes p and waits for the first of the answer, for at most timeout, and reads
// once into the buffer as Fill does. It does not look for input before the poller
// tells of some: right behind the question there is none. It returns how much of p
// was written; what is missing could not be written without waiting, or err says why.
// Once p is written whole, err is Fill's. Input that was there before Ask may be
// found by the next Fill only.
func (s *Socket) Ask(p []byte, timeout time.Duration) (int, error) {
	t := s.c
	t.in, t.src, t.read.timeout = s.in, p, timeout
	err := t.wait(&t.read, t.Raw.Read, t.onAsk, t.file.SetReadDeadline)
	n := len(p) - len(t.src)
	t.src = nil
	return n, err
}

// FillNow is Fill that returns [ErrWouldBlock] in place of waiting.
func (s *Socket) FillNow() error {
	s.c.in = s.in
	return s.c.wait(&s.c.read, s.c.Raw.Read, s.c.onFillNow, s.c.file.SetReadDeadline)
}

// Ready reports whether Fill would return at once, with input, the end or an
// error.
func (s *Socket) Ready() bool {
	if s.c.Layer != nil {
		return s.c.peek() != unix.EAGAIN
	}
	return s.poll(unix.POLLIN) != 0
}

// WaitInput waits until Ready, without reading.
func (s *Socket) WaitInput(timeout time.Duration) error {
	t := s.c
	t.read.timeout = timeout
	return t.wait(&t.read, t.Raw.Read, func(fd uintptr) bool {
		if !t.readable(fd) {
			t.read.arm(t, t.file.SetReadDeadline)
			return false
		}
		return true
	}, t.file.SetReadDeadline)
}

// Buffered is what was read and not consumed. It is valid until the next Fill or
// Consume.
func (s *Socket) Buffered() []byte { return s.in.Data() }

// Consume drops the first n bytes of Buffered.
func (s *Socket) Consume(n int) { s.in.Consume(n) }

// Release gives the buffer back when nothing is in it.
func (s *Socket) Release() { s.in.Release() }

// Write writes a and then b whole. timeout bounds the time between two writes
// that got something out.
func (s *Socket) Write(a, b []byte, timeout time.Duration) error { return s.c.WriteAll(a, b, timeout) }

// WriteSome is Write of one slice that also tells how much was written before an
// error.
func (s *Socket) WriteSome(p []byte, timeout time.Duration) (int, error) {
	total := len(p)
	t := s.c
	t.src, t.src2, t.write.timeout = p, nil, timeout
	var err error
	for err == nil && len(t.src) > 0 {
		err = t.wait(&t.write, t.Raw.Write, t.onWrite, t.file.SetWriteDeadline)
	}
	n := total - len(t.src)
	t.src = nil
	return n, err
}

// SendFile sends at most n bytes of the open file fd from off on and returns how
// many went.
func (s *Socket) SendFile(fd int, off int64, n int, timeout time.Duration) (int, error) {
	return s.c.SendFile(fd, off, n, timeout)
}

// WaitConnected waits until a connect(2) that was begun has come to an end, and
// returns its error.
func (s *Socket) WaitConnected(timeout time.Duration) error {
	t := s.c
	t.write.timeout = timeout
	return t.wait(&t.write, t.Raw.Write, func(fd uintptr) bool {
		// Not the poller's word: an event may be left over from before connect(2).
		if Poll(int(fd), unix.POLLOUT) == 0 {
			t.write.arm(t, t.file.SetWriteDeadline)
			return false
		}
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			t.write.err = err
		case errno != 0:
			t.write.err = unix.Errno(errno)
		}
		return true
	}, t.file.SetWriteDeadline)
}

// HungUp reports whether the peer closed at least its sending side, or the socket
// is closed here.
func (s *Socket) HungUp() bool {
	if s.c.Layer != nil {
		return s.c.hungUp()
	}
	return s.poll(unix.POLLRDHUP)&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// Closed reports whether Close was called.
func (s *Socket) Closed() bool { return s.c.Raw.Control(func(uintptr) {}) != nil }

// Idle reports whether the socket is open and has nothing to be read: a kept
// connection that can be used again.
func (s *Socket) Idle() bool {
	quiet := false
	if s.c.Layer != nil {
		return s.in.Empty() && s.c.peek() == unix.EAGAIN
	}
	_ = s.c.Raw.Control(func(fd uintptr) { quiet = rawcall.WouldBlock(int(fd)) })
	return quiet && s.in.Empty()
}

func (s *Socket) poll(events int16) int16 {
	q := polls.Get().(*pollQuestion)
	q.fds[0].Events, q.fds[0].Revents = events, unix.POLLNVAL
	_ = s.c.Raw.Control(q.ask)
	got := q.fds[0].Revents
	polls.Put(q)
	return got
}

// A pollQuestion is what poll(2) is asked, kept because it is asked for each
// request on a kept connection.
type pollQuestion struct {
	fds [1]unix.PollFd
	ask func(fd uintptr)
}

var polls = sync.Pool{New: func() any {
	q := new(pollQuestion)
	q.ask = func(fd uintptr) {
		q.fds[0].Fd = int32(fd)
		pollNow(q.fds[:])
	}
	return q
}}

// Poll asks with poll(2) for events of fd, such as unix.POLLIN, without waiting, and
// returns those that are there.
func Poll(fd int, events int16) int16 {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	pollNow(fds[:])
	return fds[0].Revents
}

func pollNow(fds []unix.PollFd) {
	for {
		if _, err := unix.Poll(fds, 0); err != unix.EINTR {
			return
		}
	}
}

// Control calls f with the descriptor, which f must not keep or close.
func (s *Socket) Control(f func(fd uintptr)) error { return s.c.Raw.Control(f) }

// Interrupt ends the waits under way, and those that begin until Resume, with
// [ErrInterrupted]. Nothing that was read or written is lost by it.
func (s *Socket) Interrupt() { s.c.Interrupt() }

// Resume undoes Interrupt. Nobody may be waiting.
func (s *Socket) Resume() { s.c.Resume() }

// EndWrite tells the peer that no more bytes follow, by the goroutine that writes. What the
// peer sends can be read all the same. timeout bounds how long that waits for room.
func (s *Socket) EndWrite(timeout time.Duration) error {
	t := s.c
	if t.Layer == nil {
		t.ShutdownWrite()
		return nil
	}
	l, ok := t.Layer.(writeEnder)
	if !ok {
		return nil // there is no telling
	}
	l.EndWrite()
	if err := t.WriteNothing(timeout, false); err != nil {
		return err
	}
	return t.Raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
}

// CloseWrite is EndWrite of a socket that is about to be closed: it does not wait, and
// what comes from then on is of no interest.
func (s *Socket) CloseWrite() { s.c.ShutdownWrite() }

// Close closes the descriptor; what waits for it fails.
func (s *Socket) Close() error { return s.c.Close() }

// Drop is Close by the goroutine that reads, which gives the buffer back too.
func (s *Socket) Drop() {
	s.in.Consume(len(s.in.Data()))
	s.in.Release()
	_ = s.c.Close()
}
