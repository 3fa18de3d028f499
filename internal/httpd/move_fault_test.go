package httpd_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
	"golang.org/x/sys/unix"
)

// bigFile makes a file called big of n random bytes in a new folder.
func bigFile(t *testing.T, n int) (dir string, content []byte) {
	t.Helper()
	content = make([]byte, n)
	_, _ = rand.Read(content)
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, content
}

// ask writes raw, reads the head of the answer and n bytes of the body.
func (c *client) ask(raw string, n int) (head string, body []byte) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, raw); err != nil {
		c.t.Fatal(err)
	}
	head = headOf(c.t, c)
	body = make([]byte, n)
	if _, err := io.ReadFull(c.br, body); err != nil {
		c.t.Fatal(err)
	}
	return head, body
}

// rest reads what is still to come of n bytes of which got was read.
func (c *client) rest(got []byte, n int) []byte {
	c.t.Helper()
	all := make([]byte, n)
	k := copy(all, got)
	if _, err := io.ReadFull(c.br, all[k:]); err != nil {
		c.t.Fatalf("the rest of the body: %v", err)
	}
	return all
}

// retire begins to retire old to next and returns what Retire will return.
func retire(t *testing.T, addr string, old, next *httpd.Server) <-chan httpd.Retired {
	t.Helper()
	done := make(chan httpd.Retired, 1)
	go func() { done <- old.Retire(context.Background(), giveTo(next)) }()
	awaitClosed(t, addr)
	return done
}

// A body that nobody wants is no request, whoever reads it.
func TestUnwantedBodyIsNotServedAfterAMove(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late %v", late), func(t *testing.T) {
			dir, content := bigFile(t, 1<<20)
			addr, old, next := pair(t, `sendfile on; limit_rate 512k; root `+dir+`;
				server { LISTEN location /who { echo "WHO $uri"; } }`)
			c := dial(t, addr)
			body := "GET /who/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
			raw := fmt.Sprintf("GET /big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", len(body))
			if !late {
				raw += body
			}
			_, got := c.ask(raw, 100<<10)
			done := retire(t, addr, old, next)
			if late {
				if _, err := io.WriteString(c.nc, body); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(c.rest(got, len(content)), content) {
				t.Error("the content differs")
			}
			if _, answer := c.do("GET /who/asked HTTP/1.1\r\nHost: a\r\n\r\n"); answer != "next /who/asked" {
				t.Errorf("the next request: %q", answer)
			}
			if r := <-done; r.Closed != 0 {
				t.Errorf("Retire = %+v", r)
			}
		})
	}
}

// What is encoded on its way goes to its end where it began: the encoder's state
// cannot move.
func TestEncodedDownloadIsNotMoved(t *testing.T) {
	t.Parallel()
	dir, content := bigFile(t, 1<<20)
	for _, version := range []string{"HTTP/1.0", "HTTP/1.1"} {
		t.Run(version, func(t *testing.T) {
			addr, old, next := pair(t, `sendfile on; limit_rate 768k; root `+dir+`; gzip on; gzip_types *;
				gzip_http_version 1.0; server { LISTEN }`)
			c := dial(t, addr)
			if _, err := io.WriteString(c.nc, "GET /big "+version+"\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			head := headOf(t, c)
			if !strings.Contains(head, "Content-Encoding: gzip") {
				t.Fatal(head)
			}
			body := io.Reader(c.br)
			if strings.Contains(head, "chunked") {
				body = &chunks{t: t, c: c}
			}
			first := make([]byte, 10<<10)
			if _, err := io.ReadFull(body, first); err != nil {
				t.Fatal(err)
			}
			retire(t, addr, old, next)
			z, err := gzip.NewReader(io.MultiReader(bytes.NewReader(first), body))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(content))
			}
		})
	}
}

// chunks reads a chunked body.
type chunks struct {
	t    *testing.T
	c    *client
	left int
}

func (r *chunks) Read(p []byte) (int, error) {
	if r.left == 0 {
		line, err := r.c.br.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if _, err := fmt.Sscanf(line, "%x", &r.left); err != nil {
			return 0, err
		}
		if r.left == 0 {
			return 0, io.EOF
		}
	}
	n, err := r.c.br.Read(p[:min(len(p), r.left)])
	if r.left -= n; r.left == 0 && err == nil {
		_, err = r.c.br.Discard(2)
	}
	return n, err
}

