package rewrite_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// endings are what ends a script after a rewrite that would have another location
// chosen.
var endings = []string{
	`return 200 "one";`, `return 200;`, `return 204;`, `return 302 /to;`, `return 307 http://other.example.com/;`,
	`return 404;`, `return 404 "none";`, `return 503;`, `return 444;`, `return 200 $uri;`,
	`if ($arg_q) { return 200 "if"; }`, `if ($arg_q) { return 301 /if; }`, `if ($arg_q) { break; }`,
	`if ($arg_q) { set $x 1; } return 200 "x$x";`, `rewrite ^ /moved redirect;`, `rewrite ^ "$arg_none" last;`,
}

// A rewrite without a flag has another location chosen when the script is over. What
// answers before that is the answer, and the only one.
func TestReturnEndsRewrite(t *testing.T) {
	var site strings.Builder
	site.WriteString("server {\n\tlisten ADDR;\n\troot ROOT;\n\tlocation /over { return 200 \"over $uri\"; }\n")
	for i, end := range endings {
		fmt.Fprintf(&site, "\tlocation /here%d/ { rewrite ^/here\\d+/(.*)$ /here%d/$1x; %s }\n", i, i, end)
		fmt.Fprintf(&site, "\tlocation /away%d/ { rewrite ^ /over; %s }\n", i, end)
		if !strings.HasPrefix(end, "if") {
			fmt.Fprintf(&site, "\tlocation /in%d/ { if ($uri) { rewrite ^ /over; %s } }\n", i, end)
		}
		fmt.Fprintf(&site, "\tlocation /paged%d/ { error_page 404 503 /over; rewrite ^ /over; %s }\n", i, end)
	}
	site.WriteString("}\n")
	p := sidebyside.Start(t, site.String(), sidebyside.Files{"over": "file"})
	for i, end := range endings {
		for _, place := range []string{"here", "away", "in", "paged"} {
			for _, query := range []string{"", "?q=1"} {
				target := fmt.Sprintf("/%s%d/%s", place, i, query)
				next := "GET " + target + " HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
				nginx, baton := p.DoAll(next + next + sidebyside.Get("/over"))
				if n, b := all(p, nginx), all(p, baton); n != b {
					t.Errorf("%s %s:\n--- nginx\n%s\n--- baton\n%s", target, end, n, b)
				}
			}
		}
	}
}

// all is answers as one text.
func all(p *sidebyside.Pair, answers []sidebyside.Answer) string {
	var b strings.Builder
	for _, a := range answers {
		b.WriteString(p.Neutral(a).String() + "\n")
	}
	return b.String()
}

// What break leaves of a rewrite is a URI of which the location's name says nothing: a
// server is asked for it as it is.
func TestBreakKeepsTheRewrittenURI(t *testing.T) {
	const site = `
	server {
		listen ADDR;
		location /up/ { return 200 "asked for $request_uri"; }
		location / { return 200 "asked for $request_uri"; }
		location /a/ { rewrite ^/a/(.*)$ /up/a/$1; break; proxy_pass http://ADDR/other/; }
		location /b/ { rewrite ^/b/(.*)$ /up/b/$1 break; proxy_pass http://ADDR/other/; }
		location /c/ { rewrite ^/c/(.*)$ /up/c/$1; if ($arg_q) { break; } proxy_pass http://ADDR/other/; }
		location /d/ { break; proxy_pass http://ADDR/up/d/; }
		location /e/ { rewrite ^/never/(.*)$ /up/c/$1; break; proxy_pass http://ADDR/up/e/; }
		location /f/ { set $s 1; break; rewrite ^/f/(.*)$ /c/$1; proxy_pass http://ADDR/up/f/; }
		location /g/ { proxy_pass http://ADDR/up/g/; if ($arg_q) { rewrite ^ /up/inner; break; } }
		location /h/ { alias ROOT/; rewrite ^/h/(.*)$ /h/$1; break; }
	}
	server {
		listen ADDR;
		server_name broken.example.com;
		rewrite ^/s/(.*)$ /s2/$1;
		if ($arg_q) { break; }
		location /s2/ { proxy_pass http://ADDR/up/; }
	}`
	p := sidebyside.Start(t, site, sidebyside.Files{"x": "file"})
	for _, target := range []string{"/a/x", "/b/x", "/c/x", "/d/x", "/e/x", "/f/x", "/g/x", "/h/x"} {
		for _, query := range []string{"", "?q=1"} {
			p.Same(sidebyside.Get(target + query))
		}
	}
	p.Same("GET /s/x HTTP/1.1\r\nHost: broken.example.com\r\nConnection: close\r\n\r\n")
	p.Same("GET /s/x?q=1 HTTP/1.1\r\nHost: broken.example.com\r\nConnection: close\r\n\r\n")
}
