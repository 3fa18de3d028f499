// Package netconn is a stream connection whose waits hold no thread and no buffer:
// reads into a buffer that is lent, writes of two slices and of files, time-outs, and
// interruptions that lose nothing. A [Layer] may stand between a connection and its socket.
//
// It knows bytes, descriptors and addresses. What a connection speaks, who serves it and
// that it may move to another process are for those above.
package netconn

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/rawcall"
	"golang.org/x/sys/unix"
)

// A Conn is a non-blocking socket on the runtime's poller, read and written
// through its raw descriptor: the first attempt costs one system call and no
// deadline, and only an attempt that would block arms one.
//
// One goroutine reads and one writes, which may be the same; [Conn.Close] and
// [Conn.Interrupt] may be called from any. A field that is exported is set and read by
// the goroutine that its direction belongs to, between two calls.
type Conn struct {
	file  closer
	Raw   syscall.RawConn // of the same socket; Control lends its descriptor
	Layer Layer           // nil: the socket itself is read and written

	read  direction
	write direction

	stopped atomic.Bool // by Interrupt

	// What the raw callbacks work on. The callbacks themselves are made once for
	// each connection: a closure for each call would be garbage.
	in      *Input
	First   int // size in bytes of a first input buffer
	Limit   int // and of the largest
	dst     []byte
	src     []byte
	src2    []byte
	More    bool // what is written now is the head of a file that follows
	sendFD  int
	sendOff int64
	sendN   int
	Sent    int64 // bytes written so far, those of files too
	Delays  bool  // TCP_NODELAY is not set yet
	atOnce  bool  // what is written now must not wait

	onFill, onFillNow, onAsk, onRead, onWrite, onSendfile func(fd uintptr) bool
}

// A direction is the deadline of one direction.
type direction struct {
	timeout time.Duration
	// want is when the present wait ends; set is what the poller was last told.
	// The poller may fire early, never late by more than lateness or half the time-out:
	// moving its timer for each request would cost more than the request's parsing.
	want, set time.Time
	armed     bool
	clock     time.Time // what the time is, for the next wait; zero: not known

	// What the present wait came to.
	n   int
	err error
}

const (
	lateness = 100 * time.Millisecond
	earliest = 5 * time.Second
)

// longAgo as a deadline ends a wait at once.
var longAgo = time.Unix(1, 0)

// ErrInterrupted is returned by a read or write that waited when it was told to
// stop, with nothing lost.
var ErrInterrupted = errors.New("interrupted")

// ErrWouldBlock is returned where there is nothing to be had without waiting.
var ErrWouldBlock = errors.New("would block")

// ErrTimeout is returned by a read or write that waited for its time-out.
var ErrTimeout = errors.New("timed out")

// New makes a connection of the non-blocking socket fd, which it owns from then on, also
// when it fails. name is what errors call it.
func New(fd int, name string) (*Conn, error) {
	f := os.NewFile(uintptr(fd), name)
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	t := &Conn{file: f, Raw: raw}
	t.init()
	return t, nil
}

func (t *Conn) init() {
	t.First, t.Limit = bufpool.Small, bufpool.Large
	t.onFill, t.onFillNow, t.onAsk = t.tryFill, t.tryFillNow, t.tryAsk
	t.onRead, t.onWrite, t.onSendfile = t.tryRead, t.tryWrite, t.trySendfile
}

// Fill reads once into in, at least one byte. It waits for at most timeout;
// zero means for ever. While it waits with in empty it holds no buffer.
func (t *Conn) Fill(in *Input, timeout time.Duration) error {
	t.in = in
	t.read.timeout = timeout
	return t.wait(&t.read, t.Raw.Read, t.onFill, t.file.SetReadDeadline)
}

// ReadInto reads once into p, at least one byte, and returns how many. It waits for at
// most timeout; zero means for ever.
func (t *Conn) ReadInto(p []byte, timeout time.Duration) (int, error) {
	t.dst = p
	t.read.timeout = timeout
	err := t.wait(&t.read, t.Raw.Read, t.onRead, t.file.SetReadDeadline)
	t.dst = nil
	return t.read.n, err
}

// WriteAll writes a and then b whole. timeout bounds the time between two
// successful writes, not the whole.
func (t *Conn) WriteAll(a, b []byte, timeout time.Duration) error {
	t.src, t.src2 = a, b
	t.write.timeout = timeout
	var err error
	for err == nil && len(t.src)+len(t.src2) > 0 {
		err = t.wait(&t.write, t.Raw.Write, t.onWrite, t.file.SetWriteDeadline)
	}
	t.src, t.src2 = nil, nil
	return err
}

