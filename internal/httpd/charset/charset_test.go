package charset_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// Which responses get a charset, and where, is as in nginx.
func TestCharsetIsToldAsByNginx(t *testing.T) {
	t.Parallel()
	server := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		fields := map[string]string{
			"/up/own":     "Content-Type: text/html; charset=koi8-r\r\n",
			"/up/other":   "Content-Type: text/html; q=1\r\n",
			"/up/none":    "",
			"/up/plain":   "Content-Type: Text/Plain\r\n",
			"/up/image":   "Content-Type: image/png\r\n",
			"/up/encoded": "Content-Type: text/html\r\nContent-Encoding: br\r\n",
			"/up/empty":   "Content-Type:\r\n",
		}
		_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\nServer: x\r\n"+fields[req.URL.Path]+"\r\nhello")
	})
	p := sidebyside.Start(t, `
types { text/html html; text/css css; text/plain txt; application/javascript js; image/png png; }
log_format type '$request $sent_http_content_type';
access_log logs/type.log type;
server {
	listen ADDR; root ROOT; charset utf-8; autoindex on;
	gzip on; gzip_min_length 1; gzip_types text/plain text/css;
	location / { }
	location /off { charset off; alias ROOT/a.html; }
	location /types { charset_types text/css; location /types/all { charset_types *; } }
	location /variable { charset $arg_c; }
	location /if { if ($arg_x) { charset koi8-r; } }
	location /up/ { proxy_pass http://`+server+`; }
	location /text { return 200 "some text"; }
	location /moved { return 301 /x; }
	location /found { return 302 /x; }
	location /other { return 307 /x; }
	location /gone { return 410; }
	location /odd { default_type "text/html; q=1"; return 200 "x"; }
	location /upper { default_type TEXT/HTML; return 200 "x"; }
}`, sidebyside.Files{
		"a.html": "<p>", "a.css": "a{}", "a.txt": "text", "a.js": "1", "a.png": "png", "dir/": "",
		"types/a.html": "<p>", "types/a.css": "a{}", "types/a.txt": "t", "types/all/a.png": "png", "variable.html": "v", "if.html": "if",
	})
	for _, target := range []string{
		"/a.html", "/a.css", "/a.txt", "/a.js", "/a.png", "/off", "/types/a.html", "/types/a.css", "/types/a.txt", "/types/all/a.png",
		"/variable.html?c=x", "/if.html", "/if.html?x=1", "/text", "/moved", "/found", "/other", "/gone", "/odd", "/upper",
		"/none", "/dir/", "/dir", "/up/own", "/up/other", "/up/none", "/up/plain", "/up/image", "/up/encoded", "/up/empty",
	} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("HEAD", target))
	}
	p.Same(sidebyside.Get("/a.html", "Range: bytes=0-1"))
	p.Same(sidebyside.Get("/a.html", "Range: bytes=0-1,2-2"))
	p.Same(sidebyside.Get("/a.html", "Range: bytes=100-"))
	p.Same(sidebyside.Get("/a.html", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", "If-None-Match: *"))
	for _, target := range []string{"/a.txt", "/a.html", "/a.js", "/up/own", "/up/plain"} {
		nginx, baton := p.Do(sidebyside.Get(target, "Accept-Encoding: gzip"))
		for _, name := range []string{"Content-Encoding", "Content-Type"} {
			if nginx.Field(name) != baton.Field(name) {
				t.Errorf("%s: %s is %q, nginx's %q", target, name, baton.Field(name), nginx.Field(name))
			}
		}
	}
	p.SameLogs("logs/type.log", regexp.MustCompile(`HTTP/1.1 [^m]`)) // boundaries are random
	if _, a := p.Do(sidebyside.Get("/variable.html")); a.Field("Content-Type") != "text/html" || a.Body != "v" {
		t.Errorf("without a value: %s", a) // nginx closes the connection
	}
}

// A server behind us may want another charset to be told, as long as the configuration
// names it, also when it lets another location answer. It says so by each protocol.
func TestServerChoosesCharset(t *testing.T) {
	t.Parallel()
	const fast = "\x01\x06\x00\x01"
	wants := regexp.MustCompile(`q=([^&\x00 ]*)&(?:c=([^&\x00 ]*))?&(?:t=([^&\x00 ]*))?&(?:to=([^&\x00 \x05]*))?&`)
	serve := func(status string) string {
		return sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
			var m [][]byte
			for m == nil { // the request may come in pieces
				if _, err := br.Peek(br.Buffered() + 1); err != nil {
					return
				}
				head, _ := br.Peek(br.Buffered())
				m = wants.FindSubmatch(head)
			}
			fields := ""
			for i, name := range []string{"Content-Type", "X-Accel-Charset", "Content-Type", "X-Accel-Redirect"} {
				if i > 0 && m[i+1] != nil {
					fields += name + ": " + string(m[i+1]) + "\r\n"
				}
			}
			code := "200 OK"
			if len(m[1]) > 0 {
				code = string(m[1]) + " Found\r\nLocation: /x"
			}
			if status == fast {
				code = "Status: " + code
			}
			answer := code + "\r\nServer: x\r\n" + fields + "\r\nhello"
			if status == fast { // a record of output, and one that ends it
				answer = status + string([]byte{byte(len(answer) >> 8), byte(len(answer)), 0, 0}) + answer + "\x01\x03\x00\x01\x00\x08\x00\x00" + strings.Repeat("\x00", 8)
			} else {
				answer = status + answer
			}
			_, _ = io.WriteString(c, answer)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, br)
		})
	}
	plain, cgi, records := serve("HTTP/1.0 "), serve("Status: "), serve(fast)
	p := sidebyside.Start(t, `
types { text/html html; image/png png; }
fastcgi_param QUERY_STRING $args;
scgi_param QUERY_STRING $args;
uwsgi_param QUERY_STRING $args;
server {
	listen ADDR; root ROOT; charset utf-8;
	location /off/ { charset off; alias ROOT/; }
	location /other { charset KOI8-r; charset_types text/x; }
	location /up { proxy_pass http://`+plain+`; }
	location /up/off { charset off; proxy_pass http://`+plain+`; }
	location /up/ignored { proxy_ignore_headers X-Accel-Charset; proxy_pass http://`+plain+`; }
	location /up/error { proxy_intercept_errors on; error_page 302 =200 /a.html; proxy_pass http://`+plain+`; }
	location /fastcgi { fastcgi_pass `+records+`; }
	location /scgi { scgi_pass `+cgi+`; }
	location /uwsgi { uwsgi_pass `+cgi+`; }
	location /moved { return 301 /x; }
	location /text { return 200 text; }
}`, sidebyside.Files{"a.html": "<p>", "a.png": "png"})
	places := []string{"/up", "/up/off", "/up/ignored", "/up/error", "/fastcgi", "/scgi", "/uwsgi"}
	for i, place := range places {
		for _, charset := range []string{"&", "c=Koi8-R&", "c=utf-8&", "c=unknown&"} {
			kinds := []string{"&", "t=text/html&", "t=image/png&", "t=text/html;charset=koi8-r&", `t=text/html;charset="UTF-8"&`, "t=text/html;charset=odd&", "t=text/html;charset=&", "t=&"}
			if i > 1 {
				kinds = kinds[:4]
			}
			for _, kind := range kinds {
				p.Same(sidebyside.Get(place + "?q=&" + charset + kind + "&"))
				if place != "/up/ignored" {
					p.Same(sidebyside.Get(place + "?q=302&" + charset + kind + "&"))
				}
				for _, to := range []string{"/a.html", "/off/a.html", "/a.png", "/moved", "/other", "/text"} {
					// What a server said of its own page has nothing to do with ours.
					ours := to == "/moved" || to == "/other"
					if place == "/up" && (!ours || !strings.Contains(kind, "charset=")) {
						p.Same(sidebyside.Get(place + "?q=&" + charset + kind + "to=" + to + "&"))
					}
				}
			}
		}
	}
	said := regexp.MustCompile(`(?:unknown charset "[^"]*" to override|no "charset_map" between the charsets "[^"]*" and "[^"]*")`)
	var nginx, baton []string
	p.WaitLogs("logs/error.log", func(n, b string) bool {
		nginx, baton = said.FindAllString(n, -1), said.FindAllString(b, -1)
		return len(nginx) == len(baton) && len(nginx) > 0
	})
	slices.Sort(nginx)
	slices.Sort(baton)
	if !slices.Equal(nginx, baton) || len(nginx) == 0 {
		t.Errorf("nginx logs %q\nbaton logs %q", nginx, baton)
	}
}
