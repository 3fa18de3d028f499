package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

const (
	// anyFiles is more descriptors than any message of ours brings.
	anyFiles = 1 << 16
	// maxFiles is how many descriptors one message may carry: the kernel refuses
	// more than 253 (SCM_MAX_FD).
	maxFiles = 250
	// maxMessageBytes bounds one message on its way in.
	maxMessageBytes = 128 << 10
)

// What Receive returns for messages that break the rules. The channel is then of no
// more use.
var (
	// ErrTooLarge: a message does not fit.
	ErrTooLarge = errors.New("message too large")
	// ErrManyFiles: a message brings more descriptors than [Conn.MaxFiles] allows.
	ErrManyFiles = errors.New("message with too many descriptors")
	// ErrStranger: another process than [Conn.OnlyFrom] names sent a message.
	ErrStranger = errors.New("message of another process")
)

// A Message is one datagram of the channel.
type Message struct {
	Kind string `json:"kind"`
	// Names are the names of Files, in order. Several may be equal.
	Names []string `json:"names,omitempty"`
	// Body depends on Kind.
	Body json.RawMessage `json:"body,omitempty"`
	// Files are owned by the receiver of the message.
	Files []*os.File `json:"-"`
}

// Into decodes the body into v, a pointer. An empty body leaves v as it is.
func (m Message) Into(v any) error {
	if len(m.Body) == 0 {
		return nil
	}
	if err := json.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("decode %s message: %w", m.Kind, err)
	}
	return nil
}

// Close closes the descriptors that came with m.
func (m Message) Close() {
	for _, f := range m.Files {
		f.Close()
	}
}

// A File is a descriptor with the name that it travels under. It is a number
// and not an *os.File because that would make the runtime watch the descriptor:
// a master must not wake up for every connection on its listening sockets.
type File struct {
	Name string
	FD   int
}

// A Conn is one end of a channel. Send and Receive may be called from
// different goroutines, each from one at a time.
type Conn struct {
	uc  *net.UnixConn
	buf []byte // of Receive
	oob []byte // of Receive

	maxFiles int // see MaxFiles
	from     int // see OnlyFrom; 0: whoever has the other end

	closed   atomic.Bool
	out      outbox
	patience time.Duration // postPatience
	lost     func(error)
}

// Pair returns a new channel: this process's end, and the other one as a file
// to be given to a process that is started. The caller owns both and closes
// theirs once that process has it, or the channel would never end.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	c, err := Open(fds[0])
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c, theirs, nil
}

// Open makes a Conn of descriptor fd, which it takes over, also on failure.
func Open(fd int) (*Conn, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "control")
	if f == nil {
		return nil, fmt.Errorf("open control socket: %w", unix.EBADF)
	}
	defer f.Close() // FileConn has its own duplicate
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open control socket %d: %w", fd, err)
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok || uc.LocalAddr().Network() != "unixpacket" {
		nc.Close()
		return nil, fmt.Errorf("open control socket %d: not a unix seqpacket socket", fd)
	}
	return &Conn{uc: uc, patience: postPatience, maxFiles: anyFiles}, nil
}

// MaxFiles bounds how many descriptors one Receive returns, those of "files" messages
// included. The kernel drops what there is no room for before it is open in this process,
// so that a peer cannot use up what we may have open. It must be called before Receive.
func (c *Conn) MaxFiles(n int) { c.maxFiles = n }

// WithSenders makes the kernel tell with each message that is sent from now on which
// process sent it: to be called before the other end is given away, and followed by
// OnlyFrom.
func (c *Conn) WithSenders() error {
	rc, err := c.uc.SyscallConn()
	if err != nil {
		return fmt.Errorf("ask for senders: %w", err)
	}
	cerr := rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err := errors.Join(cerr, err); err != nil {
		return fmt.Errorf("ask for senders: %w", err)
	}
	return nil
}

// OnlyFrom makes a message of any other process than pid an error of Receive: whoever
// that process has started may hold the other end, too. It must be called before Receive.
func (c *Conn) OnlyFrom(pid int) { c.from = pid }

// Close ends the channel; the other side's Receive returns io.EOF when it has got all
// that was sent. What still waits to be sent is forgotten.
func (c *Conn) Close() error {
	c.closed.Store(true)
	return c.uc.Close()
}

// Closed reports whether it was this side that ended the channel.
func (c *Conn) Closed() bool { return c.closed.Load() }

// SetReadTimeout bounds Receive from now on; 0 is no bound.
func (c *Conn) SetReadTimeout(d time.Duration) error {
	if d == 0 {
		return c.uc.SetReadDeadline(time.Time{})
	}
	return c.uc.SetReadDeadline(time.Now().Add(d))
}

