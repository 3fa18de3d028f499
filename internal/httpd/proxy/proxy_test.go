package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// readRequest reads one request and returns its head as it came, and its body.
func readRequest(br *bufio.Reader) (head, body string, err error) {
	var b strings.Builder
	length, chunked := 0, false
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		b.WriteString(line)
		if line == "\r\n" {
			break
		}
		if _, err := fmt.Sscanf(line, "Content-Length: %d", &length); err == nil {
			continue
		}
		chunked = chunked || strings.HasPrefix(line, "Transfer-Encoding: chunked")
	}
	if chunked {
		var raw strings.Builder
		for !strings.HasSuffix(raw.String(), "0\r\n\r\n") {
			line, err := br.ReadString('\n')
			if err != nil {
				return "", "", err
			}
			raw.WriteString(line)
		}
		return b.String(), raw.String(), nil
	}
	p := make([]byte, length)
	_, err = io.ReadFull(br, p)
	return b.String(), string(p), err
}

// echo answers every request with its own head and body as text.
func echo(c net.Conn, br *bufio.Reader) {
	for {
		head, body, err := readRequest(br)
		if err != nil {
			return
		}
		text := head + body
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
}

// says answers every request with the same bytes and closes.
func says(answer string) func(c net.Conn, br *bufio.Reader) {
	return func(c net.Conn, br *bufio.Reader) {
		if _, _, err := readRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, answer)
	}
}

