package http2_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
	"golang.org/x/net/http2"
)

// A trouble is a server behind the two that does what it should not.
type trouble struct {
	addr     string
	hanging  chan context.Context // of requests for /hang, which end with their context
	answered chan struct{}        // when all of /large was taken
}

const largeSize = 4 << 20

func startTrouble(t *testing.T) *trouble {
	t.Helper()
	b := &trouble{hanging: make(chan context.Context, 1000), answered: make(chan struct{}, 10)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = ln.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(b.serve)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return b
}

func (b *trouble) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/dies":
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "/switches":
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		c.Close()
	case "/hang":
		b.hanging <- r.Context()
		<-r.Context().Done()
	case "/begins":
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		b.hanging <- r.Context()
		<-r.Context().Done()
	case "/large":
		if _, err := w.Write(make([]byte, largeSize)); err == nil {
			b.answered <- struct{}{}
		}
	}
}

// startWith runs both servers in front of b.
func (b *trouble) startWith(t *testing.T) *sidebyside.Pair {
	t.Helper()
	return sidebyside.Start(t, `
		log_format short '$status $request $body_bytes_sent';
		access_log logs/access.log short;
		server {
			listen ADDR http2;
			http2_max_concurrent_streams 10;
			location / { proxy_pass http://`+b.addr+`; proxy_http_version 1.1; proxy_set_header Upgrade $http_x_upgrade; }
			location /status { stub_status; }
		}`, nil)
}

// logged waits for a line of Baton's access log.
func logged(t *testing.T, p *sidebyside.Pair, line string) {
	t.Helper()
	testbed.WaitFor(t, fmt.Sprintf("%q in the log", line), func() bool {
		_, log := p.Logs("logs/access.log")
		return strings.Contains(log, line+"\n")
	})
}

// What a server behind us spoils, the client can tell from what is whole.
func TestServersThatFail(t *testing.T) {
	t.Parallel()
	p := startTrouble(t).startWith(t)
	p1 := dial(t, p.Baton)
	p1.ask(1, true, get("/dies").fields...)
	if a := p1.answer(1); a.Body != "half" || a.Err != "RST_STREAM INTERNAL_ERROR" {
		t.Errorf("of an answer that was cut: %v", a)
	}
	logged(t, p, "200 GET /dies HTTP/2.0 4")
	p1.ask(3, true, get("/switches", "x-upgrade: x").fields...)
	if a := p1.answer(3); a.Code() != "502" {
		t.Errorf("to switched protocols: %v", a)
	}
}

// A request that the client takes back is taken back from the server, and logged so.
func TestClientGivesUp(t *testing.T) {
	t.Parallel()
	b := startTrouble(t)
	p := b.startWith(t)
	c := dial(t, p.Baton)
	c.ask(1, true, get("/hang").fields...)
	hanging := <-b.hanging
	_ = c.WriteRSTStream(1, http2.ErrCodeCancel)
	<-hanging.Done()
	logged(t, p, "499 GET /hang HTTP/2.0 0")
}

