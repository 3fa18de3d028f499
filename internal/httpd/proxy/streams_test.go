package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed/backend"
)

// startBackend runs the real HTTP backend of the test bed.
func startBackend(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- backend.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// dial opens a connection that ends with the test, after 20 s at the latest.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// waitFor calls ok until it reports true, and fails the test after 10s with what.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// rss is the resident memory of this process in bytes.
func rss(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// A pattern is a body of n bytes; the byte at each place is always the same.
type pattern struct {
	at, n int64
	noise bool // does not compress
}

// patternBlock repeats in a pattern; its length is a prime, so that no buffer's
// beginning looks like another's.
var patternBlock = bytes.Repeat([]byte("0123456789 the quick brown fox jumps over the lazy dog\n"), 1200)[:65521]

// noiseBlock repeats in a pattern with noise, farther apart than a compressor looks.
var noiseBlock = func() []byte {
	b := make([]byte, 65521)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	if int64(len(b)) > p.n-p.at {
		b = b[:p.n-p.at]
	}
	block := patternBlock
	if p.noise {
		block = noiseBlock
	}
	k := copy(b, block[p.at%int64(len(block)):])
	p.at += int64(k)
	return k, nil
}

func TestLargeBodiesDoNotStayInMemory(t *testing.T) {
	up := startBackend(t)
	p := sidebyside.Start(t, `
client_max_body_size 0;
upstream u { server `+up+`; keepalive 4; }
server {
	listen ADDR;
	proxy_http_version 1.1;
	location / { proxy_pass http://u; }
	location /stream/ { proxy_pass http://u/; proxy_request_buffering off; }
}`, nil)
	const size = 64 << 20
	want := sha256.New()
	if _, err := io.Copy(want, &pattern{n: size}); err != nil {
		t.Fatal(err)
	}
	before := rss(t)
	for _, test := range []struct{ path, length string }{
		{"/echo", "known"}, {"/stream/echo", "known"}, {"/stream/echo", "chunked"},
	} {
		req, err := http.NewRequest("POST", "http://"+p.Baton+test.path, &pattern{n: size})
		if err != nil {
			t.Fatal(err)
		}
		if test.length == "known" {
			req.ContentLength = size
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got := sha256.New()
		n, err := io.Copy(got, resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Errorf("%s %s: %v", test.path, test.length, err)
		}
		if n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
			t.Errorf("%s %s: %d bytes came back, or other ones", test.path, test.length, n)
		}
	}
	resp, err := http.Get("http://" + p.Baton + "/big/" + strconv.Itoa(size))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if n != size || err != nil {
		t.Errorf("/big: %d bytes, %v", n, err)
	}
	slowly(t, p.Baton, "/big/"+strconv.Itoa(size))
	waitFor(t, "the answer lies in a file", func() bool { n, _ := tempBytes(t, "proxy_temp"); return n > size/2 })
	if grown := rss(t) - before; grown > 32<<20 {
		t.Errorf("resident memory grew by %d MB for bodies of %d MB", grown>>20, size>>20)
	}
}

func TestBodiesOfManySizes(t *testing.T) {
	up := startBackend(t)
	p := sidebyside.Start(t, `
client_max_body_size 1m;
client_body_buffer_size 8k;
server {
	listen ADDR;
	location / { proxy_pass http://`+up+`; }
	location /11/ { proxy_pass http://`+up+`/; proxy_http_version 1.1; }
	location /small { proxy_pass http://`+up+`/echo; client_max_body_size 10; }
}`, nil)
	for _, size := range []int{0, 1, 1000, 4096, 8191, 8192, 8193, 10000, 10241, 50_000, 1 << 20} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		p.Same(sidebyside.Ask("POST", "/11/echo", fmt.Sprintf("Content-Length: %d", size)) + body)
		p.Same(sidebyside.Ask("PUT", "/echo", "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", max(size, 1), body+strings.Repeat("x", max(0, 1-size))))
		p.Same(sidebyside.Get(fmt.Sprintf("/big/%d", size)))
		p.Same(sidebyside.Get(fmt.Sprintf("/11/chunked/%d", size)))
	}
	p.Same(sidebyside.Ask("POST", "/small", "Content-Length: 11") + "hello world")
	p.Same(sidebyside.Ask("POST", "/small", "Transfer-Encoding: chunked") + "b\r\nhello world\r\n0\r\n\r\n")
	p.Same(sidebyside.Ask("POST", "/11/echo", "Transfer-Encoding: chunked") + "zz\r\n")
}

func TestKeptConnectionIsUsedAgain(t *testing.T) {
	var conns, left atomic.Int64
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		conns.Add(1)
		echo(c, br)
		left.Add(1)
	})
	p := sidebyside.Start(t, `
upstream u { server `+addr+`; keepalive 1; keepalive_requests 5; }
upstream short { server `+addr+`; keepalive 1; keepalive_timeout 50ms; }
server { listen ADDR; proxy_http_version 1.1; proxy_set_header Connection "";
	location / { proxy_pass http://u; } location /short { proxy_pass http://short; } }`, nil)
	get := func(path string) {
		resp, err := http.Get("http://" + p.Baton + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	for range 10 {
		get("/")
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("10 requests with keepalive_requests 5 took %d connections, want 2", n)
	}
	conns.Store(0)
	get("/short")
	waitFor(t, "an idle connection ends with keepalive_timeout", func() bool { return left.Load() >= 3 })
	get("/short")
	if n := conns.Load(); n != 2 {
		t.Errorf("2 requests with a keepalive_timeout in between took %d connections", n)
	}
}

// A kept connection that the server closes is not a failure of the server: the
// request is sent again on a new one.
func TestStaleConnectionIsRetried(t *testing.T) {
	var requests atomic.Int64
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, _, err := readRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if _, _, err := readRequest(br); err == nil {
			requests.Add(1) // and closes without an answer
		}
	})
	p := sidebyside.Start(t, `
upstream u { server `+addr+`; keepalive 4; }
server { listen ADDR; proxy_http_version 1.1; proxy_set_header Connection ""; location / { proxy_pass http://u; } }`, nil)
	for range 4 {
		if a := p.Same(sidebyside.Get("/")); a.Code() != "200" {
			t.Errorf("status %s", a.Code())
		}
	}
	if requests.Load() == 0 {
		t.Error("no request was sent on a kept connection")
	}
}

