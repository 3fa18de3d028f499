package httpd_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// Time-outs go on counting over a move, and so do requests.
func TestTimeoutsGoOnCounting(t *testing.T) {
	const whole, before = 900 * time.Millisecond, 600 * time.Millisecond
	echoing, _ := echoBackend(t)
	get := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, tc := range []struct {
		name, directives, request, rest string
	}{
		{"keep-alive", "keepalive_timeout 900ms; client_header_timeout 1h;", get, ""},
		{"head", "keepalive_timeout 1h; client_header_timeout 900ms;", get, "GET / HT"},
		{"first head", "keepalive_timeout 1h; client_header_timeout 900ms;", "", "GET / HT"},
		{"no byte", "keepalive_timeout 1h; client_header_timeout 900ms;", "", ""},
		{"tunnel", "location /ws { proxy_pass http://" + echoing + "; proxy_http_version 1.1; proxy_read_timeout 900ms;" +
			"proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }",
			"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // mostly waits
			r := newRelay(t, "tcp", "location / { echo WHO; } "+tc.directives)
			c, _ := r.dial()
			if tc.request != "" {
				if _, err := io.WriteString(c.nc, tc.request); err != nil {
					t.Fatal(err)
				}
				if head := headOf(t, c); !strings.Contains(head, " 101 ") {
					_, _ = c.br.Discard(len("one"))
				}
			}
			began := time.Now()
			if _, err := io.WriteString(c.nc, tc.rest); err != nil {
				t.Fatal(err)
			}
			awaitTotals(t, r.servers[0], func(n httpd.Totals) bool { return n.Active == 1 })
			atLeast(began, before)
			r.move()
			_, err := c.br.ReadByte()
			if took := time.Since(began); err != io.EOF || took < whole-50*time.Millisecond || took > before+whole-100*time.Millisecond {
				t.Errorf("the connection ended with %v after %v, want the end after %v", err, took, whole)
			}
		})
	}
}

func TestRequestsGoOnCounting(t *testing.T) {
	r := newRelay(t, "tcp", "echo WHO; keepalive_requests 3;")
	c, _ := r.dial()
	for i, want := range []string{"one", "two", "three"} {
		resp, body := c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if body != want || resp.Close != (i == 2) {
			t.Errorf("request %d: %q, close %v", i+1, body, resp.Close)
		}
		if i < 2 {
			r.move()
		}
	}
	c.ended()
}
