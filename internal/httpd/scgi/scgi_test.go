package scgi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// readRequest reads the netstring of a request, which it returns with the body.
func readRequest(br *bufio.Reader) (params, body string, err error) {
	size, err := br.ReadString(':')
	if err != nil {
		return "", "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
	if err != nil {
		return "", "", err
	}
	b := make([]byte, n+1) // and the comma
	if _, err := io.ReadFull(br, b); err != nil {
		return "", "", err
	}
	params = string(b[:n])
	fields := strings.Split(params, "\x00")
	if len(fields) < 2 || fields[0] != "CONTENT_LENGTH" || b[n] != ',' {
		return "", "", fmt.Errorf("no request: %q", b)
	}
	if n, err = strconv.Atoi(fields[1]); err != nil {
		return "", "", err
	}
	b = make([]byte, n)
	_, err = io.ReadFull(br, b)
	return params, string(b), err
}

// says is a server that answers every request with the same bytes and closes.
func says(t *testing.T, answer string) string {
	return sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, _, err := readRequest(br); err == nil {
			_, _ = io.WriteString(c, answer)
		}
	})
}

// What servers say, with a status line or without one, is taken as by nginx.
func TestAnswersAreTakenAsByNginx(t *testing.T) {
	t.Parallel()
	list := map[string]string{
		"plain":        "Content-Type: a/b\r\n\r\nhello",
		"status":       "Status: 404 Gone Fishing\r\n\r\nhello",
		"status-line":  "HTTP/1.1 403 Not Here\r\nX-One: 1\r\n\r\nhello",
		"both":         "HTTP/1.0 403 Not Here\r\nStatus: 404 Other\r\n\r\nhello",
		"location":     "Location: /there\r\n\r\n",
		"length":       "Content-Length: 5\r\n\r\nhello",
		"too-much":     "Content-Length: 3\r\n\r\nhello",
		"too-little":   "Content-Length: 9\r\n\r\nhello",
		"no-head":      "\r\nhello",
		"chunked":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"date":         "Date: yesterday\r\nServer: mine\r\n\r\nhello",
		"304":          "Status: 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
		"204":          "HTTP/1.1 204 No Content\r\nContent-Type: a/b\r\n\r\n",
		"silent":       "",
		"junk-line":    "what is this\r\n\r\nhello",
		"half-head":    "Content-Type: a/b\r\n",
		"bad-status":   "Status: abc\r\n\r\nhello",
		"short-status": "Status: 20\r\n\r\nhello",
		"big-head":     "X-Big: " + strings.Repeat("x", 9000) + "\r\n\r\nhello",
	}
	var names []string
	locations := ""
	for name, answer := range list {
		names = append(names, name)
		locations += "location /" + name + " { scgi_pass " + says(t, answer) + "; }\n" +
			"location /off/" + name + " { scgi_pass " + says(t, answer) + "; scgi_buffering off; }\n"
	}
	slices.Sort(names)
	dead := sidebyside.ClosedPort(t)
	p := sidebyside.Start(t, `
log_format up '$request $status|$upstream_status|$upstream_http_x_one|$upstream_addr';
access_log logs/up.log up;
server { listen ADDR; root ROOT; `+locations+`
	location /nobody { scgi_pass unix:ROOT/nobody.sock; }
	location /closed { scgi_pass `+dead+`; }
	location /where { scgi_pass $arg_to; }
}`, nil)
	for _, name := range names {
		for _, at := range []string{"/", "/off/"} {
			if at == "/off/" && strings.HasPrefix(name, "too-") {
				continue // nginx logs that it was doing something else
			}
			p.Same(sidebyside.Get(at + name))
			p.Same(sidebyside.Ask("HEAD", at+name))
		}
	}
	for _, target := range []string{
		"/nobody", "/closed", "/where?to=" + dead, "/where?to=nowhere", "/where?to=nowhere:1", "/where?to=", "/where?to=unix:/no/such", "/where?to=a/b",
	} {
		p.Same(sidebyside.Get(target))
	}
	p.SameLogs("logs/up.log", nil)
	p.SameLogs("logs/error.log", regexp.MustCompile(`upstream|resolve`))
}

// Parameters arrive as through nginx, and what a client sends is one parameter, also
// when it has a NUL in it.
func TestParametersArrive(t *testing.T) {
	t.Parallel()
	echo := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if params, body, err := readRequest(br); err == nil {
			fmt.Fprintf(c, "Content-Type: text/plain\r\n\r\n%q %q", params, body)
		}
	})
	other := says(t, "Content-Type: text/plain\r\n\r\nthe other")
	p := sidebyside.Start(t, `server { listen ADDR; location / {
		scgi_param GOOD $request_uri; scgi_param EMPTY ""; scgi_param GONE "" if_not_empty; scgi_pass `+echo+`; }
		location /if { scgi_param A outer; scgi_pass `+echo+`;
			if ($arg_own) { scgi_pass `+other+`; } if ($arg_add) { add_header X-Added yes; } }
		location /only { if ($arg_own) { scgi_pass `+other+`; } return 204; }
		location /body { scgi_param TEXT $request_body; scgi_pass `+echo+`; } }`, nil)
	p.Same(sidebyside.Get("/x?a=%00b", "X-A: b"))
	p.Same(sidebyside.Get("/x%00REMOTE_USER%00root"))
	p.Same(sidebyside.Ask("POST", "/", "Content-Length: 3") + "abc")
	for _, target := range []string{"/if", "/if?own=1", "/if?add=1", "/only", "/only?own=1"} {
		p.Same(sidebyside.Get(target))
	}
	p.Same(sidebyside.Ask("POST", "/body", "Content-Length: 3") + "abc")
	_, a := p.Do(sidebyside.Ask("POST", "/body", "Content-Length: 18") + "a\x00REMOTE_USER\x00root")
	if params, _, _ := strings.Cut(a.Body, " "); a.Code() != "200" || strings.Contains(params, "REMOTE_USER") {
		t.Errorf("the server got %s", a)
	}
	if _, log := p.Logs("logs/error.log"); !strings.Contains(log, "NUL in the parameter \"TEXT\" for the server, which is not sent") {
		t.Errorf("log = %s", log)
	}
}
