package httpd_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A client that resets its connection while that moves has asked something, and the
// log names it: the kernel does not know the address any more.
func TestAddressOfAClientThatResetWhileItMoved(t *testing.T) {
	r := newRelay(t, "tcp", "echo WHO;")
	c := dial(t, r.addr)
	c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	r.lines(1)
	give := giveTo(r.servers[1])
	reset := sync.OnceFunc(func() {
		_, _ = io.WriteString(c.nc, "GET /asked HTTP/1.1\r\nHost: a\r\n\r\n")
		_ = c.nc.(*net.TCPConn).SetLinger(0)
		_ = c.nc.Close()
	})
	got := r.servers[0].Retire(t.Context(), func(kind byte, state []byte, fds ...int) error {
		reset()
		until(t, "the reset has come", func() bool {
			_, err := unix.Getpeername(fds[0])
			return err != nil
		})
		return give(kind, state, fds...)
	})
	if got.Moved != 1 {
		t.Fatalf("Retire = %+v", got)
	}
	if line := r.lines(2)[1]; line.remote != "127.0.0.1" || !strings.Contains(line.request, "/asked") {
		t.Errorf("logged of %s: %v", line.remote, line)
	}
}

// A fault of one module, as a moved request is restored, leaves nothing open.
func TestPanicAsAMovedRequestIsRestored(t *testing.T) {
	const addr = "127.0.0.1:80" // nobody listens
	s := serverFor(t, t.TempDir(), addr, `server { LISTEN echo; }`)
	name := filepath.Join(t.TempDir(), "moved")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, peer := socketPair(t)
	state := stateOf(addr)
	for tag, value := range map[byte]string{130: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 133: "\xc8\x01", 136: "\x07", 10: "echo\x00panic"} {
		state = append(append(state, tag, byte(len(value))), value...)
	}
	if err := s.Take(2, state, []int{ours, fd}); err != nil {
		t.Fatal(err)
	}
	clientOn(t, peer).ended()
	s.Retire(context.Background(), nil)
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		if to, _ := os.Readlink("/proc/self/fd/" + f.Name()); to == name {
			t.Errorf("the moved file is still open as %s", f.Name())
		}
	}
}
