package netconn

import (
	"io"
	"os"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/rawcall"
	"golang.org/x/sys/unix"
)

// A Layer stands between a connection and its socket: what is read and written is
// not what the socket carries (TLS), or there is no socket (a stream of HTTP/2).
//
// It does what the system calls do that it stands for, on the descriptor fd where
// there is one, and like them it never waits: waiting, time-outs and interruptions
// stay the connection's, which calls again. Recv and Peek are called by the goroutine
// that reads, Send by the one that writes, the others by either of them, HungUp by
// any.
type Layer interface {
	// Recv reads at least one byte into p, which is not empty. It returns unix.EAGAIN
	// when it must wait for fd to become readable, io.EOF at the end, or what is
	// wrong, and 0 with every error.
	Recv(fd int, p []byte) (int, error)
	// Send writes some of a and then b, not both of which are empty, and returns how
	// much of them. What it has not counted must be passed again, before anything else
	// is: it may have been taken already. It may return 0 and no error, when it got on
	// without being able to count anything; it returns unix.EAGAIN when it must wait
	// for fd to become writable.
	Send(fd int, a, b []byte) (int, error)
	// Peek returns nil when Recv would give bytes, and else the error it would return.
	Peek(fd int) error
	// HungUp reports whether the peer closed at least its sending side.
	HungUp(fd int) bool
	// CloseWrite tells the peer that nothing follows, without waiting. What Recv gives
	// from then on is of interest to nobody.
	CloseWrite(fd int)
	// CanMove reports whether another process could go on with what is in the layer.
	CanMove() bool
}

// A writeEnder is a [Layer] that can tell its peer that nothing follows, and goes on to
// read what the peer sends. EndWrite makes that the next thing to be written.
type writeEnder interface{ EndWrite() }

// An Endpoint is what a [Conn] waits on: a socket on the runtime's poller, which
// is an *os.File with its syscall.RawConn, or what behaves like that. Read calls its
// argument until it returns true, and waits for input between two calls; when the
// deadline has passed it returns an error that is os.ErrDeadlineExceeded. Write
// likewise; Control calls it once, with the descriptor of the socket that is behind
// it all, or returns an error when the endpoint is closed.
type Endpoint interface {
	syscall.RawConn
	deadlines
	Close() error
}

type deadlines interface {
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// closer is the part of an [Endpoint] that an *os.File has itself.
type closer interface {
	deadlines
	Close() error
}

// NewOn makes a connection of an endpoint that is no socket: l is what reads
// and writes there.
func NewOn(e Endpoint, l Layer) *Conn {
	t := &Conn{file: e, Raw: e, Layer: l}
	t.init()
	return t
}

// recv is recv(2) on what the connection reads from.
func (t *Conn) recv(fd uintptr, p []byte) (int, error) {
	if t.Layer != nil {
		return t.Layer.Recv(int(fd), p)
	}
	return rawcall.Recv(int(fd), p)
}

// send is send(2) on what the connection writes to.
func (t *Conn) send(fd uintptr, p []byte) (int, error) {
	if t.Layer != nil {
		return t.Layer.Send(int(fd), p, nil)
	}
	return rawcall.Send(int(fd), p, 0)
}

// peek says what recv would come to.
func (t *Conn) peek() error {
	err := error(unix.EBADF)
	_ = t.Raw.Control(func(fd uintptr) { err = t.Layer.Peek(int(fd)) })
	return err
}

// readable reports whether recv would not have to wait.
func (t *Conn) readable(fd uintptr) bool {
	if t.Layer != nil {
		return t.Layer.Peek(int(fd)) != unix.EAGAIN
	}
	return Poll(int(fd), unix.POLLIN) != 0
}

// hungUp reports whether the peer closed at least its sending side, or the
// connection is closed here.
func (t *Conn) hungUp() bool {
	gone := true
	_ = t.Raw.Control(func(fd uintptr) { gone = t.Layer.HungUp(int(fd)) })
	return gone
}

// CanMove reports whether what is known of the connection in this process is enough
// for another one to go on.
func (t *Conn) CanMove() bool { return t.Layer == nil || t.Layer.CanMove() }

// trySendThrough is trySendfile for a layer, which wants to see the bytes.
func (t *Conn) trySendThrough(fd uintptr) bool {
	buf := bufpool.Get(min(t.sendN, bufpool.Large))
	defer bufpool.Put(buf)
	n, err := unix.Pread(t.sendFD, buf[:min(t.sendN, len(buf))], t.sendOff)
	switch {
	case err == unix.EINTR:
		return t.trySendThrough(fd)
	case err != nil:
		t.write.err = err
		return true
	case n == 0:
		if t.sendN > 0 {
			t.write.err = io.ErrUnexpectedEOF
		}
		return true
	}
	n, err = t.Layer.Send(int(fd), buf[:n], nil)
	if err == unix.EAGAIN {
		t.write.arm(t, t.file.SetWriteDeadline)
		return false
	}
	t.write.err = err
	t.write.n = n
	t.Sent += int64(n)
	return true
}

// sysError is an error of the system call that stands for op; that of a layer says
// itself what it is about.
func (t *Conn) sysError(op string, err error) error {
	if t.Layer != nil {
		return err
	}
	return os.NewSyscallError(op, err)
}
