package httpd_test

import (
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
	"golang.org/x/sys/unix"
)

// Why a request was refused is told in nginx's words: filters of logs look for them.
func TestRefusalsAreLoggedInNginxsWords(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		client_max_body_size 5;
		server { listen ADDR; server_name b; root ROOT; }`, nil)
	for _, x := range []struct{ raw, words string }{
		{"get / HTTP/1.1\r\n\r\n", `client sent invalid method while reading client request line, client: IP, server: b, request: "get / HTTP/1.1"`},
		{"GET /1 HTTP/1.1\r\n\r\n", `client sent HTTP/1.1 request without "Host" header while reading client request headers, client: IP, server: b, request: "GET /1 HTTP/1.1"`},
		{"GET /2 HTTP/1.1\r\nHost: a/b\r\n\r\n", `client sent invalid host header while reading client request headers, client: IP, server: b, request: "GET /2 HTTP/1.1", host: "a/b"`},
		{"GET /%00 HTTP/1.1\r\nHost: b\r\n\r\n", `client sent invalid request while reading client request line, client: IP, server: b, request: "GET /%00 HTTP/1.1"`},
		{"GET /3 HTTP/3.1\r\nHost: b\r\n\r\n", `client sent invalid version while reading client request line, client: IP, server: b, request: "GET /3 HTTP/3.1"`},
		{"POST /4 HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\n123456789", `client intended to send too large body: 9 bytes, client: IP, server: b, request: "POST /4 HTTP/1.1", host: "b"`},
		{"GET /5 HTTP/1.1\r\nHost: b\r\nHost: c\r\n\r\n", `client sent duplicate host header: "Host: c", previous value: "Host: b" while reading client request headers, client: IP, server: b, request: "GET /5 HTTP/1.1", host: "b"`},
		{"GET /6 HTTP/1.1\r\nHost: b\r\nA(: c\r\n\r\n", `client sent invalid header line: "A(: c" while reading client request headers, client: IP, server: b, request: "GET /6 HTTP/1.1", host: "b"`},
		{"GET /7 HTTP/1.1\r\nHost: b\r\nContent-Length: x\r\n\r\n", `client sent invalid "Content-Length" header while reading client request headers, client: IP, server: b, request: "GET /7 HTTP/1.1", host: "b"`},
		{"POST /8 HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: x\r\n\r\n", `client sent unknown "Transfer-Encoding": "x" while reading client request headers, client: IP, server: b, request: "POST /8 HTTP/1.1", host: "b"`},
		{"TRACE /9 HTTP/1.1\r\nHost: b\r\n\r\n", `client sent TRACE method while reading client request headers, client: IP, server: b, request: "TRACE /9 HTTP/1.1", host: "b"`},
		{"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\n\r\n", `client sent too long URI while reading client request line, client: IP, server: b, request: "GET /a`},
		{"POST /10 HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", `client sent invalid chunked body, client: IP, server: b, request: "POST /10 HTTP/1.1", host: "b"`},
	} {
		p.Do(x.raw)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			nginx, baton := p.Logs("logs/error.log")
			nginx, baton = p.Neutral(sidebyside.Answer{Body: nginx}).Body, p.Neutral(sidebyside.Answer{Body: baton}).Body
			if strings.Contains(nginx, x.words) && strings.Contains(baton, x.words) {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%.80q is not logged as\n%s\nnginx: %v, baton: %v", x.raw, x.words, strings.Contains(nginx, x.words), strings.Contains(baton, x.words))
				break
			}
		}
	}
}

// A field that is ignored is logged once, however slowly the rest of its head comes.
func TestIgnoredFieldIsLoggedOnce(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `server { listen ADDR; server_name b; }`, nil)
	for _, addr := range []string{p.Nginx, p.Baton} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, line := range []string{"GET /v HTTP/1.1", "A_b: x", "C: d", "E_f: y", "A_b: x", "Host: b", "Connection: close", ""} {
			if _, err := io.WriteString(c, line+"\r\n"); err != nil {
				t.Fatal(err)
			}
			testbed.WaitFor(t, "the line to arrive", func() bool { return underWay(t, c) == 0 })
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
	}
	p.SameLogs("logs/error.log", regexp.MustCompile(`invalid header line`))
}

// underWay is how much of what was sent on c has not arrived at its other end.
func underWay(t *testing.T, c net.Conn) (n int) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// A head that does not come to its end is logged as one, once, and not as a faulty one.
func TestEndOfHeadIsLoggedAsByNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `log_format x '"$request" $status $request_method $uri $host $bytes_sent'; access_log logs/heads.log x; client_header_timeout 1s; server { listen ADDR; server_name b; }`, nil)
	heads := []string{"G", "GET /v HT", "GET /v HTTP/1.1\r\n", "GET /v HTTP/1.1\r\nHost: b\r\nX", "GET /v HTTP/1.1\r\nHo"}
	for i, head := range heads {
		for _, addr := range []string{p.Nginx, p.Baton} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, head); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				c.Close() // else it is silent
			}
		}
	}
	testbed.WaitFor(t, "all lines", func() bool {
		nginx, baton := p.Logs("logs/heads.log")
		return strings.Count(nginx, "\n") == len(heads) && strings.Count(baton, "\n") == len(heads)
	})
	p.SameLogs("logs/error.log", regexp.MustCompile(`client request (line|headers)`))
	p.SameLogs("logs/heads.log", nil)
}

// What a location logs goes to the error_log nearest to it, as severe as that wants.
func TestErrorLogOfEachLevel(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		error_log logs/http.log;
		server { listen ADDR; server_name a; root ROOT; location /quiet { error_log logs/quiet.log crit; } }
		server { listen ADDR; server_name b; root ROOT; error_log logs/server.log;
			location /both { error_log logs/both1.log; error_log logs/both2.log info; }
			location /in/ { location /in/in { } error_log logs/in.log; } }`, nil)
	for _, x := range []struct{ host, target, in string }{
		{"a", "/quiet", ""}, {"a", "/1", "http"}, {"b", "/2", "server"},
		{"b", "/both", "both1 both2"}, {"b", "/in/3", "in"}, {"b", "/in/in4", "in"},
	} {
		nginx, baton := p.Do("GET " + x.target + " HTTP/1.1\r\nHost: " + x.host + "\r\nConnection: close\r\n\r\n")
		if a, b := nginx.Status, baton.Status; a != b || !strings.Contains(a, "404") {
			t.Fatalf("%s: nginx %s, baton %s", x.target, a, b)
		}
		for _, log := range []string{"error", "http", "server", "quiet", "both1", "both2", "in"} {
			want := strings.Contains(" "+x.in+" ", " "+log+" ")
			nginx, baton := p.Logs("logs/" + log + ".log")
			request := `request: "GET ` + x.target + ` HTTP/1.1"`
			if strings.Contains(nginx, request) != want || strings.Contains(baton, request) != want {
				t.Errorf("%s in %s.log: nginx %v, baton %v, want %v", x.target, log,
					strings.Contains(nginx, request), strings.Contains(baton, request), want)
			}
		}
	}
}