// Send sends one message, and before it as many messages of kind "files" as it
// takes to carry all files. The files stay the caller's. body may be nil.
//
// When Send fails some of the files may have arrived; the channel is then of no
// more use.
func (c *Conn) Send(kind string, body any, files ...File) error {
	for len(files) > maxFiles {
		if err := c.send(KindFiles, nil, files[:maxFiles]); err != nil {
			return err
		}
		files = files[maxFiles:]
	}
	return c.send(kind, body, files)
}

func (c *Conn) send(kind string, body any, files []File) error {
	p, err := pack(kind, body, files)
	if err != nil {
		return err
	}
	if _, _, err := c.uc.WriteMsgUnix(p.data, p.rights(), nil); err != nil {
		return fmt.Errorf("send %s: %w", kind, err)
	}
	return nil
}

// pack makes the datagram of a message.
func pack(kind string, body any, files []File) (packet, error) {
	p, m := packet{kind: kind}, Message{Kind: kind}
	for _, f := range files {
		m.Names = append(m.Names, f.Name)
		p.fds = append(p.fds, f.FD)
	}
	var err error
	if body != nil {
		if m.Body, err = json.Marshal(body); err != nil {
			return p, fmt.Errorf("send %s: %w", kind, err)
		}
	}
	if p.data, err = json.Marshal(m); err != nil {
		return p, fmt.Errorf("send %s: %w", kind, err)
	}
	if len(p.data) > maxMessageBytes {
		return p, fmt.Errorf("send %s: %w", kind, ErrTooLarge)
	}
	return p, nil
}

// Receive waits for the next message. Messages of kind "files" that went before
// it are put in front of its own Files and Names. It returns io.EOF when the
// other side is gone or this one was closed. The result does not alias the Conn's memory.
func (c *Conn) Receive() (Message, error) {
	var before Message
	for {
		m, err := c.receive(c.maxFiles - len(before.Files))
		if err != nil {
			before.Close()
			return Message{}, err
		}
		m.Names = append(before.Names, m.Names...)
		m.Files = append(before.Files, m.Files...)
		if m.Kind != KindFiles {
			return m, nil
		}
		before = m
	}
}

// receive receives one datagram with room for so many descriptors.
func (c *Conn) receive(room int) (Message, error) {
	if c.buf == nil {
		c.buf = make([]byte, maxMessageBytes)
		c.oob = make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxFiles))
	}
	oob := c.oob[:c.space(room)]
	n, oobn, flags, _, err := c.uc.ReadMsgUnix(c.buf, oob)
	if errors.Is(err, syscall.ECONNRESET) {
		// The peer went away with messages unread. The kernel tells that first and
		// once, before what the peer itself had sent, which is still there: why it
		// failed, most likely.
		n, oobn, flags, _, err = c.uc.ReadMsgUnix(c.buf, oob)
	}
	if err != nil {
		// A reset is the end as much as a close is, the peer's or ours.
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
			return Message{}, io.EOF
		}
		return Message{}, fmt.Errorf("receive: %w", err)
	}
	sender, fds, err := parseRights(oob[:oobn])
	if err == nil {
		var m Message
		if m, err = c.judge(n, flags, sender, fds, room); err == nil {
			for i, fd := range fds {
				m.Files = append(m.Files, os.NewFile(uintptr(fd), m.Names[i]))
			}
			return m, nil
		}
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return Message{}, fmt.Errorf("receive: %w", err)
}

// space is how much control data there is room for.
func (c *Conn) space(room int) int {
	n := 0
	if c.from != 0 {
		n += unix.CmsgSpace(unix.SizeofUcred)
	}
	if room > 0 {
		// Of what is rounded up there may be one descriptor more than room.
		n += unix.CmsgSpace(4 * min(room, maxFiles))
	}
	return n
}

// judge decodes a datagram of n bytes, and refuses what breaks a rule.
func (c *Conn) judge(n, flags, sender int, fds []int, room int) (Message, error) {
	switch {
	case c.from != 0 && sender != c.from:
		return Message{}, fmt.Errorf("%w: %d", ErrStranger, sender)
	case flags&unix.MSG_TRUNC != 0:
		return Message{}, ErrTooLarge
	case flags&unix.MSG_CTRUNC != 0 || len(fds) > max(room, 0):
		return Message{}, ErrManyFiles
	}
	m, err := decode(c.buf[:n])
	switch {
	case err != nil:
		return Message{}, err
	case len(m.Names) != len(fds):
		return Message{}, fmt.Errorf("%d names for %d descriptors", len(m.Names), len(fds))
	case m.Kind == KindFiles && len(fds) == 0:
		return Message{}, errors.New("message of descriptors without any")
	}
	return m, nil
}

// FromParent reports whether descriptor fd is one end of a channel that the parent of
// this process made, or made before it ended.
func FromParent(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return false
	}
	// Of a socket pair it is who made it.
	maker, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return false
	}
	return int(maker.Pid) == os.Getppid() || proc.HasEnded(int(maker.Pid))
}
