package httpd

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/netconn"
	"github.com/baton-deploy/baton/internal/rawcall"
	"golang.org/x/sys/unix"
)

// A tlsLayer is TLS between a connection and its socket, by crypto/tls. That works on
// a net.Conn whose reads and writes wait; here they never do, once the handshake is
// over: a read that would have to wait is an error that tls.Conn takes for a passing
// one, and what the socket has no room for is kept here.
type tlsLayer struct {
	t     *netconn.Conn
	conn  *tls.Conn
	owner *conn          // of a client's connection
	early *netconn.Input // what was read before the handshake; nil for nothing
	// record is how many bytes of plain text go into one record.
	record int

	// Of the handshake, which waits: when it must be over; zero when it is over. plain
	// is an alert that the peer has not encrypted.
	until time.Time
	plain tls.AlertError

	// Of the goroutine that reads.
	readFD int
	ahead  [1]byte // what Peek has read
	peeked bool
	ended  bool // CloseWrite was called: what comes is not looked at any more

	// Of the goroutine that writes.
	sealed []sealedRecord
	credit int // plain text whose records went out, and that was not counted yet

	// mu guards what follows: the goroutine that reads may have to answer. It is a
	// leaf; what happens while it is held does not wait.
	mu       sync.Mutex
	out      []byte // records that are to be written
	writeFD  int
	mute     bool  // nothing more may be said
	room     int   // how much is about to be written
	direct   bool  // what comes now may be written at once
	appended int64 // bytes of records so far
	flushed  int64 // and of these written
}

// A sealedRecord is how much plain text is in the records up to end.
type sealedRecord struct {
	plain int
	end   int64
}

const (
	// maxRecord is what a record may hold.
	maxRecord = 16 << 10
	// maxSealed bounds the plain text that is encrypted ahead of what the socket takes:
	// so much fits with its overhead into a pooled buffer, and into one system call.
	maxSealed = 48 << 10
)

// maxUnsent bounds what is kept for a socket that has no room: what is encrypted ahead,
// the flights of a handshake, and what must be said to a peer that goes on sending.
const maxUnsent = 256 << 10

var errUnsent = errors.New("peer does not read what it must be told")

// errAgain is a read that would have to wait, in words that tls.Conn takes for a
// passing failure.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "would block" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// newTLSLayer makes the layer for t. client or server is [tls.Client] or [tls.Server].
func newTLSLayer(t *netconn.Conn, config *tls.Config, side func(net.Conn, *tls.Config) *tls.Conn) *tlsLayer {
	l := &tlsLayer{t: t, record: maxRecord}
	l.conn = side(cipherConn{l}, config)
	return l
}

// never is longer than any connection lives.
const never = 365 * 24 * time.Hour

// handshake waits for the handshake and then puts the layer in its place. It cannot be
// interrupted. What it has to say last goes out with the first answer, or when the
// peer is waited for.
func (l *tlsLayer) handshake(timeout time.Duration) error {
	if timeout <= 0 {
		timeout = never
	}
	l.until = time.Now().Add(timeout)
	err := l.conn.Handshake()
	if err != nil {
		l.mu.Lock()
		_ = l.t.Raw.Control(func(fd uintptr) { _ = l.flushLocked(int(fd)) }) // the alert
		l.mu.Unlock()
		if l.plain != 0 {
			return &net.OpError{Op: "remote error", Err: l.plain}
		}
		return err
	}
	l.until = time.Time{}
	l.t.Sent = 0 // what is counted is plain text
	_ = l.t.Raw.Control(l.t.Hurry)
	l.t.Layer = l
	return nil
}

// cipherConn is what tls.Conn reads from and writes to.
type cipherConn struct{ l *tlsLayer }

