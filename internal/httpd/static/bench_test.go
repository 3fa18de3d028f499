package static_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A client asks for the same thing again and again on one connection, without
// garbage of its own.
type client struct {
	t    testing.TB
	c    net.Conn
	ask  []byte
	size int // of each answer
	buf  []byte
}

func newClient(t testing.TB, addr, target string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	cl := &client{t: t, c: c, ask: []byte("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n"), buf: make([]byte, 1<<20)}
	// The first answer tells how long they all are: it is over when the next asked
	// for would begin.
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(cl.ask); err != nil {
		t.Fatal(err)
	}
	for n := 0; cl.size == 0; {
		k, err := c.Read(cl.buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += k
		cl.size = answerSize(string(cl.buf[:n]), n)
	}
	return cl
}

// answerSize is n when text is a whole answer, else 0.
func answerSize(text string, n int) int {
	head, body, ok := strings.Cut(text, "\r\n\r\n")
	if !ok {
		return 0
	}
	_, rest, ok := strings.Cut(head, "Content-Length: ")
	if !ok {
		return 0
	}
	length := 0
	for i := 0; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
		length = length*10 + int(rest[i]-'0')
	}
	if len(body) < length {
		return 0
	}
	return n
}

func (cl *client) once() {
	if _, err := cl.c.Write(cl.ask); err != nil {
		cl.t.Fatal(err)
	}
	if _, err := io.ReadFull(cl.c, cl.buf[:cl.size]); err != nil {
		cl.t.Fatal(err)
	}
}

const benchSite = `
	types { text/html html; }
	sendfile on;
	keepalive_requests 1000000000;
	access_log off;
	server {
		listen ADDR;
		root ROOT;
		location /cached/ { alias ROOT/; open_file_cache max=10; }
		location /logged/ { alias ROOT/; access_log logs/access.log; }
	}`

func benchFiles() sidebyside.Files {
	return sidebyside.Files{
		"1k.html": strings.Repeat("x", 1024), "100k.html": strings.Repeat("x", 100<<10), "index.html": "index",
	}
}

func BenchmarkStatic(b *testing.B) {
	p := sidebyside.Start(b, benchSite, benchFiles())
	for _, target := range []string{"/1k.html", "/cached/1k.html", "/logged/1k.html", "/100k.html", "/", "/nope"} {
		for _, server := range []struct{ name, addr string }{{"nginx", p.Nginx}, {"baton", p.Baton}} {
			b.Run(server.name+target, func(b *testing.B) {
				cl := newClient(b, server.addr, target)
				b.ReportAllocs()
				for b.Loop() {
					cl.once()
				}
			})
		}
	}
}

// A small file costs no garbage, with and without the cache and a log.
func TestNoGarbage(t *testing.T) {
	p := sidebyside.Start(t, benchSite, benchFiles())
	for _, target := range []string{"/1k.html", "/cached/1k.html", "/logged/1k.html", "/100k.html"} {
		cl := newClient(t, p.Baton, target)
		if got := testing.AllocsPerRun(300, cl.once); got > garbageAllowed {
			t.Errorf("%s costs %v allocations, want at most %d", target, got, garbageAllowed)
		}
	}
}