// WriteNow writes of a and then b what goes without waiting, and returns how much.
func (t *Conn) WriteNow(a, b []byte) (int, error) {
	t.src, t.src2, t.atOnce = a, b, true
	var err error
	for err == nil && len(t.src)+len(t.src2) > 0 {
		err = t.wait(&t.write, t.Raw.Write, t.onWrite, t.file.SetWriteDeadline)
	}
	n := len(a) + len(b) - len(t.src) - len(t.src2)
	t.src, t.src2, t.atOnce = nil, nil, false
	if err == ErrWouldBlock {
		err = nil
	}
	return n, err
}

// WriteNothing lets a layer write what it has to write besides content. With atOnce it
// does not wait, and returns [ErrWouldBlock] when there is no room.
func (t *Conn) WriteNothing(timeout time.Duration, atOnce bool) error {
	t.write.timeout, t.atOnce = timeout, atOnce
	err := t.wait(&t.write, t.Raw.Write, t.onWrite, t.file.SetWriteDeadline)
	t.atOnce = false
	return err
}

// SendFile sends at most n bytes of the open file fd from off on, and returns how
// many went; io.ErrUnexpectedEOF when the file has become shorter.
func (t *Conn) SendFile(fd int, off int64, n int, timeout time.Duration) (int, error) {
	t.sendFD, t.sendOff, t.sendN = fd, off, n
	t.write.timeout = timeout
	err := t.wait(&t.write, t.Raw.Write, t.onSendfile, t.file.SetWriteDeadline)
	return t.write.n, err
}