func TestRequestToServer(t *testing.T) {
	addr := sidebyside.Script(t, echo)
	p := sidebyside.Start(t, `
upstream named { server `+addr+`; keepalive 4; }
server {
	listen ADDR;
	location / { proxy_pass http://`+addr+`; }
	location /uri/ { proxy_pass http://`+addr+`/other/; }
	location /bare { proxy_pass http://`+addr+`/b; }
	location = /exact { proxy_pass http://`+addr+`/e?x=1; }
	location ~ ^/re/(.*)$ { proxy_pass http://`+addr+`; }
	location /var/ { proxy_pass http://`+addr+`/v$uri; }
	location /named/ { proxy_pass http://named; proxy_http_version 1.1; proxy_set_header Connection ""; }
	location /set/ {
		proxy_pass http://named/;
		proxy_set_header Host $host;
		proxy_set_header Connection "";
		proxy_set_header X-Real-IP client;
		proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		proxy_set_header X-Empty "";
		proxy_set_header X-Port $proxy_port;
		proxy_set_header X-Up $proxy_host;
		proxy_set_header Accept-Encoding "";
	}
	location /nohead/ { proxy_pass http://named; proxy_pass_request_headers off; }
	location /nobody/ { proxy_pass http://named; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header Connection ""; }
	location /body/ { proxy_pass http://named; proxy_set_body "set $request_method"; proxy_method PUT; }
	location /stream/ { proxy_pass http://named; proxy_request_buffering off; proxy_http_version 1.1; }
	location /stream10/ { proxy_pass http://named; proxy_request_buffering off; proxy_http_version 1.0; }
	location @x { proxy_pass http://named; }
	location /err { return 404; error_page 404 = @x; }
}`, nil)
	for _, raw := range []string{
		sidebyside.Get("/"),
		sidebyside.Get("/a%20b?c=%20d&e"),
		sidebyside.Get("/a//b/../c"),
		sidebyside.Get("/uri/a/b?x=y"),
		sidebyside.Get("/uri/a%20b%3f%23%25%22%3c%7f%80?x=%20"),
		sidebyside.Get("/uri/a b", "X: y"),
		sidebyside.Get("/uri/\"<>|^`{}\\"),
		sidebyside.Get("/uri"),
		sidebyside.Get("/bare"), sidebyside.Get("/barefoot?a"),
		sidebyside.Get("/exact"), sidebyside.Get("/exact?y=2"),
		sidebyside.Get("/re/a%2fb?c"),
		sidebyside.Get("/var/a.b?c=d"),
		sidebyside.Get("/named/"),
		sidebyside.Get("/set/x", "X-Forwarded-For: 1.2.3.4", "Accept-Encoding: gzip", "X-Real-IP: no", "x-LOWER-mixed: 1"),
		sidebyside.Get("/set/x", "under_score: 1", "TE: trailers", "Keep-Alive: 5", "Upgrade: x", "Cookie: a=b", "Cookie: c=d"),
		sidebyside.Get("/nohead/", "X: y"),
		sidebyside.Get("http://other.example/path?q"),
		sidebyside.Get("/named/", "Content-Length: 0"),
		sidebyside.Ask("POST", "/named/", "Content-Length: 5") + "hello",
		sidebyside.Ask("POST", "/nobody/", "Content-Length: 5") + "hello",
		sidebyside.Ask("POST", "/body/", "Content-Length: 5") + "hello",
		sidebyside.Ask("POST", "/named/", "Transfer-Encoding: chunked") + "5\r\nhello\r\n3;x=y\r\n, x\r\n0\r\n\r\n",
		sidebyside.Ask("POST", "/stream/", "Content-Length: 5") + "hello",
		sidebyside.Ask("POST", "/stream10/", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
		sidebyside.Ask("POST", "/named/", "Content-Length: 5", "Expect: 100-continue") + "hello",
		sidebyside.Ask("DELETE", "/named/"), sidebyside.Ask("OPTIONS", "/named/"),
		sidebyside.Get("/err"),
		"GET /named/ HTTP/1.0\r\n\r\n",
	} {
		p.Same(raw)
	}
}

func TestAnswerToClient(t *testing.T) {
	answers := map[string]string{
		"plain":   "HTTP/1.1 200 OK\r\nServer: s\r\nDate: d\r\nX-One: 1\r\nx-two:2\r\nContent-Length: 3\r\nContent-Type: text/plain;charset=utf-8\r\nETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\nabc",
		"eof":     "HTTP/1.0 200 Fine\r\n\r\nuntil the end",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n",
		"none":    "HTTP/1.1 204 No Content\r\n\r\n",
		"same":    "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\n",
		"found":   "HTTP/1.1 302 Found\r\nLocation: http://SELF/in/x\r\nContent-Length: 0\r\n\r\n",
		"found2":  "HTTP/1.1 301 Moved Permanently\r\nLocation: /relative\r\nContent-Length: 0\r\n\r\n",
		"found3":  "HTTP/1.1 301 Moved Permanently\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n",
		"refresh": "HTTP/1.1 200 OK\r\nRefresh: 5; url=http://SELF/in/y\r\nContent-Length: 0\r\n\r\n",
		"cookies": "HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/in/; Domain=.inner.example\r\nSet-Cookie: c=d; HttpOnly\r\nContent-Length: 0\r\n\r\n",
		"odd":     "HTTP/1.1 299 Very Odd\r\nContent-Length: 0\r\n\r\n",
		"lf":      "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"empty":   "",
		"half":    "HTTP/1.1 200 OK\r\nContent-Le",
		"nocolon": "HTTP/1.1 200 OK\r\nwhat\r\n\r\n",
		"big":     "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 5000) + "\r\n\r\n",
		"short":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"long":    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",
		"ranges":  "HTTP/1.1 206 Partial Content\r\nAccept-Ranges: bytes\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\nVary: x\r\nContent-Encoding: y\r\nCache-Control: no-store\r\nExpires: 0\r\n\r\nok",
		"missing": "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope",
		"deny":    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nnope",
		"accel":   "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /inner/f%20g?x=y\r\nContent-Type: a/b\r\nSet-Cookie: z=1\r\nX-Lost: 1\r\nContent-Length: 4\r\n\r\nnope",
		"accel2":  "HTTP/1.1 200 OK\r\nX-Accel-Redirect: @n\r\nContent-Length: 4\r\n\r\nnope",
		"accel3":  "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /../x\r\nContent-Length: 4\r\n\r\nnope",
		"hidden":  "HTTP/1.1 200 OK\r\nX-Pad: a\r\nX-Accel-Expires: 5\r\nX-Accel-Charset: x\r\nX-Accel-Buffering: no\r\nX-Powered-By: z\r\nConnection: close\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n",
	}
	var self string
	self = sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		head, _, err := readRequest(br)
		if err != nil {
			return
		}
		name := strings.Fields(head)[1]
		name = name[strings.LastIndexByte(name, '/')+1:]
		answer := answers[name]
		if strings.HasPrefix(head, "HEAD ") {
			answer, _, _ = strings.Cut(answer, "\r\n\r\n")
			answer += "\r\n\r\n"
		}
		_, _ = io.WriteString(c, strings.ReplaceAll(answer, "SELF", self))
	})
	p := sidebyside.Start(t, `
server {
	listen ADDR;
	proxy_http_version 1.1;
	location /a/ { proxy_pass http://`+self+`; }
	location /out/ { proxy_pass http://`+self+`/in/; }
	location /off/ { proxy_pass http://`+self+`/in/; proxy_redirect off; }
	location /pairs/ { proxy_pass http://`+self+`/in/;
		proxy_redirect http://nowhere/ /n/; proxy_redirect ~^http://[^/]+/in/(.*)$ http://$host/re/$1;
		proxy_cookie_path /in/ /; proxy_cookie_domain inner.example www.$host; }
	location /pass/ { proxy_pass http://`+self+`/in/; proxy_pass_header Server; proxy_pass_header Date;
		proxy_pass_header X-Pad; proxy_hide_header x-one; proxy_buffering off; }
	location /catch/ { proxy_pass http://`+self+`/in/; proxy_intercept_errors on; error_page 404 401 502 /a/plain; }
	location /wide/ { proxy_pass http://`+self+`/in/; proxy_buffer_size 8k; proxy_buffers 8 8k; }
	location /ignore/ { proxy_pass http://`+self+`/in/; proxy_ignore_headers X-Accel-Redirect; }
	location /inner/ { internal; return 200 "inner $uri $args $request_method"; }
	location @n { return 200 "named $uri"; }
}`, nil)
	for name := range answers {
		for _, at := range []string{"a", "out", "off", "pairs", "pass", "catch", "wide", "ignore"} {
			p.Same(sidebyside.Get("/" + at + "/" + name))
		}
		if name != "empty" {
			p.Same(sidebyside.Ask("HEAD", "/a/"+name))
		}
		p.Same("GET /a/" + name + " HTTP/1.0\r\n\r\n")
	}
}
