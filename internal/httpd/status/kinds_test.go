package status_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// Connections of other kinds are counted as nginx counts them: one that has not ended
// its handshake, one of HTTP/2 that is idle, and one with requests.
func TestOtherKindsOfConnections(t *testing.T) {
	t.Parallel()
	ca := testbed.NewAuthority(t, "CA")
	tlsPort, h2Port := port(t), port(t)
	p := sidebyside.Start(t, fmt.Sprintf(`
		access_log off;
		server { listen ADDR; location = /status { stub_status; } }
		server { listen IP:%d ssl; ssl_certificate ROOT/ca.pem; ssl_certificate_key ROOT/ca.key; }
		server { listen IP:%d http2; location / { root ROOT; limit_rate 100; } }`, tlsPort, h2Port),
		sidebyside.Files{"ca.pem": ca.CertPEM(), "ca.key": ca.KeyPEM(), "slow": strings.Repeat("slowly, ", 100_000)})
	for _, step := range []struct {
		name string
		port int
		say  func(c net.Conn)
	}{
		{"a handshake that is not begun", tlsPort, func(net.Conn) {}},
		{"one that is begun", tlsPort, func(c net.Conn) { _, _ = io.WriteString(c, "\x16\x03\x01\x01\x00\x01") }},
		{"HTTP/2 without a word", h2Port, func(net.Conn) {}},
		{"an idle HTTP/2", h2Port, func(c net.Conn) { speak(c, 0) }},
		{"a request by HTTP/2", h2Port, func(c net.Conn) { speak(c, 1) }},
		{"two of them", h2Port, func(c net.Conn) { speak(c, 2) }},
	} {
		for _, addr := range []string{p.Nginx, p.Baton} {
			host, _, _ := net.SplitHostPort(addr)
			c, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(step.port)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			step.say(c)
		}
		n, b := settled(t, p.Nginx), settled(t, p.Baton)
		if n != b {
			t.Errorf("%s: nginx says %s, Baton %s", step.name, n, b)
		}
	}
}

func port(t *testing.T) int {
	t.Helper()
	p, err := testbed.TakePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Release)
	return p.Number
}

// speak begins a connection of HTTP/2 with n requests, all in one packet: nginx counts a
// connection whose request comes later as a waiting one, too.
func speak(c net.Conn, n int) {
	var out, block bytes.Buffer
	out.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&out, nil)
	_ = fr.WriteSettings()
	enc := hpack.NewEncoder(&block)
	for i := range n {
		block.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "b"}, {":path", "/slow"}} {
			_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	}
	_, _ = c.Write(out.Bytes())
}

// settled is what a server says of connections when it says the same ten times.
func settled(t *testing.T, addr string) string {
	t.Helper()
	last, same := "", 0
	for deadline := time.Now().Add(time.Minute); same < 10; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the numbers do not settle")
		}
		now := page(t, addr, "/status")
		now = now[strings.Index(now, "Reading"):]
		if same++; now != last {
			last, same = now, 0
		}
	}
	return strings.TrimSpace(last)
}
