package control

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// What a peer may bring is bounded, however it is split up, and what is too much is never
// open here.
func TestMaxFiles(t *testing.T) {
	for _, max := range []int{0, 1, 2, 300} {
		a, b := pair(t)
		b.MaxFiles(max)
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		files := func(n int) (fs []File) {
			for range n {
				fs = append(fs, File{Name: "f", FD: int(null.Fd())})
			}
			return fs
		}
		before := openFiles(t)
		if err := a.Send(KindReady, nil, files(max)...); err != nil {
			t.Fatal(err)
		}
		m, err := b.Receive()
		if err != nil || len(m.Files) != max {
			t.Fatalf("max %d: %d files, %v", max, len(m.Files), err)
		}
		m.Close()
		var sent sync.WaitGroup
		for _, n := range []int{max + 1, 80 * maxFiles} {
			// Whoever sends so much waits until it is read.
			sent.Go(func() { _ = a.Send(KindReady, nil, files(n)...) })
			if m, err := b.Receive(); !errors.Is(err, ErrManyFiles) {
				t.Errorf("max %d, sent %d: %q, %v", max, n, m.Kind, err)
			}
			if n == max+1 {
				continue
			}
			b.Close()
		}
		sent.Wait()
		if after := openFiles(t); after > before {
			t.Errorf("max %d: %d descriptors before, %d after", max, before, after)
		}
	}
}

// A channel that ends in a process may be held by those whom that process started: what
// they say is not taken for its word.
func TestOnlyFrom(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         error
	}{
		{"the process itself", `echo '{"kind":"ready"}' >&3`, nil},
		{"another one", `(echo '{"kind":"ready"}' >&3)`, ErrStranger},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, theirs, err := Pair()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.WithSenders(); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", tt.script+"; exit")
			cmd.ExtraFiles = []*os.File{theirs}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			theirs.Close()
			c.OnlyFrom(cmd.Process.Pid)
			c.MaxFiles(0)
			m, err := c.Receive()
			if !errors.Is(err, tt.want) || err == nil && m.Kind != KindReady {
				t.Errorf("received %q, %v, want %v", m.Kind, err, tt.want)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if _, err := c.Receive(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// A descriptor that a variable names is a channel to our parent, or it is nobody's.
func TestFromParent(t *testing.T) {
	c, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer theirs.Close()
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stream[0])
	defer unix.Close(stream[1])
	for _, fd := range []int{0, 9999, stream[0], int(theirs.Fd())} { // the last one is our own
		if FromParent(fd) {
			t.Errorf("descriptor %d is taken", fd)
		}
	}
}

// What the parent made counts when it has ended since, also while nobody has asked how.
func TestFromParentThatEnded(t *testing.T) {
	if os.Getenv("MAKER") != "" {
		makePair()
		return
	}
	c, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c[0])
	far := os.NewFile(uintptr(c[1]), "far end")
	defer far.Close()
	maker := exec.Command(os.Args[0], "-test.run=^TestFromParentThatEnded$")
	maker.Env = append(os.Environ(), "MAKER=1")
	maker.ExtraFiles = []*os.File{far}
	stay, err := maker.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(c[0], make([]byte, 1), rights, 0)
	if err != nil {
		t.Fatal(err)
	}
	said, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&said[0])
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	if FromParent(fds[0]) {
		t.Error("what a process that lives and is not our parent made is taken")
	}
	stay.Close()
	if err := unix.Waitid(unix.P_PID, maker.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if !FromParent(fds[0]) {
		t.Error("what a process made that has ended and still has its number is not taken")
	}
	if err := maker.Wait(); err != nil {
		t.Fatal(err)
	}
	if !FromParent(fds[0]) {
		t.Error("what a process made that is gone is not taken")
	}
}

// makePair makes a channel, passes one end of it over descriptor 3, and stays until the
// end of its standard input.
func makePair() {
	c, theirs, err := Pair()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(theirs.Fd())), nil, 0); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
}
