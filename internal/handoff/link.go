package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Ticket is what moves in one piece.
type Ticket struct {
	// Kind says how State is to be read; 1 to 255, the users' business.
	Kind byte
	// State is what the taker needs to know besides the descriptors.
	State []byte
	// Files are raw descriptors.
	Files []int
}

var (
	// ErrRefused is returned by Give when the taker does not want the ticket.
	ErrRefused = errors.New("the taker refused")
	// ErrNoAnswer is returned by Give when the taker did not answer in time.
	ErrNoAnswer = errors.New("the taker did not answer")
	// ErrClosed is returned by Give and Take when the link has ended.
	ErrClosed = errors.New("the hand-over link is closed")
)

// errFiles is wrapped by receive's error about a message that came without some of
// its descriptors, or with more: the sender's mistake, or the receiver has none
// free. The message itself is good.
var errFiles = errors.New("descriptors are missing")

// window is how many tickets may be under way at once: descriptors in flight
// count against the sender's RLIMIT_NOFILE, see unix(7) on ETOOMANYREFS.
const window = 64

// conn is one end of a link.
type conn struct {
	sock    *net.UnixConn
	version uint32
	timeout time.Duration // of one send; zero waits for ever
	// sendMu keeps messages whole; it is a leaf.
	sendMu sync.Mutex
	buf    []byte
}

// open takes the socket over and agrees on a version, within ctx.
func open(ctx context.Context, f *os.File, lo, hi uint32) (*conn, error) {
	nc, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("open a hand-over link: %w", err)
	}
	sock, ok := nc.(*net.UnixConn)
	if !ok {
		_ = nc.Close()
		return nil, fmt.Errorf("open a hand-over link: %T is not a unix socket", nc)
	}
	c := &conn{sock: sock}
	if err := c.hello(ctx, lo, hi); err != nil {
		_ = sock.Close()
		return nil, err
	}
	return c, nil
}

func (c *conn) hello(ctx context.Context, lo, hi uint32) error {
	stop := context.AfterFunc(ctx, func() { _ = c.sock.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.send(helloMessage(lo, hi), nil); err != nil {
		return err
	}
	m, fds, err := c.receive(make([]byte, headBytes+MaxState))
	if err != nil {
		return fmt.Errorf("greet the peer: %w", err)
	}
	closeAll(fds)
	if m.kind != msgHello {
		return fmt.Errorf("greet the peer: %w: kind %d before hello", ErrWire, m.kind)
	}
	c.version, err = agree(lo, hi, uint32(m.id>>32), uint32(m.id))
	if err != nil {
		return err
	}
	if !stop() {
		return context.Cause(ctx)
	}
	return nil
}

// send sends one message; the caller goes on owning fds.
func (c *conn) send(m message, fds []int) error {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	c.buf = m.append(c.buf[:0])
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if c.timeout > 0 {
		_ = c.sock.SetWriteDeadline(time.Now().Add(c.timeout))
	}
	_, _, err := c.sock.WriteMsgUnix(c.buf, oob, nil)
	if cap(c.buf) > 1<<16 {
		c.buf = nil
	}
	if err != nil {
		return fmt.Errorf("send to the hand-over peer: %w", err)
	}
	return nil
}

// receive reads one message into buf. The descriptors that came with it are the
// caller's. With an error that wraps [ErrWire] the link can be read on; with one that
// wraps errFiles too the message is valid.
func (c *conn) receive(buf []byte) (message, []int, error) {
	oob := make([]byte, unix.CmsgSpace(MaxFiles*4))
	n, oobn, flags, _, err := c.sock.ReadMsgUnix(buf, oob) // sets MSG_CMSG_CLOEXEC
	if errors.Is(err, unix.ECONNRESET) {
		// The peer closed with words of ours unread. The kernel reports that once and
		// before what the peer itself had sent, which still counts.
		n, oobn, flags, _, err = c.sock.ReadMsgUnix(buf, oob)
	}
	if errors.Is(err, io.EOF) {
		return message{}, nil, ErrClosed
	}
	if err != nil {
		return message{}, nil, err
	}
	fds, err := rights(oob[:oobn])
	if err != nil {
		return message{}, nil, err
	}
	if n == 0 && oobn == 0 {
		return message{}, nil, ErrClosed
	}
	m, err := parseMessage(buf[:n])
	switch {
	case flags&unix.MSG_TRUNC != 0:
		err = fmt.Errorf("%w: truncated", ErrWire)
	case err == nil && (int(m.files) != len(fds) || flags&unix.MSG_CTRUNC != 0):
		err = fmt.Errorf("%w: %w: %d announced, %d came", ErrWire, errFiles, m.files, len(fds))
	}
	if err != nil {
		closeAll(fds)
		return m, nil, err
	}
	return m, fds, nil
}

// rights returns the descriptors in a control message.
func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read descriptors: %w", err)
	}
	var fds []int
	for i := range cmsgs {
		got, err := unix.ParseUnixRights(&cmsgs[i])
		if err != nil {
			continue // credentials or the like
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// Pair returns the two ends of a new link, one for each process.
func Pair() (giver, taker *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a hand-over link: %w", os.NewSyscallError("socketpair", err))
	}
	for _, fd := range fds {
		// A ticket must fit in one datagram.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 2*(headBytes+MaxState))
	}
	return os.NewFile(uintptr(fds[0]), "giver"), os.NewFile(uintptr(fds[1]), "taker"), nil
}