// A successor that is full refuses, before the connection is its own.
func TestFullSuccessorRefuses(t *testing.T) {
	addr, old, _ := pair(t, `server { LISTEN echo WHO; }`)
	const n, room = 5, 2
	give := giveTo(limited(t, addr, room))
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dial(t, addr)
		clients[i].do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	// One offer at a time: those that are under way do not count yet.
	var mu sync.Mutex
	offered := make(chan struct{}, n)
	done := make(chan httpd.Retired, 1)
	go func() {
		done <- old.Retire(context.Background(), func(kind byte, state []byte, fds ...int) error {
			mu.Lock()
			defer mu.Unlock()
			defer func() { offered <- struct{}{} }()
			return give(kind, state, fds...)
		})
	}()
	for range clients {
		<-offered
	}
	byOld, byNext := 0, 0
	for _, c := range clients {
		switch resp, body := c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); {
		case body == "old" && resp.Close:
			byOld++
		case body == "next" && !resp.Close:
			byNext++
		default:
			t.Errorf("answer %q, close %v", body, resp.Close)
		}
	}
	if byNext != room || byOld != n-room {
		t.Errorf("%d are served by the old server, %d by the full one", byOld, byNext)
	}
	if r := <-done; r != (httpd.Retired{Moved: room, Drained: n - room}) {
		t.Errorf("Retire = %+v", r)
	}
}

// limited is a server for addr that answers "next" and has room for n connections.
func limited(t *testing.T, addr string, n int) *httpd.Server {
	t.Helper()
	s := httpd.NewServer(siteFor(t, t.TempDir(), addr, `server { LISTEN echo next; }`),
		httpd.Env{Log: slog.New(slog.DiscardHandler), MaxConns: n})
	t.Cleanup(func() { s.Retire(context.Background(), nil) })
	return s
}

// What the taker has promised to take it takes, whatever came in between.
func TestPromisedConnectionIsTaken(t *testing.T) {
	const addr = "127.0.0.1:80"
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, s *httpd.Server)
	}{
		{"full by now", func(t *testing.T, s *httpd.Server) {}},
		{"retiring by now", func(t *testing.T, s *httpd.Server) {
			go s.Retire(context.Background(), nil)
			until(t, "refusal", func() bool { return !s.Wants(1, stateOf(addr), 1) })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			next := limited(t, addr, 1)
			var held atomic.Pointer[func() error]
			give := giveLater(next, &held)
			a, b := socketPair(t)
			if err := give(1, stateOf(addr), a); err != nil {
				t.Fatal(err)
			}
			first := *held.Load()
			c, d := socketPair(t)
			if err := give(1, stateOf(addr), c); err != nil {
				t.Fatal(err)
			}
			if err := (*held.Load())(); err != nil {
				t.Fatal(err)
			}
			tc.spoil(t, next)
			if err := first(); err != nil {
				t.Fatalf("Take of what was wanted = %v", err)
			}
			for _, fd := range []int{b, d} {
				cl := clientOn(t, fd)
				if _, body := cl.do("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); body != "next" {
					t.Errorf("answer %q", body)
				}
			}
		})
	}
}

// giveLater asks s at once and keeps for later what takes.
func giveLater(s *httpd.Server, held *atomic.Pointer[func() error]) httpd.Give {
	return func(kind byte, state []byte, fds ...int) error {
		if !s.Wants(kind, state, len(fds)) {
			return errors.New("refused")
		}
		take := func() error { return s.Take(kind, state, fds) }
		held.Store(&take)
		return nil
	}
}