// A body that does not come to its end is logged, and its stream reset, as by nginx.
func TestBodyThatStops(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		log_format short '$status $request $body_bytes_sent';
		access_log logs/access.log short;
		client_body_timeout 100ms;
		server {
			listen ADDR http2;
			location / { client_body_timeout 60s; proxy_pass http://127.0.0.1:1; }
			location /late { proxy_pass http://127.0.0.1:1; }
		}`, nil)
	for _, addr := range []string{p.Nginx, p.Baton} {
		for _, more := range [][]string{nil, {"content-length: 10"}} {
			c := dial(t, addr)
			c.ask(1, false, ask("POST", "/late", more...).fields...)
			_ = c.WriteData(1, false, []byte("some"))
			if a := c.answer(1); a.Err != "RST_STREAM PROTOCOL_ERROR" {
				t.Errorf("%s, which waited for long, ends the stream with %v", addr, a)
			}
			c.ask(3, false, ask("POST", "/reset", more...).fields...)
			c.begun(3)
			_ = c.WriteRSTStream(3, http2.ErrCodeCancel)
			c.ask(5, false, ask("POST", "/gone", more...).fields...)
			c.begun(5)
			c.Conn.Close()
		}
	}
	p.SameLogs("logs/access.log", nil)
}

// begun waits until the server wants the body on stream id.
func (p *peer) begun(id uint32) {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatal(err)
		}
		if w, ok := f.(*http2.WindowUpdateFrame); ok && w.StreamID == id {
			return
		}
	}
}

// Streams that are given up again and again do not become more and more requests to the
// server behind us, and others are served meanwhile.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	b := startTrouble(t)
	p := b.startWith(t)
	c := dial(t, p.Baton)
	go func() { // until the connection is closed
		block := []byte{0x82, 0x86, 0x04, 5, '/', 'h', 'a', 'n', 'g', 0x41, 1, 'h'}
		for id := uint32(1); ; id += 2 {
			if c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}) != nil ||
				c.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	if a := c.answer(1<<31 - 1); a.Err != "GOAWAY ENHANCE_YOUR_CALM" {
		t.Errorf("the connection ended with %v", a)
	}
	if n := len(b.hanging); n > 20 {
		t.Errorf("%d requests went to the server", n)
	}
	other := dial(t, p.Baton)
	other.ask(1, true, get("/status").fields...)
	if a := other.answer(1); a.Code() != "200" {
		t.Errorf("another client is answered with %v", a)
	}
}

// A client that shuts its window does not hold the server behind us, and gets all of
// its answer in the end.
func TestSlowClientOfAServer(t *testing.T) {
	t.Parallel()
	b := startTrouble(t)
	p := b.startWith(t)
	c := dial(t, p.Baton, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	c.ask(1, true, get("/large").fields...)
	select {
	case <-b.answered:
	case <-time.After(waitLimit):
		t.Fatal("the server waits for the client")
	}
	_ = c.WriteWindowUpdate(0, largeSize)
	_ = c.WriteWindowUpdate(1, largeSize)
	if a := c.answer(1); a.Err != "" || len(a.Body) != largeSize {
		t.Errorf("%d bytes, %q", len(a.Body), a.Err)
	}
}

// An answer that has only begun is told to the client although there are other answers on
// its connection, neither when these are over nor when there is more of it.
func TestHeadWaitsForRoom(t *testing.T) {
	t.Parallel()
	b := startTrouble(t)
	p := b.startWith(t)
	c := dial(t, p.Baton, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = c.WriteWindowUpdate(0, 1<<30)
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	for id := uint32(1); id < 9; id += 2 { // more than sockets hold
		c.ask(id, true, get("/large").fields...)
		<-b.answered
	}
	begun := map[uint32]bool{}
	for id := uint32(9); id < 19; id += 2 { // the first ones have waited when the last is asked for
		c.ask(id, true, get("/begins").fields...)
		<-b.hanging
		begun[id] = true
	}
	for over := 0; len(begun) > 0; {
		f, err := c.ReadFrame()
		if err != nil || over == 4 {
			t.Fatalf("%d heads have not come when %d others are over: %v", len(begun), over, err)
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			delete(begun, f.StreamID)
		case *http2.DataFrame:
			if f.StreamEnded() {
				over++
			}
		}
	}
}

// Streams count as nginx counts them: one connection, and each is written to.
func TestCounts(t *testing.T) {
	t.Parallel()
	b := startTrouble(t)
	p := b.startWith(t)
	for _, addr := range []string{p.Nginx, p.Baton} {
		c := dial(t, addr)
		for id := uint32(1); id < 7; id += 2 {
			c.ask(id, true, get("/hang").fields...)
			<-b.hanging
		}
		c.ask(7, true, get("/status").fields...)
		told := c.answer(7).Body
		c.Conn.Close()
		// The harness asked nginx before whether it is there.
		if accepted := strings.Contains(told, " 1 1 4 ") || addr == p.Nginx && strings.Contains(told, " 2 2 4 "); !accepted ||
			!strings.Contains(told, "Active connections: 1 ") || !strings.Contains(told, "Reading: 0 Writing: 4 ") {
			t.Errorf("at %s:\n%s", addr, told)
		}
	}
}
