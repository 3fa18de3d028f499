package httpd_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A connection that timed out, or that is closed without a word, is reset where
// reset_timedout_connection says so, and one that was only idle is not.
func TestTimedOutConnectionsAreReset(t *testing.T) {
	t.Parallel()
	const places = `
		access_log logs/access.log; send_timeout 1s; client_body_timeout 1s; client_header_timeout 1s; keepalive_timeout 1s;
		location = /close { return 444; }
		location = /file { root ROOT; }
		location = /read { proxy_pass http://127.0.0.1:1; }
		location = /off { reset_timedout_connection off; return 444; }
		location = /ok { return 200 ok; }
	`
	p := sidebyside.Start(t, `server { listen ADDR; reset_timedout_connection on; `+places+` }`,
		sidebyside.Files{"file": strings.Repeat("x", 16<<20)})
	q := sidebyside.Start(t, `server { listen ADDR; `+places+` }`, sidebyside.Files{"file": strings.Repeat("x", 16<<20)})
	// gaveUp waits until a server has logged that it sends the file to nobody any more.
	gaveUp := func(p *sidebyside.Pair, baton bool) {
		p.WaitLogs("logs/access.log", func(n, b string) bool {
			if baton {
				n = b
			}
			return strings.Contains(n, "/file")
		})
	}
	ends := func(p *sidebyside.Pair, baton bool, sent string, slow bool) string {
		addr := p.Nginx
		if baton {
			addr = p.Baton
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(32 << 10)
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(c, sent)
		if slow {
			gaveUp(p, baton)
		}
		_, err = io.Copy(io.Discard, c)
		switch {
		case err == nil:
			return "end"
		case errors.Is(err, syscall.ECONNRESET):
			return "reset"
		}
		return err.Error()
	}
	for _, x := range []struct {
		name, sent string
		on         string
		slow       bool
	}{
		{"head", "GET /ok HTTP/1.1\r\nHost: x\r\n", "reset", false},
		{"body", "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123", "reset", false},
		{"444", "GET /close HTTP/1.1\r\nHost: x\r\n\r\n", "reset", false},
		{"444 off", "GET /off HTTP/1.1\r\nHost: x\r\n\r\n", "end", false},
		{"idle", "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n", "end", false},
		{"send", "GET /file HTTP/1.1\r\nHost: x\r\n\r\n", "reset", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			got := fmt.Sprint(
				ends(p, false, x.sent, x.slow), ends(p, true, x.sent, x.slow),
				ends(q, false, x.sent, x.slow), ends(q, true, x.sent, x.slow))
			if want := fmt.Sprint(x.on, x.on, "end", "end"); got != want {
				t.Errorf("nginx and baton, with and without: %s, want %s", got, want)
			}
		})
	}
}
