package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// postMany posts until nothing is taken any more, and returns how many messages were.
// None of it may wait for the receiver.
func postMany(t *testing.T, c *Conn, fd int) (n int) {
	t.Helper()
	start := time.Now()
	for ; n < 10_000; n++ {
		err := c.Post(KindStart, strings.Repeat("x", 1000), File{Name: fmt.Sprint(n), FD: fd})
		if errors.Is(err, ErrNotRead) {
			if took := time.Since(start); took > time.Second {
				t.Errorf("%d messages to a receiver that does not read took %v", n, took)
			}
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("%d messages wait for a receiver that does not read", n)
	return n
}

func openNull(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestPostKeepsOrder: all that Post took arrives, in order and with its descriptors,
// although they were closed in between.
func TestPostKeepsOrder(t *testing.T) {
	before := openFiles(t)
	t.Run("post", func(t *testing.T) {
		a, b := pair(t)
		a.patience = time.Minute
		a.WhenLost(func(err error) { t.Errorf("lost: %v", err) })
		fd := openNull(t)
		n := postMany(t, a, fd)
		unix.Close(fd)
		for i := range n {
			m, err := b.Receive()
			if err != nil || len(m.Names) != 1 || m.Names[0] != fmt.Sprint(i) || m.Kind != KindStart {
				t.Fatalf("message %d is %q %q, %v", i, m.Kind, m.Names, err)
			}
			if _, err := m.Files[0].Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("descriptor %d is not the null device: %v", i, err)
			}
			m.Close()
		}
		// There is room again.
		if err := a.Post(KindReady, nil); err != nil {
			t.Error(err)
		}
		if m, err := b.Receive(); err != nil || m.Kind != KindReady {
			t.Errorf("%q, %v after the others", m.Kind, err)
		}
	})
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// keeps reports whether c had to keep a message.
func keeps(c *Conn) bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return len(c.out.waiting) > 0 || c.out.err != nil
}

// TestPostInParts: a message of several datagrams that wait with others.
func TestPostInParts(t *testing.T) {
	a, b := pair(t)
	fd := openNull(t)
	n := 0
	for ; !keeps(a); n++ {
		if err := a.Post(KindReopen, strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	var files []File
	for i := range 2*maxFiles + 1 {
		files = append(files, File{Name: fmt.Sprint("part ", i), FD: fd})
	}
	if err := a.Post(KindRetire, Retire{Successor: true}, files...); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	for range n {
		if m, err := b.Receive(); err != nil || m.Kind != KindReopen {
			t.Fatalf("%q, %v", m.Kind, err)
		}
	}
	m, err := b.Receive()
	if err != nil || m.Kind != KindRetire || len(m.Files) != len(files) {
		t.Errorf("%q with %d files, %v; want %d", m.Kind, len(m.Files), err, len(files))
	}
	m.Close()
}

// TestPostLosesReceiver: one that hangs is told of once, what waited for it is
// forgotten, and what it was sent before is still there.
func TestPostLosesReceiver(t *testing.T) {
	before := openFiles(t)
	t.Run("post", func(t *testing.T) {
		a, b := pair(t)
		a.patience = 20 * time.Millisecond
		lost := make(chan error, 10)
		a.WhenLost(func(err error) { lost <- err })
		fd := openNull(t)
		defer unix.Close(fd)
		post := func() error { return a.Post(KindStart, strings.Repeat("x", 1000), File{Name: "null", FD: fd}) }
		room := 0 // what the socket takes; the first that it does not is kept
		for ; !keeps(a); room++ {
			if err := post(); err != nil {
				t.Fatal(err)
			}
		}
		room--
		for range 10 {
			if err := post(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // it may be lost by now
				t.Fatal(err)
			}
		}
		if err := <-lost; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v, want a timeout", err)
		}
		if err := a.Post(KindReady, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("to one that is lost: %v, want why", err)
		}
		a.Close()
		got := 0
		for ; ; got++ {
			m, err := b.Receive()
			if err != nil {
				break
			}
			m.Close()
		}
		if got != room {
			t.Errorf("%d messages arrived, want the %d that had room", got, room)
		}
		if len(lost) > 0 {
			t.Errorf("lost again: %v", <-lost)
		}
	})
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestPostToNobody: the end of either side is no loss, and leaves nothing open.
func TestPostToNobody(t *testing.T) {
	for _, side := range []string{"ours", "theirs"} {
		t.Run(side, func(t *testing.T) {
			before := openFiles(t)
			a, b := pair(t)
			a.WhenLost(func(err error) { t.Errorf("lost: %v", err) })
			fd := openNull(t)
			postMany(t, a, fd)
			unix.Close(fd)
			if side == "ours" {
				a.Close()
			} else {
				b.Close()
			}
			waitFor(t, "what waits to be forgotten", func() bool { return a.Post(KindReady, nil) != nil && openFiles(t) <= before+1 })
		})
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}
