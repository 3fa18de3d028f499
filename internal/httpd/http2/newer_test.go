package http2_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"golang.org/x/net/http2"
)

// What nginx has come to refuse, or to take, since 1.22: the answers are those of 1.31.5.
// A request that is malformed is answered, and then reset.
func TestHeadsAsNewerNginx(t *testing.T) {
	p := start(t, config)
	g := get("/echo").fields
	for name, c := range map[string]struct {
		q      question
		status int
	}{
		"upgrade":           {get("/echo", "upgrade: websocket", "connection: upgrade"), 400},
		"chunked":           {ask("POST", "/back", "transfer-encoding: chunked").with("hello"), 400},
		"another coding":    {ask("POST", "/back", "transfer-encoding: gzip").with("hello"), 400},
		"two hosts":         {get("/echo", "host: www.example.com"), 200},
		"late pseudo":       {of("x: y", g[0], g[1], g[2], g[3]), 400},
		"large name":        {get("/echo", "Large: x"), 400},
		"name with space":   {get("/echo", "a b: x"), 400},
		"name with colon":   {get("/echo", "a:b: x"), 400},
		"line break":        {get("/echo", "x: a\r\ny: b"), 400},
		"nul in value":      {get("/echo", "x: a\x00b"), 400},
		"keep-alive":        {get("/echo", "keep-alive: timeout=5"), 400},
		"te":                {get("/echo", "te: gzip"), 400},
		"te trailers":       {get("/echo", "te: trailers"), 200},
		"te twice":          {get("/echo", "te: trailers", "te: trailers"), 400},
		"control in name":   {get("/echo", "a\x02: x"), 400},
		"line break in it":  {get("/echo", "a\r\nb: x"), 400},
		"other host":        {get("/echo", "host: other.example.com"), 400},
		"host three times":  {get("/echo", "host: www.example.com", "host: www.example.com"), 400},
		"empty authority":   {of(g[0], g[1], g[2], ":authority: "), 400},
		"neither host":      {of(g[0], g[1], g[2]), 400},
		"authority twice":   {get("/echo", ":authority: www.example.com"), 400},
		"trace":             {of(":method: TRACE", g[1], g[2], g[3]), 405},
		"connect":           {of(":method: CONNECT", g[1], g[2], g[3]), 405},
		"connect to a host": {of(":method: CONNECT", g[3]), 400},
	} {
		t.Run(name, func(t *testing.T) {
			client := dial(t, p.Baton)
			client.ask(1, c.q.body == nil, c.q.fields...)
			for i, data := range c.q.body {
				_ = client.WriteData(1, i == len(c.q.body)-1, []byte(data))
			}
			if a := client.answer(1); a.Status != fmt.Sprint("HTTP/2 ", c.status) || a.Err != "" {
				t.Fatalf("got %s", a)
			}
			if c.status == 400 {
				if a := client.answer(1); a.Err != "RST_STREAM PROTOCOL_ERROR" {
					t.Errorf("behind the answer came %s", a)
				}
			}
		})
	}
}

// Content beyond the length that was declared is refused, also where it goes to the
// server piece by piece and comes when all that was promised is there already.
func TestContentBeyondItsLength(t *testing.T) {
	asked := make(chan int64, 10)
	ended := make(chan error, 10)
	port := backendOf(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- r.ContentLength
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
		<-r.Context().Done()
	})
	p := start(t, `server {
		listen ADDR http2;
		location /off { proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://127.0.0.1:`+port+`; }
		location / { proxy_pass http://127.0.0.1:`+port+`; }
	}`)
	for _, path := range []string{"/off", "/on"} {
		client := dial(t, p.Baton)
		client.ask(1, false, ask("POST", path, "content-length: 5").fields...)
		_ = client.WriteData(1, false, []byte("hello"))
		if path == "/off" {
			if n := <-asked; n != 5 {
				t.Errorf("the server was told a length of %d", n)
			}
			<-ended
		}
		_ = client.WriteData(1, false, []byte("!"))
		if a := client.answer(1); a.Status != "HTTP/2 400" {
			t.Errorf("%s: got %s", path, a)
		}
	}
}

// backendOf is a server that handles with h, and returns its port.
func backendOf(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
}

// A server without HTTP/2 is not served on a connection that began with another's; a
// field must fit one of the buffers for large fields; and a connection of some age serves
// its last request, by either protocol.
func TestLimitsAsNewerNginx(t *testing.T) {
	p := sidebyside.StartAlone(t, `
		server { listen ADDR; http2 on; server_name default; large_client_header_buffers 4 512; keepalive_time 1ms; return 200 ok; }
		server { listen ADDR; server_name other.example.com; return 200 other; }`, nil)
	g := get("/").fields
	client := dial(t, p.Baton)
	client.ask(1, true, g[0], g[1], g[2], ":authority: other.example.com")
	if a := client.answer(1); a.Status != "HTTP/2 421" {
		t.Errorf("of a server without HTTP/2: %s", a)
	}
	client.ask(3, true, get("/", "x: "+strings.Repeat("~", 513)).fields...)
	if a := client.answer(3); a.Err != "GOAWAY ENHANCE_YOUR_CALM" {
		t.Errorf("to a field that is too large: %s", a)
	}

	client = dial(t, p.Baton)
	for id, told := uint32(1), false; !told; id += 2 {
		client.ask(id, true, g...)
		for ended := false; !ended; {
			f, err := client.ReadFrame()
			if err != nil {
				t.Fatal("no GOAWAY of an old connection: ", err)
			}
			d, ok := f.(*http2.DataFrame)
			ended = ok && d.StreamEnded()
			_, ok = f.(*http2.GoAwayFrame)
			told = told || ok
		}
	}

	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	time.Sleep(10 * time.Millisecond) // it has its age
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if all, err := io.ReadAll(c); err != nil || !strings.Contains(string(all), "\r\nConnection: close\r\n") {
		t.Errorf("an old connection goes on: %q, %v", all, err)
	}
}

// What comes with the end of a body that is shorter than was said is not passed on.
func TestContentShortOfItsLength(t *testing.T) {
	got := make(chan string, 10)
	port := backendOf(t, func(_ http.ResponseWriter, r *http.Request) {
		var first [4]byte
		_, _ = io.ReadFull(r.Body, first[:])
		got <- string(first[:])
		rest, _ := io.ReadAll(r.Body)
		got <- string(rest)
	})
	p := start(t, `server {
		listen ADDR http2;
		location / { proxy_request_buffering off; proxy_http_version 1.1; proxy_pass http://127.0.0.1:`+port+`; }
	}`)
	client := dial(t, p.Baton)
	client.ask(1, false, ask("POST", "/", "content-length: 10").fields...)
	_ = client.WriteData(1, false, []byte("0123"))
	if s := <-got; s != "0123" {
		t.Errorf("first came %q", s)
	}
	_ = client.WriteData(1, true, []byte("45678"))
	if a := client.answer(1); a.Status != "HTTP/2 400" {
		t.Errorf("got %s", a)
	}
	if s := <-got; s != "" {
		t.Errorf("then came %q", s)
	}
}
