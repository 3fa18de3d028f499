package httpd_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// halves is a backend that sends the second half of an answer when it is told to.
// The path says how the answer is framed.
func halves(t *testing.T, more chan struct{}) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	answers := map[string][2]string{
		"/length": {"Content-Length: 10\r\n\r\nfirst", "-last"},
		// The break is inside a chunk's size line, and inside a chunk.
		"/chunks": {"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0", "5\r\n-last\r\n0\r\n\r\n"},
		"/inside": {"Transfer-Encoding: chunked\r\n\r\nA\r\nfirst", "-last\r\n0\r\n\r\n"},
		"/close":  {"\r\nfirst", "-last"},
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				path, err := readAsked(bufio.NewReader(nc))
				if err != nil {
					return
				}
				a := answers[path]
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Kind: "+path+"\r\n"+a[0])
				<-more
				_, _ = io.WriteString(nc, a[1])
			}()
		}
	}()
	return ln.Addr().String()
}

// An answer that a server is still sending moves while nothing of it comes: events
// with long gaps do not keep an old worker.
func TestProxiedAnswerMovesBetweenTwoPieces(t *testing.T) {
	for _, tc := range [][2]string{
		{"proxy", "/length"}, {"proxy", "/chunks"}, {"proxy", "/inside"}, {"proxy", "/close"},
		{"scgi", "/length"}, {"scgi", "/close"}, {"uwsgi", "/length"}, {"uwsgi", "/close"},
	} {
		module, path := tc[0], tc[1]
		t.Run(module+path, func(t *testing.T) {
			more := make(chan struct{})
			defer close(more)
			addr, old, next := pair(t, `server { LISTEN
				location / { `+passes[module]+halves(t, more)+`; }
				location = /who { echo WHO; } }`)
			c := dial(t, addr)
			if _, err := io.WriteString(c.nc, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(c.br, nil)
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 5)
			if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
				t.Fatalf("the first half: %q, %v", first, err)
			}
			if got := old.Retire(t.Context(), giveTo(next)); got != (httpd.Retired{Moved: 1}) {
				t.Fatalf("Retire = %+v", got)
			}
			more <- struct{}{}
			rest, err := io.ReadAll(resp.Body)
			if err != nil || string(rest) != "-last" {
				t.Fatalf("the second half: %q, %v", rest, err)
			}
			if _, body := c.do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n"); body != "next" {
				t.Errorf("the next request: %q", body)
			}
		})
	}
}

// What an encoder holds cannot move: the answer is completed by the old server.
func TestGzippedStreamStaysUntilItIsComplete(t *testing.T) {
	more := make(chan struct{}, 1)
	addr, old, next := pair(t, `gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; server { LISTEN
		location / { proxy_pass http://`+halves(t, more)+`; proxy_http_version 1.1; }
		location = /who { echo WHO; } }`)
	c := dial(t, addr)
	if _, err := io.WriteString(c.nc, "GET /chunks HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if head := headOf(t, c); !strings.Contains(head, "Content-Encoding: gzip") {
		t.Fatal(head)
	}
	done := make(chan httpd.Retired)
	go func() { done <- old.Retire(t.Context(), giveTo(next)) }()
	awaitClosed(t, addr)
	select {
	case got := <-done:
		t.Fatalf("Retire = %+v before the answer was complete", got)
	default:
	}
	more <- struct{}{}
	for line := ""; line != "0\r\n"; {
		var err error
		if line, err = c.br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-done; got.Moved == 0 || got.Closed != 0 {
		t.Errorf("Retire = %+v", got)
	}
	if _, err := c.br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, body := c.do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n"); body != "next" {
		t.Errorf("the next request: %q", body)
	}
}

// A stream whose request's body is still being sent moves once that has ended.
func TestStreamMovesWhenItsBodyIsSent(t *testing.T) {
	quiet, got := make(chan struct{}), make(chan struct{})
	addr, old, next := pair(t, unbuffered(backendFunc(t, func(nc net.Conn, req *http.Request) {
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
		_, _ = io.Copy(io.Discard, req.Body)
		close(got)
		<-quiet
		io.WriteString(nc, "-last")
	})))
	c := dial(t, addr)
	c.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcd", 5)
	io.WriteString(c.nc, "ef")
	<-got
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if r := old.Retire(ctx, giveTo(next)); r != (httpd.Retired{Moved: 1}) {
		t.Errorf("Retire = %+v", r)
	}
	close(quiet)
	if rest := string(c.rest(nil, 5)); rest != "-last" {
		t.Errorf("the rest is %q", rest)
	}
}