func TestWebSocketThroughProxy(t *testing.T) {
	t.Parallel()
	up := startBackend(t)
	p := sidebyside.Start(t, `
log_format s '$status $upstream_status $body_bytes_sent';
access_log logs/ws.log s;
server { listen ADDR; location / { proxy_pass http://`+up+`; proxy_http_version 1.1;
	proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_read_timeout 500ms; } }`, nil)
	ws, err := websocket.Dial("ws://"+p.Baton+"/ws", "", "http://"+p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	_ = ws.SetDeadline(time.Now().Add(time.Minute))
	var start time.Time
	for i := range 100 {
		start = time.Now()
		text := strings.Repeat(strconv.Itoa(i), i*20+1)
		if err := websocket.Message.Send(ws, text); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := websocket.Message.Receive(ws, &got); err != nil || got != text {
			t.Fatalf("message %d came back as %d bytes, %v", i, len(got), err)
		}
	}
	var got string
	if err := websocket.Message.Receive(ws, &got); err == nil {
		t.Error("a silent tunnel outlived proxy_read_timeout")
	}
	if d := time.Since(start); d < 500*time.Millisecond || d > 30*time.Second {
		t.Errorf("a silent tunnel ended after %v, want 500ms", d)
	}
	waitFor(t, "the tunnel is logged", func() bool {
		_, baton := p.Logs("logs/ws.log")
		return strings.HasPrefix(baton, "101 101 ")
	})
}

// A client that goes away while the server thinks ends the request: 499.
func TestClientGoesAway(t *testing.T) {
	var asked, ended atomic.Int64
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, _, err := readRequest(br); err != nil {
			return
		}
		asked.Add(1)
		_, _ = io.Copy(io.Discard, br)
		ended.Add(1)
	})
	p := sidebyside.Start(t, `
log_format s '$request $status $upstream_status';
access_log logs/s.log s;
server { listen ADDR; location / { proxy_pass http://`+addr+`; } }`, nil)
	for _, server := range []string{p.Nginx, p.Baton} {
		ended.Store(0)
		asked.Store(0)
		c := dial(t, server)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		waitFor(t, "the request arrives", func() bool { return asked.Load() == 1 })
		c.Close()
		waitFor(t, "the server's connection ends with the client's", func() bool { return ended.Load() == 1 })
	}
	p.SameLogs("logs/s.log", nil)
}