// The successor's configuration may have no place for what is under way: it is
// finished all the same.
func TestDownloadGoesOnUnderAnotherConfiguration(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, next string }{
		{"location leads elsewhere", `server { LISTEN location /big/ { proxy_pass http://127.0.0.1:1; } location /who { echo WHO; } }`},
		{"location refuses", `server { LISTEN location / { return 403; } location /who { echo WHO; } }`},
		{"heads must be shorter", `server { LISTEN connection_pool_size 256; large_client_header_buffers 1 256; client_header_buffer_size 256; echo WHO; }`},
		{"pattern", `server { LISTEN location ~ ^/b(.)g { return 200 $1; } location /who { echo WHO; } }`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, content := bigFile(t, 1<<20)
			addr, old, _ := pair(t, `sendfile on; limit_rate 768k; root `+dir+`; server { LISTEN location /who { echo WHO; } }`)
			next := serverFor(t, t.TempDir(), addr, strings.ReplaceAll(tc.next, "WHO", "next"))
			c := dial(t, addr)
			long := strings.Repeat("x", 300)
			_, got := c.ask("GET /big HTTP/1.1\r\nHost: a\r\nX-Long: "+long+"\r\n\r\n", 100<<10)
			done := retire(t, addr, old, next)
			if !bytes.Equal(c.rest(got, len(content)), content) {
				t.Error("the content differs")
			}
			resp, _ := c.do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n")
			if resp.StatusCode != 200 {
				t.Errorf("the next request: %s", resp.Status)
			}
			if r := <-done; r.Closed != 0 {
				t.Errorf("Retire = %+v", r)
			}
		})
	}
}

// A rate that was set for one response moves with it.
func TestRateOfAResponseMoves(t *testing.T) {
	t.Parallel()
	dir, content := bigFile(t, 1<<20)
	addr, old, next := pair(t, `sendfile on; root `+dir+`; server { LISTEN location /big { set $limit_rate 400k; } }`)
	again := serverFor(t, t.TempDir(), addr, `server { LISTEN echo again; }`)
	c := dial(t, addr)
	began := time.Now()
	_, got := c.ask("GET /big HTTP/1.1\r\nHost: a\r\n\r\n", 100<<10)
	<-retire(t, addr, old, next)
	if r := next.Retire(t.Context(), giveTo(again)); r.Moved != 1 {
		t.Fatalf("Retire = %+v", r)
	}
	if !bytes.Equal(c.rest(got, len(content)), content) {
		t.Error("the content differs")
	}
	// The first second's worth goes at once: 1024 KB take (1024-400)/400 s.
	if took := time.Since(began); took < 1200*time.Millisecond {
		t.Errorf("1 MB at 400 KB a second took %v", took)
	}
}

// stateOf is the least that a ticket for addr can say.
func stateOf(addr string) []byte { return append([]byte{128, byte(len(addr))}, addr...) }

// socketPair is two connected sockets; the first does not block.
func socketPair(t *testing.T) (ours, peer int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fds[0], true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// clientOn is a client on the socket fd, which it takes over.
func clientOn(t *testing.T, fd int) *client {
	t.Helper()
	f := os.NewFile(uintptr(fd), "client")
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return &client{t, nc, bufio.NewReader(nc)}
}

// What is no stream socket is no connection, whatever its giver says.
func TestOnlySocketsAreTaken(t *testing.T) {
	const addr = "127.0.0.1:80"
	next := limited(t, addr, 10)
	dir := t.TempDir()
	for _, name := range []string{dir, os.DevNull, "/proc/self/exe"} {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := next.Take(1, stateOf(addr), []int{fd}); err == nil {
			t.Errorf("Take of %s = nil", name)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("the descriptor of %s is still open", name)
		}
	}
	// A socket that would block the thread that reads from it is made not to.
	a, b := socketPair(t)
	if err := unix.SetNonblock(a, false); err != nil {
		t.Fatal(err)
	}
	if err := next.Take(1, stateOf(addr), []int{a}); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(b), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Fatalf("flags of the other end: %#x, %v", flags, err)
	}
	c := clientOn(t, b)
	done := make(chan httpd.Retired, 1)
	c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	go func() { done <- next.Retire(t.Context(), func(byte, []byte, ...int) error { return nil }) }()
	select {
	case r := <-done:
		if r.Moved != 1 {
			t.Errorf("Retire = %+v", r)
		}
	case <-time.After(time.Minute):
		t.Error("a wait on it cannot be interrupted")
	}
}
