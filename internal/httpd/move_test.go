package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/handoff"
	"github.com/baton-deploy/baton/internal/httpd"
	"golang.org/x/sys/unix"
)

// giveTo gives to s in the same process, by way of duplicates, as descriptors that
// travel to another process are.
func giveTo(s *httpd.Server) httpd.Give {
	return func(kind byte, state []byte, fds ...int) error {
		if len(state) > handoff.MaxState || !s.Wants(kind, state, len(fds)) {
			return errors.New("refused")
		}
		copies := make([]int, len(fds))
		for i, fd := range fds {
			var err error
			if copies[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
				return err
			}
		}
		return s.Take(kind, append([]byte(nil), state...), copies)
	}
}

// pair is an old server that serves on addr, and the one that it will retire to.
func pair(t *testing.T, text string) (addr string, old, next *httpd.Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	dir := t.TempDir()
	old = serverFor(t, dir, addr, strings.ReplaceAll(text, "WHO", "old"))
	next = serverFor(t, dir, addr, strings.ReplaceAll(text, "WHO", "next"))
	if err := old.Start(map[string][]net.Listener{addr: {ln}}); err != nil {
		t.Fatal(err)
	}
	return addr, old, next
}

func TestIdleConnectionMoves(t *testing.T) {
	addr, old, next := pair(t, `server { LISTEN echo "WHO $connection $connection_requests"; }`)
	const n = 50
	clients := make([]*client, n)
	said := make([]string, n)
	for i := range clients {
		clients[i] = dial(t, addr)
		for range 2 {
			_, said[i] = clients[i].do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		}
	}
	fresh := dial(t, addr) // accepted, no byte yet
	until(t, "connections", func() bool { return old.Conns() == n+1 })
	got := old.Retire(t.Context(), giveTo(next))
	if want := (httpd.Retired{Moved: n + 1}); got != want {
		t.Errorf("Retire = %+v, want %+v", got, want)
	}
	for i, c := range clients {
		resp, body := c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		number, _ := strings.CutPrefix(said[i], "old ")
		number, _ = strings.CutSuffix(number, " 2")
		if want := "next " + number + " 3"; body != want || resp.Close {
			t.Fatalf("after the move: %q, want %q, close %v", body, want, resp.Close)
		}
	}
	if _, body := fresh.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(body, "next ") {
		t.Errorf("the connection without a request: %q", body)
	}
}

func TestBeginningOfARequestMovesWithItsConnection(t *testing.T) {
	addr, old, next := pair(t, `server { LISTEN echo "WHO $uri $connection_requests"; }`)
	c := dial(t, addr)
	c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := io.WriteString(c.nc, "GET /split HTTP/1.1\r\nHo"); err != nil {
		t.Fatal(err)
	}
	awaitTotals(t, old, func(n httpd.Totals) bool { return n.Reading == 1 })
	if got := old.Retire(t.Context(), giveTo(next)); got.Moved != 1 {
		t.Fatalf("Retire = %+v", got)
	}
	if _, body := c.do("st: a\r\n\r\n"); body != "next /split 2" {
		t.Errorf("the request in two halves: %q", body)
	}
}

// A request that is being answered is answered by the old server, without
// Connection: close, and its connection moves then.
func TestConnectionMovesWhenItsResponseIsComplete(t *testing.T) {
	addr, old, next := pair(t, `server { LISTEN echo "WHO"; }`)
	c := dial(t, addr)
	if _, err := io.WriteString(c.nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"); err != nil {
		t.Fatal(err)
	}
	awaitTotals(t, old, func(n httpd.Totals) bool { return n.Writing == 1 })
	done := make(chan httpd.Retired)
	go func() { done <- old.Retire(t.Context(), giveTo(next)) }()
	awaitClosed(t, addr)
	resp, body := c.do("cd")
	if body != "old|abcd" || resp.Close {
		t.Errorf("the request under way: %q, close %v", body, resp.Close)
	}
	if got := <-done; got.Moved == 0 || got.Closed != 0 {
		t.Errorf("Retire = %+v", got)
	}
	if _, body = c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); body != "next" {
		t.Errorf("the next request: %q", body)
	}
}