// wait runs one raw operation until it is done or its time is over.
func (t *Conn) wait(s *direction, op func(func(uintptr) bool) error, try func(uintptr) bool, set func(time.Time) error) error {
	s.armed = false
	for {
		s.n, s.err = 0, nil
		err := op(try)
		if err == nil {
			return s.err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if t.stopped.Load() {
			return ErrInterrupted
		}
		// The poller's timer may be one of an earlier wait.
		now := time.Now()
		switch {
		case s.armed && s.timeout > 0 && !now.Before(s.want):
			return ErrTimeout
		case !s.armed:
			s.set = time.Time{}
			if err := set(time.Time{}); err != nil {
				return err
			}
		default:
			s.set = s.want
			if err := set(s.want); err != nil {
				return err
			}
		}
		t.keepStopped(set)
	}
}

// arm sets the deadline of a wait that is about to begin.
func (s *direction) arm(t *Conn, set func(time.Time) error) {
	if s.armed {
		return
	}
	s.armed = true
	defer t.keepStopped(set)
	if s.timeout <= 0 {
		if !s.set.IsZero() {
			s.set = time.Time{}
			_ = set(s.set)
		}
		return
	}
	now := s.clock
	if s.clock = (time.Time{}); now.IsZero() {
		now = time.Now()
	}
	s.want = now.Add(s.timeout)
	if ahead := s.want.Sub(s.set); !s.set.IsZero() && ahead > -min(lateness, s.timeout/2) && ahead < min(earliest, s.timeout/2) {
		return
	}
	s.set = s.want
	_ = set(s.want)
}

// Interrupt ends the waits under way, and those that begin until [Conn.Resume], with
// [ErrInterrupted]. Nothing that was read or written is lost by it.
func (t *Conn) Interrupt() {
	t.stopped.Store(true)
	_ = t.file.SetDeadline(longAgo)
}

// Resume undoes [Conn.Interrupt]. Nobody may be waiting.
func (t *Conn) Resume() {
	t.stopped.Store(false)
	t.read.set, t.write.set = time.Time{}, time.Time{}
	_ = t.file.SetDeadline(time.Time{})
}

// keepStopped repeats what Interrupt did when a wait has just overwritten it.
func (t *Conn) keepStopped(set func(time.Time) error) {
	if t.stopped.Load() {
		_ = set(longAgo)
	}
}

func (t *Conn) tryFill(fd uintptr) bool {
	in := t.in
	if !in.room(t.First, t.Limit) {
		t.read.err = io.ErrShortBuffer
		return true
	}
	n, err := t.recv(fd, in.b[in.w:])
	if err == unix.EAGAIN {
		in.Release()
		t.read.arm(t, t.file.SetReadDeadline)
		return false
	}
	switch {
	case err != nil:
		t.read.err = t.sysError("recv", err)
	case n == 0:
		t.read.err = io.EOF
	default:
		in.w += n
	}
	return true
}

// tryAsk writes t.src the first time and is tryFill from then on. The write happens
// after the poller has forgotten what it knew of the socket, so it cannot miss the
// answer.
func (t *Conn) tryAsk(fd uintptr) bool {
	if len(t.src) == 0 {
		return t.tryFill(fd)
	}
	n, err := t.send(fd, t.src)
	switch {
	case err == unix.EAGAIN:
		return true
	case err != nil:
		t.read.err = t.sysError("send", err)
		return true
	}
	t.Sent += int64(n)
	if t.src = t.src[n:]; len(t.src) > 0 {
		return true
	}
	t.read.arm(t, t.file.SetReadDeadline)
	return false
}

// tryFillNow is tryFill that does not wait.
func (t *Conn) tryFillNow(fd uintptr) bool {
	in := t.in
	if !in.room(t.First, t.Limit) {
		t.read.err = io.ErrShortBuffer
		return true
	}
	n, err := t.recv(fd, in.b[in.w:])
	switch {
	case err == unix.EAGAIN:
		t.read.err = ErrWouldBlock
	case err != nil:
		t.read.err = t.sysError("recv", err)
	case n == 0:
		t.read.err = io.EOF
	default:
		in.w += n
	}
	return true
}

func (t *Conn) tryRead(fd uintptr) bool {
	n, err := t.recv(fd, t.dst)
	if err == unix.EAGAIN {
		t.read.arm(t, t.file.SetReadDeadline)
		return false
	}
	switch {
	case err != nil:
		t.read.err = t.sysError("recv", err)
	case n == 0:
		t.read.err = io.EOF
	}
	t.read.n = max(n, 0)
	return true
}

func (t *Conn) tryWrite(fd uintptr) bool {
	if t.Sent > 0 {
		t.Hurry(fd)
	}
	var n int
	var err error
	switch {
	case t.Layer != nil:
		n, err = t.Layer.Send(int(fd), t.src, t.src2)
	case len(t.src2) == 0:
		n, err = t.sendHead(int(fd))
	case len(t.src) == 0:
		n, err = rawcall.Send(int(fd), t.src2, 0)
	default:
		n, err = rawcall.Send2(int(fd), t.src, t.src2)
	}
	if err == unix.EAGAIN && t.atOnce {
		t.write.err = ErrWouldBlock
		return true
	}
	if err == unix.EAGAIN {
		t.write.arm(t, t.file.SetWriteDeadline)
		return false
	}
	if err != nil {
		t.write.err = t.sysError("send", err)
		return true
	}
	t.write.n = n
	t.Sent += int64(n)
	k := min(n, len(t.src))
	t.src, t.src2 = t.src[k:], t.src2[n-k:]
	return true
}

// Hurry makes the kernel send what is not a full packet although something before it
// was not acknowledged. The first write of a connection has nothing before it, and a
// connection that is closed after one response needs no more.
func (t *Conn) Hurry(fd uintptr) {
	if t.Delays {
		t.Delays = false
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
}

func (t *Conn) trySendfile(fd uintptr) bool {
	t.Hurry(fd)
	if t.Layer != nil {
		return t.trySendThrough(fd)
	}
	var n int
	var err error
	for {
		off := t.sendOff
		n, err = unix.Sendfile(int(fd), t.sendFD, &off, t.sendN)
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.EAGAIN {
		t.write.arm(t, t.file.SetWriteDeadline)
		return false
	}
	switch {
	case err != nil:
		t.write.err = os.NewSyscallError("sendfile", err)
	case n == 0 && t.sendN > 0:
		t.write.err = io.ErrUnexpectedEOF
	}
	t.write.n = max(n, 0)
	t.Sent += int64(t.write.n)
	return true
}

// sendHead writes t.src; with more set the kernel waits for what follows instead
// of sending a packet that is not full.
func (t *Conn) sendHead(fd int) (int, error) {
	flags := uintptr(0)
	if t.More {
		flags = unix.MSG_MORE
	}
	return rawcall.Send(fd, t.src, flags)
}

// Pending reports whether input waits, without waiting for any.
func (t *Conn) Pending() bool {
	if t.Layer != nil {
		return t.peek() == nil
	}
	var n int
	_ = t.Raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n > 0
}

// ShutdownWrite tells the peer that no more bytes follow. Only for a connection
// that is about to be closed: it acts on the socket, not on the descriptor.
func (t *Conn) ShutdownWrite() {
	_ = t.Raw.Control(func(fd uintptr) {
		if t.Layer != nil {
			t.Layer.CloseWrite(int(fd))
			return
		}
		_ = unix.Shutdown(int(fd), unix.SHUT_WR)
	})
}

// Close closes the descriptor. It may be called from any goroutine; a read or
// write under way then fails.
func (t *Conn) Close() error { return t.file.Close() }