// Events reach the client at once, with proxy_buffering on too.
func TestEventsAreNotHeldBack(t *testing.T) {
	heard := make(chan struct{})
	defer close(heard)
	up := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, _, err := readRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: first\n\n")
		<-heard
		_, _ = io.WriteString(c, "data: last\n\n")
	})
	p := sidebyside.Start(t, `server { listen ADDR; location / { proxy_pass http://`+up+`; proxy_http_version 1.1; } }`, nil)
	resp, err := (&http.Client{Timeout: time.Minute}).Get("http://" + p.Baton + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	br := bufio.NewReader(resp.Body)
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	heard <- struct{}{}
	rest, err := io.ReadAll(br)
	if err != nil || !bytes.Contains(rest, []byte("data: last")) {
		t.Errorf("rest %q, %v", rest, err)
	}
}

// A server that answers before it has the whole body is heard.
func TestEarlyAnswer(t *testing.T) {
	answered := make(chan struct{})
	defer close(answered)
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			line, err := br.ReadString('\n')
			if err != nil || line == "\r\n" {
				break
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 413 Enough\r\nContent-Length: 6\r\n\r\nenough")
		<-answered // it does not read on: the proxy's writes block
	})
	p := sidebyside.Start(t, `client_max_body_size 0;
server { listen ADDR; location / { proxy_pass http://`+addr+`; } location /s { proxy_pass http://`+addr+`; proxy_request_buffering off; } }`, nil)
	for _, path := range []string{"/", "/s"} {
		c := dial(t, p.Baton)
		const size = 16 << 20
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", path, size)
		go func() { _, _ = io.Copy(c, &pattern{n: size}) }() // ends with the connection
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != 413 || string(body) != "enough" {
			t.Errorf("%s: %d %q %v", path, resp.StatusCode, body, err)
		}
	}
}

// An answer that only says to wait (1xx) does not end the sending of the request.
func TestInterimAnswers(t *testing.T) {
	const size = 8 << 20
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			line, err := br.ReadString('\n')
			if err != nil || line == "\r\n" {
				break
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
		n, _ := io.CopyN(io.Discard, br, size)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d", len(fmt.Sprint(n)), n)
	})
	p := sidebyside.Start(t, `client_max_body_size 0;
server { listen ADDR; location / { proxy_pass http://`+addr+`; } location /s { proxy_pass http://`+addr+`; proxy_request_buffering off; } }`, nil)
	for _, path := range []string{"/", "/s"} {
		resp, err := http.Post("http://"+p.Baton+path, "text/plain", io.LimitReader(&pattern{n: size}, size))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(body) != fmt.Sprint(size) {
			t.Errorf("%s: %d, %s of %d bytes arrived, %v", path, resp.StatusCode, body, size, err)
		}
	}
}

// A proxied location in an if or limit_except block is the one around it.
func TestProxyInIf(t *testing.T) {
	addr := sidebyside.Script(t, echo)
	p := sidebyside.Start(t, `
server { listen ADDR;
	location / { proxy_pass http://`+addr+`; proxy_set_header Host $http_host; proxy_set_header Connection ""; proxy_set_header X-Outer 1; if ($arg_a) { set $x 1; } }
	location /b/ { if ($arg_a) { proxy_pass http://`+addr+`; } return 204; }
	location /r/ { rewrite ^/r/(.*)$ /new/$1 break; proxy_pass http://`+addr+`; }
	location /ru/ { rewrite ^/ru/(.*)$ /ru/new/$1?z=1 break; proxy_pass http://`+addr+`/u/; }
}`, nil)
	for _, target := range []string{"/", "/?a=1", "/b/", "/b/?a=1", "/r/a%20b?c", "/ru/x%20y?c"} {
		p.Same(sidebyside.Get(target))
	}
}