func (c cipherConn) Read(p []byte) (int, error) {
	l := c.l
	if !l.until.IsZero() {
		return l.readWaiting(p)
	}
	n, err := rawcall.Recv(l.readFD, p)
	switch {
	case err == unix.EAGAIN:
		return 0, errAgain
	case err != nil:
		return 0, os.NewSyscallError("recv", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// readWaiting is Read during the handshake.
func (l *tlsLayer) readWaiting(p []byte) (int, error) {
	if l.early != nil {
		n := copy(p, l.early.Data())
		if l.early.Consume(n); l.early.Empty() {
			l.early.Release()
			l.early = nil
		}
		return n, nil
	}
	left := time.Until(l.until)
	if left <= 0 {
		return 0, netconn.ErrTimeout
	}
	l.mu.Lock()
	out := l.out
	l.out = nil
	l.flushed = l.appended
	l.mu.Unlock()
	if out != nil {
		err := l.t.WriteAll(out, nil, left)
		bufpool.Put(out)
		if err != nil {
			return 0, err
		}
	}
	n, err := l.t.ReadInto(p, left)
	l.notePlainAlert(p[:max(n, 0)])
	return n, err
}

// notePlainAlert looks for an alert at the end of what came. OpenSSL's clients do not
// encrypt what they have to say of a certificate by TLS 1.3, and crypto/tls takes it
// for a broken record.
func (l *tlsLayer) notePlainAlert(came []byte) {
	const head = "\x15\x03\x03\x00\x02\x02" // a record of two bytes, of which the first says that it is fatal
	if from := len(came) - len(head) - 1; from >= 0 && strings.HasPrefix(string(came[from:]), head) {
		l.plain = tls.AlertError(came[len(came)-1])
	}
}

// Write never waits and, but for a socket that is broken, never fails.
func (c cipherConn) Write(p []byte) (int, error) {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	whole := len(p)
	if l.mute {
		return whole, nil
	}
	l.appended += int64(whole)
	if l.direct && len(l.out) == 0 {
		n, err := rawcall.Send(l.writeFD, p, 0)
		switch {
		case err == unix.EAGAIN:
		case err != nil:
			return 0, os.NewSyscallError("send", err)
		default:
			l.flushed += int64(n)
			p = p[n:]
		}
	}
	if len(l.out)+len(p) > maxUnsent {
		return 0, errUnsent
	}
	if len(p) > 0 {
		if l.out == nil {
			l.out = bufpool.Get(max(len(p), l.room))[:0]
		}
		l.out = append(l.out, p...)
	}
	return whole, nil
}

// alertUnrecognizedName is an alert that crypto/tls has no way to send (RFC 6066,
// section 3).
const alertUnrecognizedName = 112

// alert ends a handshake that has just begun: the client hears this and not what
// crypto/tls makes of it.
func (l *tlsLayer) alert(code byte) {
	_, _ = cipherConn{l}.Write([]byte{21, 3, 3, 0, 2, 2, code}) // fails for a broken socket only
	l.mu.Lock()
	l.mute = true
	l.mu.Unlock()
}

func (c cipherConn) Close() error                     { return nil }
func (c cipherConn) LocalAddr() net.Addr              { return nil }
func (c cipherConn) RemoteAddr() net.Addr             { return nil }
func (c cipherConn) SetDeadline(time.Time) error      { return nil }
func (c cipherConn) SetReadDeadline(time.Time) error  { return nil }
func (c cipherConn) SetWriteDeadline(time.Time) error { return nil }

// flushLocked writes what is to be written. It returns unix.EAGAIN when something is
// left. l.mu must be held.
func (l *tlsLayer) flushLocked(fd int) error {
	if l.out == nil {
		return nil
	}
	for p := l.out; len(p) > 0; {
		n, err := rawcall.Send(fd, p, 0)
		if err != nil {
			l.out = l.out[:copy(l.out, p)]
			if err != unix.EAGAIN {
				err = os.NewSyscallError("send", err)
			}
			return err
		}
		l.flushed += int64(n)
		p = p[n:]
	}
	bufpool.Put(l.out)
	l.out = nil
	return nil
}

// flush is flushLocked, and counts the records that went out.
func (l *tlsLayer) flush(fd int) error {
	l.mu.Lock()
	err := l.flushLocked(fd)
	flushed := l.flushed
	l.mu.Unlock()
	done := 0
	for done < len(l.sealed) && l.sealed[done].end <= flushed {
		l.credit += l.sealed[done].plain
		done++
	}
	l.sealed = l.sealed[:copy(l.sealed, l.sealed[done:])]
	return err
}

// counted takes from the credit what the caller knows of.
func (l *tlsLayer) counted(limit int) int {
	n := min(l.credit, limit)
	l.credit -= n
	return n
}

// Send encrypts more only when all that was encrypted before is written.
func (l *tlsLayer) Send(fd int, a, b []byte) (int, error) {
	before := l.flushedSoFar()
	err := l.flush(fd)
	n := l.counted(len(a) + len(b))
	k := min(n, len(a))
	a, b = a[k:], b[n-k:]
	if err == nil && len(a)+len(b) > 0 {
		if err = l.seal(fd, a, b); err == nil {
			err = l.flush(fd)
			n += l.counted(len(a) + len(b))
		}
	}
	if err == unix.EAGAIN && l.flushedSoFar() > before {
		err = nil
	}
	return n, err
}

func (l *tlsLayer) flushedSoFar() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flushed
}

// seal encrypts some of a and b. One record goes out at once, several together.
func (l *tlsLayer) seal(fd int, a, b []byte) error {
	l.mu.Lock()
	if l.writeFD, l.direct = fd, len(a)+len(b) <= l.record; !l.direct {
		l.room = bufpool.Largest // for all of maxSealed
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.direct, l.room = false, 0
		l.mu.Unlock()
	}()
	for total := 0; len(a)+len(b) > 0 && total < maxSealed; {
		var plain, joined []byte
		switch {
		case len(a) >= l.record || len(b) == 0:
			plain = a[:min(len(a), l.record)]
			a = a[len(plain):]
		case len(a) == 0:
			plain = b[:min(len(b), l.record)]
			b = b[len(plain):]
		default: // a record of both
			joined = bufpool.Get(min(len(a)+len(b), l.record))
			n := copy(joined[:min(len(joined), l.record)], a)
			m := copy(joined[n:min(len(joined), l.record)], b)
			plain, a, b = joined[:n+m], nil, b[m:]
		}
		_, err := l.conn.Write(plain)
		l.sealed = append(l.sealed, sealedRecord{len(plain), l.appendedSoFar()})
		total += len(plain)
		if joined != nil {
			bufpool.Put(joined)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *tlsLayer) appendedSoFar() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appended
}

// Recv decrypts.
func (l *tlsLayer) Recv(fd int, p []byte) (int, error) {
	if l.ended {
		return l.drop(fd, p)
	}
	n := 0
	if l.peeked {
		p[0], l.peeked, n = l.ahead[0], false, 1
		if len(p) == 1 {
			return 1, nil
		}
	}
	m, err := l.decrypt(fd, p[n:])
	if n > 0 {
		return n + m, nil // what is wrong behind it will be so at the next call
	}
	return m, err
}

// drop reads what nobody is interested in.
func (l *tlsLayer) drop(fd int, p []byte) (int, error) {
	n, err := rawcall.Recv(fd, p)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

// decrypt reads plain text. What there is to be said, and does not wait for an
// answer of ours, is said when nothing else comes.
func (l *tlsLayer) decrypt(fd int, p []byte) (int, error) {
	l.readFD = fd
	n, err := l.conn.Read(p)
	if n > 0 {
		return n, nil
	}
	l.mu.Lock()
	_ = l.flushLocked(fd) // the goroutine that writes sees what is wrong
	l.mu.Unlock()
	switch {
	case err == error(errAgain):
		return 0, unix.EAGAIN
	case err == io.ErrUnexpectedEOF:
		return 0, io.EOF // as nginx: no close_notify, and be it inside a record
	}
	return 0, err
}

// Peek decrypts one byte, which the next Recv gives.
func (l *tlsLayer) Peek(fd int) error {
	if l.peeked {
		return nil
	}
	if l.ended {
		if rawcall.WouldBlock(fd) {
			return unix.EAGAIN
		}
		return nil
	}
	if _, err := l.decrypt(fd, l.ahead[:]); err != nil {
		return err
	}
	l.peeked = true
	return nil
}

// HungUp looks at the socket, as nginx does.
func (l *tlsLayer) HungUp(fd int) bool {
	return netconn.Poll(fd, unix.POLLRDHUP)&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// CloseWrite says close_notify, and that the socket ends with it.
func (l *tlsLayer) CloseWrite(fd int) {
	if !l.ended && l.farewell(fd) {
		_ = unix.Shutdown(fd, unix.SHUT_WR)
	}
}

// EndWrite makes a close_notify what is to be written next. The peer is still listened to.
func (l *tlsLayer) EndWrite() { _ = l.conn.CloseWrite() }

// farewell says close_notify. It reports false when that is still unsent.
func (l *tlsLayer) farewell(fd int) (sent bool) {
	if l.ended {
		return true
	}
	_ = l.conn.CloseWrite()
	l.mu.Lock()
	err := l.flushLocked(fd)
	l.mu.Unlock()
	l.ended = true
	return err == nil
}

// CanMove is false: the keys are in crypto/tls, which does not give them away.
func (l *tlsLayer) CanMove() bool { return false }
