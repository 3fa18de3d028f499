package charset_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"regexp"
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