// Invariant 2: what the successor does not take, the old server goes on serving.
func TestRefusedConnectionDrains(t *testing.T) {
	addr, old, _ := pair(t, `server { LISTEN echo "WHO"; }`)
	c := dial(t, addr)
	c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	done := make(chan httpd.Retired)
	var asked atomic.Int32
	go func() {
		done <- old.Retire(context.Background(), func(byte, []byte, ...int) error {
			asked.Add(1)
			return errors.New("refused")
		})
	}()
	awaitClosed(t, addr)
	// Else the request is answered before anybody refused.
	until(t, "question", func() bool { return asked.Load() > 0 })
	resp, body := c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if body != "old" || !resp.Close {
		t.Errorf("after the refusal: %q, close %v", body, resp.Close)
	}
	c.ended()
	if got := <-done; got.Moved != 0 || got.Closed != 0 || asked.Load() == 0 {
		t.Errorf("Retire = %+v after asking %d times", got, asked.Load())
	}
}

func TestDownloadMovesInTheMiddle(t *testing.T) {
	t.Parallel()
	for _, sendfile := range []string{"on", "off"} {
		t.Run("sendfile "+sendfile, func(t *testing.T) {
			content := make([]byte, 4<<20)
			_, _ = rand.Read(content)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "big"), content, 0o644); err != nil {
				t.Fatal(err)
			}
			addr, old, next := pair(t, `sendfile `+sendfile+`; limit_rate 2m; root `+dir+`;
				server { LISTEN location = /who { echo WHO; } }`)
			c := dial(t, addr)
			if _, err := io.WriteString(c.nc, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if head := headOf(t, c); !strings.HasPrefix(head, "HTTP/1.1 200") {
				t.Fatal(head)
			}
			got := make([]byte, len(content))
			if _, err := io.ReadFull(c.br, got[:100<<10]); err != nil {
				t.Fatal(err)
			}
			if r := old.Retire(t.Context(), giveTo(next)); r != (httpd.Retired{Moved: 1}) {
				t.Fatalf("Retire = %+v", r)
			}
			if _, err := io.ReadFull(c.br, got[100<<10:]); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, content) {
				t.Fatal("the content differs")
			}
			if _, body := c.do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n"); body != "next" {
				t.Errorf("the next request: %q", body)
			}
		})
	}
}

// A client that does not read at all does not hold up the move either.
func TestDownloadMovesWhileTheClientDoesNotRead(t *testing.T) {
	t.Parallel()
	for _, sendfile := range []string{"on", "off"} {
		t.Run("sendfile "+sendfile, func(t *testing.T) {
			content := make([]byte, 16<<20)
			_, _ = rand.Read(content)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "big"), content, 0o644); err != nil {
				t.Fatal(err)
			}
			addr, old, next := pair(t, `sendfile `+sendfile+`; root `+dir+`;
				server { LISTEN location = /who { echo WHO; } }`)
			c := dial(t, addr)
			if _, err := io.WriteString(c.nc, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if head := headOf(t, c); !strings.HasPrefix(head, "HTTP/1.1 200") {
				t.Fatal(head)
			}
			awaitStandstill(t, c)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if r := old.Retire(ctx, giveTo(next)); r != (httpd.Retired{Moved: 1}) {
				t.Fatalf("Retire = %+v", r)
			}
			got := make([]byte, len(content))
			if _, err := io.ReadFull(c.br, got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, content) {
				t.Fatal("the content differs")
			}
			if _, body := c.do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n"); body != "next" {
				t.Errorf("the next request: %q", body)
			}
		})
	}
}

