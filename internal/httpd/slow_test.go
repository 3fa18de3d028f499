package httpd_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A behaviour is what a client does on one connection; what it sees is compared.
type behaviour struct {
	name string
	// act returns what it saw. It is run on its own against each server.
	act func(c *net.TCPConn) string
	// logged is how many lines this leaves in the access log.
	logged int
	// anyLength: $request_length is not compared. nginx does not count what it
	// refused in the body, we count what was read.
	anyLength bool
}

func say(c *net.TCPConn, text string) { _, _ = io.WriteString(c, text) }

// hear reads to the end of the connection and says how it ended.
func hear(c *net.TCPConn) string {
	b, err := io.ReadAll(c)
	end := "EOF"
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		end = "still open"
	case err != nil:
		end = "reset"
	}
	return fmt.Sprintf("%s (%s)", date.ReplaceAllString(string(b), "Date: now"), end)
}

var date = regexp.MustCompile(`Date: [^\r]*`)

const one = "GET /file HTTP/1.1\r\nHost: b\r\n\r\n"

var behaviours = []behaviour{
	{"says nothing", func(c *net.TCPConn) string { return hear(c) }, 0, false},
	{"says nothing and goes", func(c *net.TCPConn) string { _ = c.CloseWrite(); return hear(c) }, 0, false},
	{"only line ends", func(c *net.TCPConn) string { say(c, "\r\n\r\n"); return hear(c) }, 1, false},
	{"only line ends and goes", func(c *net.TCPConn) string { say(c, "\r\n"); _ = c.CloseWrite(); return hear(c) }, 1, false},
	{"half a line", func(c *net.TCPConn) string { say(c, "GET /fi"); return hear(c) }, 1, false},
	{"half a head", func(c *net.TCPConn) string { say(c, "GET /file HTTP/1.1\r\nHost: b\r\nUser-A"); return hear(c) }, 1, false},
	{"half a line and goes", func(c *net.TCPConn) string { say(c, "GET /fi"); _ = c.CloseWrite(); return hear(c) }, 1, false},
	{"half a head and goes", func(c *net.TCPConn) string {
		say(c, "GET /file HTTP/1.1\r\nHost: b\r\nUser-Agent: me\r\nX:")
		_ = c.CloseWrite()
		return hear(c)
	}, 1, false},
	{"asks and stops writing", func(c *net.TCPConn) string { say(c, one); _ = c.CloseWrite(); return hear(c) }, 1, false},
	{"asks once and is silent", func(c *net.TCPConn) string { say(c, one); return hear(c) }, 1, false},
	{"asks and then half a head", func(c *net.TCPConn) string { say(c, one+"GET /fi"); return hear(c) }, 2, false},
	{"asks and then junk", func(c *net.TCPConn) string { say(c, one+"\x00\x01\r\n\r\n"); return hear(c) }, 2, false},
	{"sends a head for too long", func(c *net.TCPConn) string {
		for _, part := range strings.SplitAfter("GET /file HTTP/1.1\r\nHost: b\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: 7\r\nH: 8\r\n", "\n") {
			say(c, part)
			pause(c, 60*time.Millisecond)
		}
		return hear(c)
	}, 1, false},
	{"sends half a body that nobody reads", func(c *net.TCPConn) string {
		say(c, "POST /ret HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\nabc")
		return hear(c)
	}, 1, false},
	{"sends a body slowly that nobody reads", func(c *net.TCPConn) string {
		say(c, "POST /ret HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\nabc")
		pause(c, 60*time.Millisecond)
		say(c, "defghij"+after)
		return hear(c)
	}, 2, false},
	{"sends half a body that is read", func(c *net.TCPConn) string {
		say(c, "POST /proxy HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\nabc")
		return hear(c)
	}, 1, false},
	{"sends half a body and goes", func(c *net.TCPConn) string {
		say(c, "POST /proxy HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\nabc")
		_ = c.CloseWrite()
		return hear(c)
	}, 1, false},
	{"sends half a chunk that is read", func(c *net.TCPConn) string {
		say(c, "POST /proxy HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
		return hear(c)
	}, 1, false},
	{"sends a broken chunk that is read", func(c *net.TCPConn) string {
		say(c, "POST /proxy HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n")
		return hear(c)
	}, 1, true},
	{"sends chunks over the limit that are read", func(c *net.TCPConn) string {
		say(c, "POST /proxy HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcdefgh\r\n8\r\nabcdefgh\r\n0\r\n\r\n")
		return hear(c)
	}, 1, true},
	{"sends a body over the limit", func(c *net.TCPConn) string {
		say(c, "POST /proxy HTTP/1.1\r\nHost: b\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100000))
		_ = c.CloseWrite()
		return hear(c)
	}, 1, false},
	{"is refused with much behind it", func(c *net.TCPConn) string {
		say(c, "GET /%00 HTTP/1.1\r\nHost: b\r\n\r\n"+strings.Repeat("x", 20000))
		_ = c.CloseWrite()
		return hear(c)
	}, 1, false},
	{"waits for 100", func(c *net.TCPConn) string {
		say(c, "POST /proxy HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
		b := make([]byte, 25)
		_, _ = io.ReadFull(c, b)
		say(c, "abc")
		return string(b) + hear(c)
	}, 1, false},
	{"is closed with words", func(c *net.TCPConn) string { say(c, "GET /silent HTTP/1.1\r\nHost: b\r\n\r\n"); return hear(c) }, 1, false},
}

// pause lets time pass on a connection on which nothing is expected.
func pause(c *net.TCPConn, d time.Duration) {
	_ = c.SetReadDeadline(time.Now().Add(d))
	_, _ = c.Read(nil)
	<-time.After(d)
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
}

func TestSlowAndRudeClientsAreServedAsByNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		log_format f '$request|$status|$body_bytes_sent|$request_length|$request_completion|$http_user_agent|$connection_requests';
		access_log logs/f.log f;
		client_header_timeout 300ms;
		client_body_timeout 300ms;
		keepalive_timeout 300ms;
		lingering_timeout 600ms;
		lingering_time 2s;
		client_max_body_size 12;
		server {
			listen ADDR; root ROOT;
			location /ret { return 200 "returned"; }
			location /silent { return 444; }
			location /proxy { proxy_pass http://127.0.0.1:1; }
		}`, sidebyside.Files{"file": "content\n"})
	for _, b := range behaviours {
		// A machine that is busy elsewhere may keep one of the servers from its time:
		// what differs must differ again.
		var fault string
		for range 3 {
			if fault = compare(t, p, b); fault == "" {
				break
			}
		}
		if fault != "" {
			t.Errorf("a client that %s %s", b.name, fault)
		}
	}
}

// compare lets b happen to both servers and tells what is not the same.
func compare(t *testing.T, p *sidebyside.Pair, b behaviour) string {
	t.Helper()
	nginxBefore, batonBefore := logLines(t, p, "logs/f.log", 0)
	var seen [2]string
	var wg sync.WaitGroup
	for i, addr := range []string{p.Nginx, p.Baton} {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				seen[i] = err.Error()
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			seen[i] = b.act(c.(*net.TCPConn))
		})
	}
	wg.Wait()
	if seen[0] != seen[1] {
		return fmt.Sprintf("sees\n--- nginx\n%s\n--- baton\n%s", seen[0], seen[1])
	}
	nginx, baton := logLines(t, p, "logs/f.log", max(len(nginxBefore), len(batonBefore))+b.logged)
	nginx, baton = nginx[len(nginxBefore):], baton[len(batonBefore):]
	if b.anyLength {
		nginx, baton = anyLength(nginx), anyLength(baton)
	}
	if !slices.Equal(nginx, baton) || len(nginx) != b.logged {
		return fmt.Sprintf("is logged as\n--- nginx\n%s\n--- baton\n%s", nginx, baton)
	}
	return ""
}

// logLines waits for n lines in both logs, for a while, and returns what is there.
func logLines(t *testing.T, p *sidebyside.Pair, name string, n int) (nginx, baton []string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		a, b := p.Logs(name)
		nginx, baton = strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
		nginx, baton = nginx[:len(nginx)-1], baton[:len(baton)-1]
		if len(nginx) >= n && len(baton) >= n || time.Now().After(deadline) {
			return nginx, baton
		}
	}
}

var lengthField = regexp.MustCompile(`\|\d+\|([^|]*\|[^|]*\|[^|]*)$`)

func anyLength(lines []string) []string {
	for i := range lines {
		lines[i] = lengthField.ReplaceAllString(lines[i], "|…|$1")
	}
	return lines
}

// A client that stops reading is given up after send_timeout, one that goes away at
// once, and both are logged as incomplete.
func TestDownloadsThatStopAreGivenUp(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		log_format f '$request|$status|$request_completion';
		access_log logs/f.log f;
		send_timeout 300ms;
		server {
			listen ADDR; root ROOT;
			location /sendfile/ { alias ROOT/; sendfile on; }
		}`, sidebyside.Files{"big": strings.Repeat("0123456789abcdef", 1<<20)})
	for _, target := range []string{"/big", "/sendfile/big"} {
		for _, goes := range []bool{false, true} {
			nginxBefore, batonBefore := logLines(t, p, "logs/f.log", 0)
			var conns []net.Conn
			for _, addr := range []string{p.Nginx, p.Baton} {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				say(c.(*net.TCPConn), "GET "+target+" HTTP/1.1\r\nHost: b\r\n\r\n")
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				if goes {
					c.Close()
				}
				conns = append(conns, c)
			}
			nginx, baton := logLines(t, p, "logs/f.log", len(nginxBefore)+1)
			nginx, baton = nginx[len(nginxBefore):], baton[len(batonBefore):]
			if len(nginx) != 1 || !slices.Equal(nginx, baton) {
				t.Errorf("%s, client goes: %v: logged as\n--- nginx\n%s\n--- baton\n%s", target, goes, nginx, baton)
			}
			if goes {
				continue
			}
			for i, c := range conns {
				if n, _ := io.Copy(io.Discard, c); n >= 16<<20-1000 {
					t.Errorf("%s: server %d sent all %d bytes to a client that did not read", target, i, n)
				}
			}
		}
	}
}
