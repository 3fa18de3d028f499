package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// rawBackend answers every request with the same bytes and allocates nothing.
func rawBackend(t testing.TB, answer []byte) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with its connection
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// keptClient sends one request after the other on one connection.
type keptClient struct {
	c   net.Conn
	br  *bufio.Reader
	raw []byte
	n   int64 // bytes of an answer, found out by the first
}

func newKeptClient(t testing.TB, addr string, raw string) *keptClient {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	k := &keptClient{c: c, raw: []byte(raw)}
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	count := &counter{r: c}
	k.br = bufio.NewReader(count)
	resp, err := http.ReadResponse(k.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	k.n = count.n
	return k
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// one sends a request and reads its answer, without allocating.
func (k *keptClient) one(t testing.TB, buf []byte) {
	if _, err := k.c.Write(k.raw); err != nil {
		t.Fatal(err)
	}
	for left := k.n; left > 0; {
		n, err := k.c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		left -= int64(n)
	}
}

func benchConfig(addr string) string {
	return `
upstream u { server ` + addr + `; keepalive 16; keepalive_requests 100000000; }
keepalive_requests 100000000;
server { listen ADDR; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`
}

func answerOf(size int) []byte {
	return []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: s\r\nDate: d\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\n"+
		"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: \"1\"\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
}

func BenchmarkProxy(b *testing.B) {
	for _, size := range []int{1 << 10, 100 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := sidebyside.Start(b, benchConfig(rawBackend(b, answerOf(size))), nil)
			k := newKeptClient(b, p.Baton, "GET /x HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
			buf := make([]byte, 64<<10)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				k.one(b, buf)
			}
		})
	}
}