// awaitStandstill waits until no more bytes come that the client does not read.
func awaitStandstill(t *testing.T, c *client) {
	t.Helper()
	raw, err := c.nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for same := 0; same < 20; time.Sleep(5 * time.Millisecond) {
		waiting := 0
		if err := raw.Control(func(fd uintptr) { waiting, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
			t.Fatal(err)
		}
		if same++; waiting != last {
			last, same = waiting, 0
		}
	}
}

// Few connections at a time wait to be given: the others are served meanwhile,
// however long the successor takes.
func TestConnectionsAreServedUntilTheirTurn(t *testing.T) {
	addr, old, next := pair(t, `server { LISTEN echo "WHO"; }`)
	const n = 50
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dial(t, addr)
		clients[i].do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	awaitTotals(t, old, func(c httpd.Totals) bool { return c.Waiting == n })
	var asked atomic.Int32
	slow := make(chan struct{})
	release := sync.OnceFunc(func() { close(slow) })
	defer release()
	done := make(chan httpd.Retired, 1)
	go func() {
		give := giveTo(next)
		done <- old.Retire(context.Background(), func(kind byte, state []byte, fds ...int) error {
			asked.Add(1)
			<-slow
			return give(kind, state, fds...)
		})
	}()
	until(t, "question", func() bool { return asked.Load() > 0 })
	answers := make(chan string, n)
	for _, c := range clients {
		go func() {
			io.WriteString(c.nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(c.br, nil)
			if err != nil {
				answers <- err.Error()
				return
			}
			body, _ := io.ReadAll(resp.Body)
			answers <- string(body)
		}()
	}
	for i := range n {
		if i == n*3/4 {
			release() // most were answered although nobody was taken
		}
		select {
		case got := <-answers:
			if want := "old"; i < n*3/4 && got != want || !(got == want || got == "next") {
				t.Errorf("answer %d is %q", i+1, got)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%d of %d clients were answered", i, n)
		}
	}
	if got := <-done; got != (httpd.Retired{Moved: n}) {
		t.Errorf("Retire = %+v", got)
	}
}

// headOf reads a response's head.
func headOf(t *testing.T, c *client) string {
	t.Helper()
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := c.br.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		head.WriteString(line)
	}
	return head.String()
}

// awaitTotals waits until ok says that the server's counters are as they should be.
func awaitTotals(t *testing.T, s *httpd.Server, ok func(httpd.Totals) bool) {
	t.Helper()
	until(t, "totals that are right", func() bool { return ok(s.Totals()) })
}

// echoBackend switches protocols and then echoes, on every connection, and counts
// them.
func echoBackend(t *testing.T) (addr string, conns *atomic.Int32) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	conns = new(atomic.Int32)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer nc.Close()
				br := bufio.NewReader(nc)
				for line := ""; line != "\r\n"; {
					if line, err = br.ReadString('\n'); err != nil {
						return
					}
				}
				_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
				_, _ = io.Copy(nc, br)
			}()
		}
	}()
	return ln.Addr().String(), conns
}

func TestTunnelMovesAndMovesBack(t *testing.T) {
	backend, conns := echoBackend(t)
	addr, old, next := pair(t, `server { LISTEN location / {
		proxy_pass http://`+backend+`; proxy_http_version 1.1;
		proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }`)
	again := serverFor(t, t.TempDir(), addr, `server { LISTEN echo back; }`)
	c := dial(t, addr)
	if _, err := io.WriteString(c.nc, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if head := headOf(t, c); !strings.HasPrefix(head, "HTTP/1.1 101") {
		t.Fatal(head)
	}
	say := func(word string) {
		t.Helper()
		if _, err := io.WriteString(c.nc, word); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(c.br, got); err != nil || string(got) != word {
			t.Fatalf("the tunnel answered %q, %v, want %q", got, err, word)
		}
	}
	say("one")
	if got := old.Retire(t.Context(), giveTo(next)); got != (httpd.Retired{Moved: 1}) {
		t.Fatalf("Retire = %+v", got)
	}
	say("two")
	say("three")
	if got := next.Retire(t.Context(), giveTo(again)); got != (httpd.Retired{Moved: 1}) {
		t.Fatalf("Retire of the successor = %+v", got)
	}
	say("four")
	if n := conns.Load(); n != 1 {
		t.Errorf("the backend has had %d connections, want 1", n)
	}
	c.nc.Close()
	awaitTotals(t, again, func(n httpd.Totals) bool { return n.Active == 0 })
}
