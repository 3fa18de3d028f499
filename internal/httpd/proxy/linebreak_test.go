package proxy_test

import (
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// What a client sends as %0d%0a is two bytes of $uri: in what is sent to a server it
// must not begin another field or another request, nor in an answer that is rewritten
// by it. nginx writes it as it is; see docs/differences.md.
func TestLineBreaksInVariablesStayHere(t *testing.T) {
	addr := sidebyside.Script(t, echo)
	moved := sidebyside.Script(t, says("HTTP/1.1 302 Found\r\nLocation: http://h/old/x\r\nSet-Cookie: a=b; Path=/old\r\nContent-Length: 0\r\n\r\n"))
	p := sidebyside.Start(t, `
server {
	listen ADDR;
	location /target { proxy_pass http://`+addr+`$uri; }
	location /args { set $args a=$uri; proxy_pass http://`+addr+`; }
	location /method { proxy_method $uri; proxy_pass http://`+addr+`/; }
	location /field { proxy_set_header Host ADDR; proxy_set_header Connection ""; proxy_set_header X-Uri $uri; proxy_set_header X-After after; proxy_pass http://`+addr+`/; }
	location /host { proxy_set_header Host $uri; proxy_pass http://`+addr+`/; }
	location /folded { proxy_set_header X-Folded "one
		$request_method"; proxy_pass http://`+addr+`/; }
	location /moved { proxy_redirect http://h/old http://h$uri; proxy_cookie_path /old $uri; proxy_pass http://`+moved+`/; }
}`, nil)
	const smuggled = "%0d%0aX-Injected:%20yes"
	for target, want := range map[string]string{
		"/target": "GET /target%0D%0AX-Injected:%20yes HTTP/1.1\r\n",
		"/args":   "?a=/args%0D%0AX-Injected:%20yes HTTP/1.1\r\n",
		"/method": "/method%0D%0AX-Injected:%20yes /%0D%0A",
		"/field":  "X-After: after\r\n",
		"/host":   "X-Injected:%20yes HTTP/1.1\r\nHost: " + addr + "\r\n\r\n",
	} {
		nginx, baton := p.Do(sidebyside.Get(target + smuggled))
		if !strings.Contains(nginx.Body, "\r\nX-Injected: yes") {
			t.Errorf("%s: nginx is said to write line breaks, and sends\n%s", target, nginx.Body)
		}
		if strings.Contains(baton.Body, "\nX-Injected") || !strings.Contains(baton.Body, want) {
			t.Errorf("%s: the server did not get %q but\n%s", target, want, baton.Body)
		}
	}
	nginx, baton := p.Do(sidebyside.Get("/moved" + smuggled))
	if nginx.Field("X-Injected") == "" {
		t.Errorf("nginx is said to write line breaks, and sends\n%s", nginx)
	}
	if baton.Field("Location") != "http://h/moved%0D%0AX-Injected:%20yes/x" || baton.Field("X-Injected") != "" || baton.Field("Set-Cookie") != "" {
		t.Errorf("a rewritten answer is\n%s", baton)
	}
	for _, target := range []string{"/target/a", "/args/a", "/field/a", "/moved/a"} {
		p.Same(sidebyside.Get(target))
	}
	if _, b := p.Do(sidebyside.Get("/folded")); !strings.Contains(b.Body, "X-Folded: one GET\r\n") {
		t.Errorf("a value that the configuration spreads over lines:\n%s", b.Body)
	}
	_, log := p.Logs("logs/error.log")
	for _, line := range []string{
		`line break in the field "X-Uri" for the server, which is not sent, client: `,
		`line break in the field "Host" for the server, which is not sent, client: `,
		`line break in the response field "Set-Cookie", which is not sent, client: `,
	} {
		if !strings.Contains(log, line) {
			t.Errorf("no %q in the error log:\n%s", line, log)
		}
	}
}
