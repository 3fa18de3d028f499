//go:build !race

// The race detector makes pools forget, so that every request allocates.

package fastcgi_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// client sends one request after the other on one connection to a server whose
// answers are n bytes each.
func client(t testing.TB) (one func(), p *sidebyside.Pair) {
	answer := []byte(out("Content-Length: 1024\r\n"+plain+strings.Repeat("x", 1024)) + finish())
	addr := sidebyside.Script(t, func(c net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil { // a request comes at once
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	p = sidebyside.Start(t, `keepalive_requests 100000000; upstream u { server `+addr+`; keepalive 4; keepalive_requests 100000000; }
		server { listen ADDR; location / {
			fastcgi_keep_conn on; fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_pass u; } }`, nil)
	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	br := bufio.NewReader(c)
	raw := "GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
	buf := make([]byte, 64<<10)
	_, _ = io.WriteString(c, raw)
	size := len(sidebyside.ReadAnswer(br, "GET").Body)
	_, _ = io.WriteString(c, raw)
	n, err := io.ReadAtLeast(c, buf, size+1)
	for err == nil && !strings.HasSuffix(string(buf[:n]), strings.Repeat("x", 1024)) {
		var more int
		more, err = c.Read(buf[n:])
		n += more
	}
	if err != nil {
		t.Fatal(err)
	}
	ask := []byte(raw)
	return func() {
		if _, err := c.Write(ask); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			t.Fatal(err)
		}
	}, p
}

func TestPassingOnAllocatesNothing(t *testing.T) {
	one, _ := client(t)
	if n := testing.AllocsPerRun(2000, one); n >= 1 {
		t.Errorf("%v allocations for a request", n)
	}
}

func BenchmarkFastCGI(b *testing.B) {
	one, _ := client(b)
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
}
