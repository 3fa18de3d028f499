package proxy_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// answering is a server that answers each path with what answers has for its last part.
func answering(t *testing.T, answers map[string]string) string {
	return sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		head, _, err := readRequest(br)
		if err != nil {
			return
		}
		path, _, _ := strings.Cut(strings.Fields(head)[1], "?")
		_, _ = io.WriteString(c, answers[path[strings.LastIndexByte(path, '/')+1:]])
	})
}

// TestDetailsOfAnswers: cookies, and requests that a server sends on by X-Accel-Redirect,
// are as with nginx.
func TestDetailsOfAnswers(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
	addr := answering(t, map[string]string{
		"dot":      ok + "Set-Cookie: v=1; Domain=.www.example.org; Path=/\r\n\r\n",
		"bare":     ok + "Set-Cookie: v=1; Domain=www.example.org\r\n\r\n",
		"regex":    ok + "Set-Cookie: v=1; Domain=.a.example.net\r\n\r\n",
		"tabs":     ok + "Set-Cookie: \tx\t=\t1\t; a\r\nSet-Cookie: x=\t 2 ; b\r\n\r\n",
		"spaces":   ok + "Set-Cookie: x  =   1  ; a\r\n\r\n",
		"redirect": ok + "X-Accel-Redirect: /set\r\n\r\n",
		"back":     ok + "X-Accel-Redirect: /plain\r\n\r\n",
	})
	mirror := sidebyside.Script(t, echo)
	p := sidebyside.Start(t, `server { listen ADDR;
		location /c/ { proxy_pass http://`+addr+`; proxy_cookie_domain www.example.org .example.com; proxy_cookie_domain ~^(.+)\.net$ $1.org; add_header X-Cookie "<$upstream_cookie_x>"; }
		location /a/ { proxy_pass http://`+addr+`; }
		location /b/ { proxy_pass http://`+addr+`; proxy_set_body other; }
		location /o/ { proxy_pass http://`+addr+`; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header Connection ""; }
		location /set { proxy_pass http://`+mirror+`; proxy_set_body "set $request_method"; }
		location /plain { proxy_pass http://`+mirror+`; }
		location /nobody { proxy_pass http://`+mirror+`; proxy_pass_request_body off; } }`, nil)
	for _, name := range []string{"dot", "bare", "regex", "tabs", "spaces"} {
		p.Same(sidebyside.Get("/c/" + name))
	}
	for _, at := range []string{"/a/", "/b/", "/o/"} {
		for _, name := range []string{"redirect", "back"} {
			p.Same(sidebyside.Get(at + name))
			p.Same(sidebyside.Ask("POST", at+name, "Content-Length: 5") + "hello")
		}
	}
	p.Same(sidebyside.Get("/nobody"))
	p.Same(sidebyside.Get("/nobody", "Content-Length: 0"))
	p.Same(sidebyside.Get("http://other.example?x=y"))
}

// TestRateIsKeptByARedirect: X-Accel-Limit-Rate holds for what X-Accel-Redirect leads to,
// and for a page that stands for the answer.
func TestRateIsKeptByARedirect(t *testing.T) {
	t.Parallel()
	addr := answering(t, map[string]string{
		"on":  "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /file\r\nX-Accel-Limit-Rate: 500\r\nContent-Length: 0\r\n\r\n",
		"not": "HTTP/1.1 404 Not Found\r\nX-Accel-Limit-Rate: 500\r\nContent-Length: 0\r\n\r\n",
	})
	p := sidebyside.StartAlone(t, `server { listen ADDR; root ROOT; error_page 404 /file; proxy_intercept_errors on;
		location /x/ { proxy_pass http://`+addr+`; } location /file { } }`, sidebyside.Files{"file": strings.Repeat("0123456789", 100)})
	for _, path := range []string{"/x/on", "/x/not"} {
		start := time.Now()
		a := p.DoBaton(sidebyside.Get(path))
		if took := time.Since(start); took < 900*time.Millisecond || len(a.Body) != 1000 {
			t.Errorf("%s: %d bytes in %s, want 1000 at 500 a second", path, len(a.Body), took)
		}
	}
}

// TestFirstOfFieldsCounts: of a field that an answer has once nginx 1.31.5 passes on the
// first.
func TestFirstOfFieldsCounts(t *testing.T) {
	t.Parallel()
	addr := answering(t, map[string]string{
		"x": "HTTP/1.1 200 OK\r\nExpires: foo\r\nX-One: a\r\nexpires: bar\r\nETag: \"a\"\r\nETag: \"b\"\r\nX-One: b\r\nLocation: /a\r\nLocation: /b\r\n" +
			"Content-Type: a/a\r\nContent-Type: b/b\r\nLast-Modified: a\r\nLast-Modified: b\r\nRefresh: 1\r\nRefresh: 2\r\nContent-Length: 0\r\n\r\n",
	})
	p := sidebyside.StartAlone(t, `server { listen ADDR; location / { proxy_redirect off; proxy_pass http://`+addr+`; } }`, nil)
	a := p.DoBaton(sidebyside.Get("/x"))
	got := a.String()
	for _, bad := range []string{"bar", `"b"`, "/b", "b/b", "Last-Modified: b", "Refresh: 2"} {
		if strings.Contains(got, bad) {
			t.Errorf("%s is passed on:\n%s", bad, got)
		}
	}
	if strings.Count(got, "X-One") != 2 || a.Field("Expires") != "foo" || a.Field("ETag") != `"a"` || a.Field("Location") != "/a" {
		t.Errorf("the answer is\n%s", got)
	}
}
