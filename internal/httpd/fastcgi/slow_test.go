package fastcgi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A client that takes nothing for a while does not hold the server, which is done
// long before.
func TestServerIsFreeBeforeASlowClientHasAll(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	content := strings.Repeat("0123456789abcdef", size/16)
	done := make(chan struct{})
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, out(plain+content)+finish())
		_, _ = br.ReadByte() // the end
		close(done)
	})
	p := sidebyside.Start(t, `server { listen ADDR; location / { fastcgi_pass `+addr+`; } }`, nil)
	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, sidebyside.Get("/")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the server waits for a client that does not read")
	}
	if _, log := p.Logs("logs/error.log"); !strings.Contains(log, "is buffered to a temporary file") || !strings.Contains(log, "/fastcgi_temp/") {
		t.Errorf("log = %s", log)
	}
	if a := sidebyside.ReadAnswer(bufio.NewReaderSize(c, 64<<10), "GET"); a.Body != content || a.Err != "" {
		t.Errorf("%d bytes, %s; want %d", len(a.Body), a.Err, len(content))
	}
}

// What a server complains about without end is logged and does not pile up.
func TestFloodOfStderr(t *testing.T) {
	t.Parallel()
	flood := strings.Repeat(record(stderr, strings.Repeat("trouble ", 4000), 3), 30)
	addr := says(t, flood+out(plain+"hello")+flood+finish())
	p := sidebyside.Start(t, `server { listen ADDR; location / { fastcgi_pass `+addr+`; } }`, nil)
	if _, a := p.Do(sidebyside.Get("/")); a.Code() != "200" || a.Body != "hello" { // nginx answers 502
		t.Errorf("answer = %s", a)
	}
	if _, log := p.Logs("logs/error.log"); !strings.Contains(log, "FastCGI sent in stderr: \"trouble") {
		t.Errorf("log = %.300q", log)
	}
}

// A connection is used again only when END_REQUEST has come and nothing behind it.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		conf, answer string
		want         int64 // connections for five requests
	}{
		"kept":     {"fastcgi_keep_conn on;", out(plain+"hello") + finish(), 1},
		"not kept": {"", out(plain+"hello") + finish(), 5},
		"excess":   {"fastcgi_keep_conn on;", out(plain+"hello") + finish() + "x", 5},
		"length":   {"fastcgi_keep_conn on;", out("Content-Length: 5\r\n\r\nhello") + finish(), 1},
		"too much": {"fastcgi_keep_conn on;", out("Content-Length: 3\r\n\r\nhello") + finish(), 5},
	} {
		var conns atomic.Int64
		addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
			conns.Add(1)
			for {
				if _, err := readRequest(br); err != nil {
					return
				}
				_, _ = io.WriteString(c, test.answer)
				if test.conf == "" {
					return // as it was asked to
				}
			}
		})
		p := sidebyside.Start(t, `upstream u { server `+addr+`; keepalive 2; }
			server { listen ADDR; location / { `+test.conf+` fastcgi_pass u; } }`, nil)
		for range 5 {
			nginx, baton := p.Do(sidebyside.Get("/"))
			if nginx.Body != baton.Body || baton.Code() != "200" {
				t.Errorf("%s: %s", name, baton)
			}
		}
		if n := conns.Load(); n != 2*test.want {
			t.Errorf("%s: %d connections for both servers, want %d for each", name, n, test.want)
		}
	}
}

// The body that a client sends piece by piece reaches the server so, and the answer
// the client while it still sends.
func TestBodyIsStreamed(t *testing.T) {
	t.Parallel()
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		first := true
		_, _ = io.WriteString(c, out(plain))
		for {
			var head [8]byte
			if _, err := io.ReadFull(br, head[:]); err != nil {
				return
			}
			content := make([]byte, int(head[4])<<8|int(head[5]))
			if _, err := io.ReadFull(br, content); err != nil {
				return
			}
			_, _ = br.Discard(int(head[6]))
			switch {
			case head[1] != stdin:
			case len(content) > 0:
				_, _ = io.WriteString(c, out("<"+string(content)+">"))
			case !first:
				_, _ = io.WriteString(c, finish())
				return
			}
			first = first && head[1] != stdin
		}
	})
	p := sidebyside.Start(t, `server { listen ADDR; location / {
		fastcgi_request_buffering off; fastcgi_buffering off; fastcgi_pass `+addr+`; } }`, nil)
	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 18\r\n\r\n")
	br := bufio.NewReader(c)
	got := ""
	for i := range 3 {
		piece := fmt.Sprintf("piece%d", i)
		_, _ = io.WriteString(c, piece)
		for !strings.Contains(got, "<"+piece+">") {
			line, err := br.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v", got, err)
			}
			got += line
		}
	}
	rest, err := io.ReadAll(br)
	if err != nil || !strings.HasSuffix(string(rest), "0\r\n\r\n") {
		t.Errorf("the end is %q, %v", rest, err)
	}
}

// A small answer whose end comes a moment after the rest is one packet for the client,
// with buffering; one whose end takes long does not wait for it.
func TestSmallAnswerWaitsForItsEndABit(t *testing.T) {
	t.Parallel()
	const thinking = 3 * time.Millisecond
	got := make(chan struct{}, 1)
	server := func(think func()) string {
		return sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
			if _, err := readRequest(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, out(plain+"hello"))
			think()
			_, _ = io.WriteString(c, finish())
		})
	}
	soon, late := server(func() { <-time.After(thinking) }), server(func() { <-got })
	p := sidebyside.Start(t, `server { listen ADDR; location /soon { fastcgi_pass `+soon+`; }
		location /late { fastcgi_pass `+late+`; } }`, nil)
	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4096)
	ask := func(uri string) string {
		_, _ = io.WriteString(c, "GET "+uri+" HTTP/1.1\r\nHost: x\r\n\r\n")
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	const end = "0\r\n\r\n"
	whole := 0
	for range 20 { // the machine may be busy once
		first := ask("/soon")
		if strings.HasSuffix(first, end) {
			whole++
			continue
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	if whole == 0 {
		t.Error("the end came apart 20 times")
	}
	first := ask("/late")
	if !strings.Contains(first, "hello") || strings.HasSuffix(first, end) {
		t.Errorf("first came %q", first)
	}
	got <- struct{}{}
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != end {
		t.Errorf("then %q, %v", buf[:n], err)
	}
}
