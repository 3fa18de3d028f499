package httpd_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// halfBackend switches protocols; the side that the request names ends its half first. What
// the client said at its end comes out of heard.
func halfBackend(t *testing.T) (addr string, heard chan string, goOn chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	heard, goOn = make(chan string, 1), make(chan struct{}, 1)
	serve := func(c *net.TCPConn) {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		br := bufio.NewReader(c)
		first, _ := br.ReadString('\n')
		for line := ""; line != "\r\n"; {
			if line, err = br.ReadString('\n'); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		if strings.Contains(first, "server") {
			_, _ = io.WriteString(c, "done")
			_ = c.CloseWrite()
		}
		b, _ := io.ReadAll(br)
		heard <- string(b)
		<-goOn
		_, _ = io.WriteString(c, "last words")
	}
	go func() { // ends with ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return ln.Addr().String(), heard, goOn
}

// A tunnel of which one half has ended moves, and back; where it is refused, by a release
// that does not know such tunnels, it goes on here. Either way the last words arrive.
func TestHalfClosedTunnelMoves(t *testing.T) {
	for _, first := range []string{"client", "server"} {
		for _, taken := range []bool{true, false} {
			backend, heard, goOn := halfBackend(t)
			text := `server { LISTEN location / { proxy_pass http://` + backend + `; ` + tunnelPlace + ` } }`
			addr, old, next := pair(t, text)
			again := serverFor(t, t.TempDir(), addr, text)
			c := dial(t, addr)
			if head, _ := c.ask("GET /"+first+" HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", 0); !strings.HasPrefix(head, "HTTP/1.1 101") {
				t.Fatal(head)
			}
			if first == "client" {
				_, _ = io.WriteString(c.nc, "bye")
				_ = c.nc.(*net.TCPConn).CloseWrite()
				if got := <-heard; got != "bye" {
					t.Fatalf("the server heard %q", got)
				}
			} else if b, err := io.ReadAll(c.br); string(b) != "done" || err != nil {
				t.Fatalf("the client heard %q, %v", b, err)
			}
			ended := make(chan httpd.Retired, 1)
			if taken {
				for _, move := range [][2]*httpd.Server{{old, next}, {next, again}} {
					if got := move[0].Retire(t.Context(), giveTo(move[1])); got != (httpd.Retired{Moved: 1}) {
						t.Fatalf("Retire = %+v", got)
					}
				}
			} else {
				give, asked := refusing()
				go func() { ended <- old.Retire(t.Context(), give) }()
				until(t, "it is offered", func() bool { return asked.Load() > 0 })
			}
			if first == "server" {
				_, _ = io.WriteString(c.nc, "bye")
				_ = c.nc.(*net.TCPConn).CloseWrite()
				if got := <-heard; got != "bye" {
					t.Errorf("after the move the server heard %q", got)
				}
			}
			goOn <- struct{}{}
			want := map[string]string{"client": "last words"}[first]
			if b, err := io.ReadAll(c.br); string(b) != want || err != nil {
				t.Errorf("the %s ended first, moved %v: the client heard %q, %v, want %q", first, taken, b, err, want)
			}
			if !taken {
				if got := <-ended; got.Moved != 0 {
					t.Errorf("Retire = %+v", got)
				}
			}
		}
	}
}
