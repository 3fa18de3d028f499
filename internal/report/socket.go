package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// suffix makes the name of the socket from that of the pid file.
	suffix = ".baton"
	// patience bounds one conversation.
	patience = 2 * time.Second
	// maxBytes is more than any report has.
	maxBytes = 4 << 20
	// pauseAfterFailure is how long nobody is let in when that failed: for want of
	// descriptors, most likely.
	pauseAfterFailure = 100 * time.Millisecond
)

// Path returns where the master that pidFile names tells of itself.
func Path(pidFile string) string { return pidFile + suffix }

// IsPath reports whether a unix socket of this name can be such a socket.
func IsPath(path string) bool { return strings.HasSuffix(path, suffix) }

// ErrStranger says that somebody else than expected has the socket.
var ErrStranger = errors.New("another process has the socket")

// A Listener is a master's end. Its methods may be called by one goroutine at a time,
// and Serve by another.
type Listener struct {
	ln   *net.UnixListener
	path string // "" after Close
	id   fileID // of the socket: only what is ours is removed
}

type fileID struct{ dev, ino uint64 }

// Listen listens for those who look at the master whose pid file is given. What is in
// the place of its socket goes: it was left by a master that was killed.
func Listen(pidFile string) (*Listener, error) {
	path := Path(pidFile)
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen for operators: %w", err)
		}
	}
	short, folder, err := shorten(path)
	if err != nil {
		return nil, fmt.Errorf("listen for operators: %w", err)
	}
	defer unix.Close(folder)
	lc := net.ListenConfig{Control: ownersOnly}
	ln, err := lc.Listen(context.Background(), "unix", short)
	if err != nil {
		return nil, fmt.Errorf("listen for operators on %s: %w", path, err)
	}
	l := &Listener{ln: ln.(*net.UnixListener), path: path}
	l.ln.SetUnlinkOnClose(false) // it may have another name by then
	if l.id, err = identify(path); err != nil {
		l.ln.Close()
		return nil, fmt.Errorf("listen for operators: %w", err)
	}
	return l, nil
}

// ownersOnly makes the file that bind creates one of mode 0600, whatever the umask: it
// has the mode of the socket.
func ownersOnly(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
		return cerr
	}
	return err
}

// shorten returns a name of path that is short enough for a socket, by way of its
// folder. The caller closes folder when the name was used.
func shorten(path string) (short string, folder int, err error) {
	dir := filepath.Dir(path)
	if folder, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return "", -1, fmt.Errorf("open %s: %w", dir, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder, filepath.Base(path)), folder, nil
}

func identify(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileID{}, fmt.Errorf("look at %s: %w", path, err)
	}
	return fileID{st.Dev, st.Ino}, nil
}

// Serve tells everybody who comes what ask returns, one after the other, until Close.
// When ask reports false the master has nothing to say any more.
func (l *Listener) Serve(ask func() (r Report, ok bool)) {
	for {
		c, err := l.ln.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			<-time.After(pauseAfterFailure)
			continue
		}
		if mayAsk(c) {
			// Who does not read what he asked for does not get it.
			_ = c.SetDeadline(time.Now().Add(patience))
			if r, ok := ask(); ok {
				_ = json.NewEncoder(c).Encode(r)
			}
		}
		c.Close()
	}
}

// mayAsk reports whether the other end is root or our own user. The mode of the file
// says the same; a folder that is shared by a bind mount may not.
func mayAsk(c *net.UnixConn) bool {
	peer, err := peerOf(c)
	return err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}

func peerOf(c *net.UnixConn) (*unix.Ucred, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	cerr := rc.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer, errors.Join(cerr, err)
}

// Follow gives the socket the name that goes with another name of the pid file.
func (l *Listener) Follow(pidFile string) error {
	if err := os.Rename(l.path, Path(pidFile)); err != nil {
		return fmt.Errorf("follow the pid file: %w", err)
	}
	l.path = Path(pidFile)
	return nil
}

// Remove removes the socket of a master that is gone, if there is one.
func Remove(pidFile string) error {
	if err := os.Remove(Path(pidFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Close ends Serve, and removes the file if it is still ours.
func (l *Listener) Close() error {
	if l.path == "" {
		return nil
	}
	err := l.ln.Close()
	if id, ierr := identify(l.path); ierr == nil && id == l.id {
		err = errors.Join(err, os.Remove(l.path))
	}
	l.path = ""
	return err
}

// Ask asks process pid, a master whose pid file is given. An error that wraps
// [os.ErrNotExist] says that it has no such socket: it is no Baton, or an older one.
// Somebody else who has the socket is [ErrStranger].
func Ask(ctx context.Context, pidFile string, pid int) (Report, error) {
	r, err := ask(ctx, Path(pidFile), pid)
	if err != nil {
		return Report{}, fmt.Errorf("ask master %d: %w", pid, err)
	}
	return r, nil
}

// Find returns the process that listens on the socket of the master whose pid file is given.
func Find(ctx context.Context, pidFile string) (pid int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := dial(ctx, Path(pidFile))
	if err != nil {
		return 0, fmt.Errorf("find master: %w", err)
	}
	defer c.Close()
	peer, err := peerOf(c)
	if err != nil {
		return 0, fmt.Errorf("find master: %w", err)
	}
	return int(peer.Pid), nil
}

// dial connects to a socket by a path of any length. The system call is made by the
// caller's own goroutine: what rights that has counts.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	short, folder, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(folder)
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", short)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

func ask(ctx context.Context, path string, pid int) (r Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := dial(ctx, path)
	if err != nil {
		return r, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return r, err
	}
	peer, err := peerOf(c) // who listened
	if err != nil {
		return r, err
	}
	if int(peer.Pid) != pid {
		return r, fmt.Errorf("%w: %d", ErrStranger, peer.Pid)
	}
	if err := json.NewDecoder(io.LimitReader(c, maxBytes)).Decode(&r); err != nil {
		return r, fmt.Errorf("read its report: %w", err)
	}
	if r.Schema != Schema {
		return Report{}, fmt.Errorf("it reports by schema %d, and %d is known here", r.Schema, Schema)
	}
	return r, nil
}
