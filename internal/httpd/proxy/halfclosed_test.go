package proxy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// halfCloser is a connection of which one half can be ended, by TLS too.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// TestLastWordsOfATunnelArrive: whoever ends its half of a tunnel first is still told what
// the other has to say, with and without TLS on either side.
func TestLastWordsOfATunnelArrive(t *testing.T) {
	t.Parallel()
	s := newSecureSite(t)
	cert := s.ca.Issue(testbed.Certificate{Name: "www.example.com"})
	s.files["own.pem"], s.files["own.key"] = cert.CertPEM(), cert.KeyPEM()
	heard := make(chan string, 1)
	serve := func(c halfCloser, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
		if req.URL.Path == "/server" {
			_, _ = io.WriteString(c, "done")
			_ = c.CloseWrite()
			b, err := io.ReadAll(br)
			heard <- fmt.Sprintf("%s %v", b, err)
			return
		}
		b, err := io.ReadAll(br)
		heard <- fmt.Sprintf("%s %v", b, err)
		_, _ = io.WriteString(c, "last words")
	}
	plain := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) { serve(c.(*net.TCPConn), br) })
	secure := secureScript(t, s.ca, func(c *tls.Conn) { serve(c, bufio.NewReader(c)) })
	const upgrade = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
	for _, clientTLS := range []string{"", " ssl"} {
		for _, server := range []string{"http://" + plain, "https://" + secure} {
			p := sidebyside.StartAlone(t, `server { listen ADDR`+clientTLS+`; ssl_certificate ROOT/own.pem; ssl_certificate_key ROOT/own.key;
				location / { proxy_pass `+server+`; `+upgrade+` } }`, s.files)
			for _, first := range []string{"client", "server"} {
				c := dialHalf(t, p.Baton, clientTLS != "")
				fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n", first)
				br := bufio.NewReader(c)
				if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
					t.Fatalf("%v, %v", resp, err)
				}
				var told []byte
				var err error
				if first == "client" {
					_, _ = io.WriteString(c, "bye")
					_ = c.CloseWrite()
					told, err = io.ReadAll(br)
				} else {
					told, err = io.ReadAll(br)
					_, _ = io.WriteString(c, "bye")
					_ = c.CloseWrite()
				}
				want := map[string]string{"client": "last words", "server": "done"}[first]
				if got := <-heard; string(told) != want || err != nil || got != "bye <nil>" {
					t.Errorf("client%s, %s, the %s ends first: the client heard %q, %v, the server %q", clientTLS, server, first, told, err, got)
				}
				c.Close()
			}
		}
	}
}

// dialHalf connects, with TLS or without.
func dialHalf(t *testing.T, addr string, secure bool) halfCloser {
	t.Helper()
	var c halfCloser
	var err error
	if secure {
		c, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	} else {
		var nc net.Conn
		nc, err = net.Dial("tcp", addr)
		c, _ = nc.(*net.TCPConn)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patienceForSecure))
	return c
}
