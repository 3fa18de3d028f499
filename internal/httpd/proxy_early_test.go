package httpd_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// backendFunc is a backend that reads a request's head and leaves the rest to f.
func backendFunc(t *testing.T, f func(nc net.Conn, req *http.Request)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				if req, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
					f(nc, req)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// unbuffered proxies to a server at once what the client sends.
func unbuffered(backend string) string {
	return `server { LISTEN location / { proxy_pass http://` + backend + `; proxy_http_version 1.1; proxy_request_buffering off; } }`
}

// An answer that is whole before the request's body is reaches the client.
func TestEarlyAnswerReachesTheClient(t *testing.T) {
	quiet, answered := make(chan struct{}), make(chan struct{}, 1)
	defer close(quiet)
	addr, _ := start(t, unbuffered(backendFunc(t, func(nc net.Conn, _ *http.Request) {
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		answered <- struct{}{}
		<-quiet
	})))
	for _, framing := range []string{"Content-Length: 1000\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n9\r\nab"} {
		for _, more := range []string{"", "cd"} {
			c := dial(t, addr)
			_ = c.nc.SetDeadline(time.Now().Add(time.Minute))
			io.WriteString(c.nc, "POST / HTTP/1.1\r\nHost: a\r\n"+framing)
			<-answered
			io.WriteString(c.nc, more)
			if b, err := io.ReadAll(c.br); err != nil || !strings.HasSuffix(string(b), "\r\n\r\nhello") {
				t.Errorf("%.9q, then %q: the client got %q, %v", framing, more, b, err)
			}
		}
	}
}

// The head of an answer does not wait for the client to send more of its body, nor
// does the rest of the body get lost by that.
func TestEarlyAnswerDoesNotWaitForTheBody(t *testing.T) {
	addr, _ := start(t, unbuffered(backendFunc(t, func(nc net.Conn, req *http.Request) {
		two := make([]byte, 2)
		_, _ = io.ReadFull(req.Body, two)
		fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n%s:", two)
		rest, _ := io.ReadAll(req.Body)
		_, _ = nc.Write(rest)
	})))
	for _, framing := range []string{"Content-Length: 6\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n6\r\n"} {
		c := dial(t, addr)
		_ = c.nc.SetDeadline(time.Now().Add(time.Minute))
		c.ask("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"+framing+"ab", 0) // 100 Continue
		if head, body := c.ask("", 3); !strings.Contains(head, " 200 ") || string(body) != "ab:" {
			t.Fatalf("%q: %q %q before the body is whole", framing, head, body)
		}
		end := ""
		if strings.Contains(framing, "chunked") {
			end = "\r\n0\r\n\r\n"
		}
		io.WriteString(c.nc, "cdef"+end)
		if rest := string(c.rest(nil, 4)); rest != "cdef" {
			t.Errorf("%q: the rest is %q", framing, rest)
		}
	}
}
