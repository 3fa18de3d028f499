package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// What a tunnel's log says it received is what came, also when the first bytes came
// with the answer's head, or with the request's.
func TestTunnelsAreCountedAsByNginx(t *testing.T) {
	t.Parallel()
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello")
		if _, err := io.CopyN(io.Discard, br, 8); err == nil {
			_, _ = io.WriteString(c, "good bye")
		}
	})
	p := sidebyside.Start(t, `
log_format up '$status $bytes_sent $body_bytes_sent $request_length $upstream_status $upstream_response_length $upstream_bytes_received $upstream_bytes_sent';
access_log logs/up.log up;
server { listen ADDR; location / { proxy_pass http://`+addr+`; proxy_http_version 1.1;
	proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }`, nil)
	for _, early := range []string{"", "abcd"} {
		for _, at := range []string{p.Nginx, p.Baton} {
			c, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			br := bufio.NewReader(c)
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"+early)
			if _, err := http.ReadResponse(br, nil); err != nil {
				t.Fatal(err)
			}
			first := make([]byte, 5)
			if _, err := io.ReadFull(br, first); err != nil || string(first) != "hello" {
				t.Fatalf("%q, %v", first, err)
			}
			_, _ = io.WriteString(c, "abcdefgh"[len(early):])
			if rest, err := io.ReadAll(br); err != nil || string(rest) != "good bye" {
				t.Errorf("%q, %v", rest, err)
			}
			c.Close()
		}
	}
	p.SameLogs("logs/up.log", nil)
}
