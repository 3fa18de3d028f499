package httpd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/testbed"
)

// echo is a module that answers with what it was asked, where a location says so.
func echo() httpd.Module {
	return httpd.Module{
		Name:       "echo",
		Directives: []conf.Spec{{Name: "echo", In: conf.HTTPServerLocation, Min: 0, Max: 1}},
		New:        func(b *httpd.Builder) (httpd.Instance, error) { return echoes{b}, nil },
	}
}

type echoes struct{ b *httpd.Builder }

func (e echoes) Location(s *conf.Scope) (httpd.Part, error) {
	d := s.One("echo")
	if d == nil {
		return httpd.Part{}, nil
	}
	text, err := e.b.Template(d, d.Arg(0))
	if err != nil {
		return httpd.Part{}, err
	}
	return httpd.Part{Content: httpd.HandlerFunc(func(r *httpd.Request) int {
		if string(r.URI) == "/panic" {
			panic("the test wants it")
		}
		body := text.Append(nil, r)
		if again := secondAnswers[string(r.URI)]; again != nil {
			return again(r, body)
		}
		if r.Body().Length() != 0 {
			content, err := io.ReadAll(r.Body())
			switch {
			case errors.Is(err, httpd.ErrBodyTooLarge):
				return 413
			case err != nil:
				return 400
			}
			body = append(append(body, '|'), content...)
		}
		return r.Out.Send(200, []byte("text/plain"), body)
	})}, nil
}

// Carry, Restore and Passed make it a Mover, without state.
func (e echoes) Carry(*httpd.Request) []byte { return nil }

// Restore panics when the test wants it.
func (e echoes) Restore(_ *httpd.Request, state []byte) {
	if string(state) == "panic" {
		panic("the test wants it")
	}
}

func (e echoes) Passed(*httpd.Request, httpd.Passage) {}

// start runs a server for the http block's content text, which may use LISTEN, and
// returns its address.
func start(t *testing.T, text string) (addr string, s *httpd.Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	s = serverFor(t, t.TempDir(), addr, text)
	if err := s.Start(map[string][]net.Listener{addr: {ln}}); err != nil {
		t.Fatal(err)
	}
	return addr, s
}

// serverFor makes a server under prefix dir for the http block's content text, in
// which LISTEN means addr. It is closed when the test ends.
func serverFor(t *testing.T, dir, addr, text string) *httpd.Server {
	t.Helper()
	s := httpd.NewServer(siteFor(t, dir, addr, text), httpd.Env{Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		s.Close()
		s.Retire(context.Background(), nil)
	})
	return s
}

// siteFor compiles what serverFor serves.
func siteFor(t *testing.T, dir, addr, text string) *httpd.Site {
	t.Helper()
	text = "events {}\nhttp { access_log off;\n" + strings.NewReplacer("LISTEN", "listen "+addr+";", "ADDR", addr).Replace(text) + "\n}\n"
	if err := os.MkdirAll(filepath.Join(dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	all := append([]httpd.Module{echo()}, modules.All()...)
	groups := []conf.Group{conf.CoreGroup(), httpd.CoreGroup()}
	for _, m := range all {
		groups = append(groups, conf.Group{Module: m.Name, Specs: m.Directives})
	}
	table, err := conf.NewTable(groups...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(table, conf.Options{Prefix: dir})
	if err != nil {
		t.Fatal(err)
	}
	site, err := httpd.Compile(c, all, "baton/test")
	if err != nil {
		t.Fatal(err)
	}
	return site
}

// client is a connection on which raw requests are written.
type client struct {
	t  *testing.T
	nc net.Conn
	br *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	return &client{t, nc, bufio.NewReader(nc)}
}

// do writes raw and reads one response.
func (c *client) do(raw string) (*http.Response, string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, raw); err != nil {
		c.t.Fatal(err)
	}
	return c.read()
}

func (c *client) read() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(body)
}

// ended fails the test unless the server ends the connection in good order.
func (c *client) ended() {
	c.t.Helper()
	if b, err := c.br.ReadByte(); err != io.EOF {
		c.t.Fatalf("read = %q, %v, want the end of the connection", b, err)
	}
}

func TestKeepAliveConnectionServesManyRequests(t *testing.T) {
	addr, _ := start(t, `server { LISTEN location / { echo "$uri?$args"; } }`)
	c := dial(t, addr)
	for range 3 {
		resp, body := c.do("GET /a%20b/../c?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp.StatusCode != 200 || body != "/c?x=1" || resp.Header.Get("Connection") != "keep-alive" {
			t.Fatalf("status %d, body %q, header %v", resp.StatusCode, body, resp.Header)
		}
	}
	resp, _ := c.do("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n")
	if !resp.Close {
		t.Error("the response does not say Connection: close")
	}
	c.ended()
}

func TestPipelinedRequestsWithBodies(t *testing.T) {
	addr, _ := start(t, `server { LISTEN echo $uri; }`)
	c := dial(t, addr)
	resp, body := c.do("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n" +
		"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp.StatusCode != 200 || body != "/1|abc" {
		t.Fatalf("first: %d %q", resp.StatusCode, body)
	}
	if _, body = c.read(); body != "/2|def" {
		t.Fatalf("second: %q", body)
	}
	if _, body = c.read(); body != "/3" {
		t.Fatalf("third: %q", body)
	}
}

// Invariant 3: a retiring worker answers the next request on an idle connection
// once more, with Connection: close, and never cuts it before.
func TestRetiringServerAnswersIdleConnectionOnceMore(t *testing.T) {
	addr, s := start(t, `server { LISTEN echo $uri; }`)
	c := dial(t, addr)
	c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	done := make(chan httpd.Retired)
	go func() { done <- s.Retire(context.Background(), nil) }()
	awaitClosed(t, addr)
	resp, body := c.do("GET /last HTTP/1.1\r\nHost: a\r\n\r\n")
	if body != "/last" || !resp.Close {
		t.Errorf("body %q, close %v", body, resp.Close)
	}
	c.ended()
	if got := <-done; got.Closed != 0 {
		t.Errorf("Retire: %+v", got)
	}
}

// until waits for what, and asks ok whether it is so.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testbed.WaitFor(t, what, ok)
}

// awaitClosed waits until nobody listens on addr.
func awaitClosed(t *testing.T, addr string) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	// To connect would make a connection that is counted with the others.
	listening := fmt.Sprintf(" 0100007F:%04X 00000000:0000 0A ", n)
	until(t, "close of the listener", func() bool {
		sockets, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			t.Fatal(err)
		}
		return !strings.Contains(string(sockets), listening)
	})
}

// A fault that one request brings out costs its connection and no other.
func TestPanicEndsItsConnectionOnly(t *testing.T) {
	addr, s := start(t, `server { LISTEN echo $uri; }`)
	other, victim := dial(t, addr), dial(t, addr)
	other.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := io.WriteString(victim.nc, "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	victim.ended()
	if _, body := other.do("GET /still HTTP/1.1\r\nHost: a\r\n\r\n"); body != "/still" {
		t.Errorf("the other connection: %q", body)
	}
	if n := s.Totals(); n.Active != 1 {
		t.Errorf("%d connections are counted, want 1", n.Active)
	}
}
