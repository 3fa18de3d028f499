package proxy_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// TestPresentDefaults has what nginx 1.31.5 sends to servers where the one that is
// compared with elsewhere sends something else.
func TestPresentDefaults(t *testing.T) {
	addr := sidebyside.Script(t, echo)
	p := sidebyside.StartAlone(t, `
upstream named { server `+addr+`; }
server {
	listen ADDR;
	location / { proxy_pass http://named; }
	location /two/ { proxy_pass http://named; proxy_set_header X-One 1; proxy_set_header Host first; proxy_set_header host second; }
	location /none/ { proxy_pass http://named; proxy_set_header Host $arg_none; }
	location /none10/ { proxy_pass http://named; proxy_set_header Host ""; proxy_http_version 1.0; }
	location /10/ { proxy_pass http://named; proxy_http_version 1.0; }
	location /close/ { proxy_pass http://named; proxy_set_header Connection close; }
}`, nil)
	for target, want := range map[string]string{
		"/":        "GET / HTTP/1.1\r\nHost: named\r\nX: y\r\n\r\n",
		"/two/":    "GET /two/ HTTP/1.1\r\nHost: second\r\nX-One: 1\r\nX: y\r\n\r\n",
		"/none/":   "GET /none/ HTTP/1.1\r\nHost: named\r\nX: y\r\n\r\n",
		"/none10/": "GET /none10/ HTTP/1.0\r\nX: y\r\n\r\n",
		"/10/":     "GET /10/ HTTP/1.0\r\nHost: named\r\nX: y\r\n\r\n",
		"/close/":  "GET /close/ HTTP/1.1\r\nHost: named\r\nConnection: close\r\nX: y\r\n\r\n",
	} {
		a := p.DoBaton(sidebyside.Get(target, "X: y", "Proxy-Connection: keep-alive"))
		if a.Body != want {
			t.Errorf("%s: the server got\n%q, want\n%q", target, a.Body, want)
		}
	}
}

// TestKeepsConnectionsByDefault: an upstream block keeps connections without being told
// to, each for its own location, unless it says otherwise; a server without a block has
// none to keep.
func TestKeepsConnectionsByDefault(t *testing.T) {
	var conns atomic.Int64
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		n := conns.Add(1)
		for {
			if _, _, err := readRequest(br); err != nil {
				return
			}
			text := fmt.Sprint(n)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		}
	})
	group := func(name, settings string) string {
		return "upstream " + name + " { server " + addr + "; " + settings + " }\n"
	}
	p := sidebyside.StartAlone(t, group("silent", "")+group("own", "keepalive 4 local;")+group("shared", "keepalive 4;")+group("off", "keepalive 0;")+`
server {
	listen ADDR;
	location /silent/a { proxy_pass http://silent; }
	location /silent/b { proxy_pass http://silent; }
	location /silent/10 { proxy_pass http://silent; proxy_http_version 1.0; }
	location /own/a { proxy_pass http://own; }
	location /own/b { proxy_pass http://own; }
	location /shared/a { proxy_pass http://shared; }
	location /shared/b { proxy_pass http://shared; }
	location /off/a { proxy_pass http://off; }
	location /bare/a { proxy_pass http://`+addr+`; }
}`, nil)
	for _, test := range []struct{ targets, same string }{
		{"/silent/a /silent/a /silent/a", "=="},
		{"/silent/b /silent/a /silent/b", "!!"},
		{"/own/a /own/a /own/b /own/b", "=!="},
		{"/shared/a /shared/a /shared/b", "=="},
		{"/off/a /off/a", "!"},
		{"/bare/a /bare/a", "!"},
	} {
		got, last := "", ""
		for i, target := range strings.Fields(test.targets) {
			a := p.DoBaton(sidebyside.Get(target))
			switch {
			case i == 0:
			case a.Body == last:
				got += "="
			default:
				got += "!"
			}
			last = a.Body
		}
		if got != test.same {
			t.Errorf("%s: connections are %s, want %s", test.targets, got, test.same)
		}
	}
}
