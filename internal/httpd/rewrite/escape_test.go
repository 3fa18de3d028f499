package rewrite_test

import (
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const escapes = `
	server {
		listen ADDR;
		location /up/ { return 200 "$request_uri"; }
		location ~ ^/set/(.*)$ { set $p $1; return 200 "$p $1"; }
		location ~ ^/sets/(.*)$ { set $p "a-$1"; set $p "$p.$1"; return 200 "$p"; }
		location ~ ^/named/(?<n>.*)$ { set $p $n; return 200 "$p $n"; }
		location /after/ { rewrite ^/after/(.*)$ /x/$1; set $p $1; break; return 200 "$p"; }
		location /after2/ { rewrite ^/after2/(.*)$ /x/$1; set $p $1; return 200 "$p"; }
		location ~ ^/equal/(.*)$ { if ($arg_v = $1) { return 200 "equal"; } return 200 "other"; }
		location ~ ^/file/(.*)$ { if (-f ROOT/$1) { return 200 "file"; } return 200 "none"; }
		location ~ ^/captured/(.*)$ { set $p $1; proxy_pass http://ADDR/up/$p; }
		location "/auto sp/" { proxy_pass http://ADDR/up/; }
		location "/auto#é/" { proxy_pass http://ADDR/up/; }
	}`

// Groups are escaped in "set" as nginx does it.
func TestGroupsInSet(t *testing.T) {
	p := sidebyside.Start(t, escapes, sidebyside.Files{"a b": "x", "a%20b": "x", "ab": "x"})
	for _, rest := range []string{"x", "a%20b", "a+b", "a%3Fb", "a%2Fb/c", "a%23b", "a%25b", "%C3%A9", "a%26b%3Bc", "a?q=%20", "ab"} {
		for _, place := range []string{"/set/", "/sets/", "/named/", "/after/", "/after2/", "/equal/", "/file/", "/captured/"} {
			p.Same(sidebyside.Get(place + rest))
		}
	}
	p.Same(sidebyside.Get("/equal/a%20b?v=a%20b"))
	p.Same(sidebyside.Get("/auto%20sp"))
	p.Same(sidebyside.Get("/auto%20sp?a=b"))
	p.Same(sidebyside.Get("/auto%23%C3%A9"))
}

// What a server is asked for, and where a client is sent, has nothing in it that ends a
// URL or a line, whatever variable the text comes from.
func TestNothingRawInURLs(t *testing.T) {
	const site = `
	server {
		listen ADDR;
		location /up/ { return 200 "$request_uri"; }
		location ~ ^/group/(.*)$ { proxy_pass http://ADDR/up/$1; }
		location ~ ^/named/(?<rest>.*)$ { proxy_pass http://ADDR/up/$rest?x=$rest; }
		location /uri/ { proxy_pass http://ADDR/up$uri; }
		location /plain/ { proxy_pass http://ADDR/up/; }
		location /args/ { set $args "$args&u=$uri"; proxy_pass http://ADDR/up/; }
		location /method/ { proxy_method $arg_m; proxy_pass http://ADDR/up/; }
		location /inner/ { rewrite ^/inner/(.*)$ /plain/$1?v=$uri last; }
		location = /raw { proxy_pass http://ADDR; rewrite ^ /up$request_uri break; }
		location /up { return 200 "$request_uri"; }

		location ~ ^/to/(.*)$ { return 301 /to/$1; }
		location /to-uri/ { return 302 https://other.example.com$uri?u=$uri; }
		location /to-page/ { return 307 "/#/page$uri"; }
		location /to-set/ { set $spa "/#/"; return 308 $spa$arg_x; }
		location /moved/ { rewrite ^/moved/(.*)$ /x$uri redirect; }
		location /paged/ { error_page 404 http://other.example.com$uri; return 404; }
		location /added/ { add_header Location /a$uri; return 201 "x"; }
		location /back/ { proxy_pass http://ADDR/answer/; proxy_redirect /answer/ /b$uri; }
		location /answer/ { absolute_redirect off; return 302 /answer/; }
	}`
	p := sidebyside.Start(t, site, nil)
	for _, c := range []struct{ target, status, want string }{
		{"/group/x%20y", "200", "/up/x%20y"},
		{"/group/x%23y%7Fz", "200", "/up/x%23y%7Fz"},
		{"/group/%0D%C3%A9", "200", "/up/%0D%C3%A9"},
		{"/named/a%20b", "200", "/up/a%20b?x=a%20b"},
		{"/uri/a%20b%23c", "200", "/up/uri/a%20b%23c"},
		{"/plain/\xc3\xa9?q=\xc3\xa9", "200", "/up/%C3%A9?q=%C3%A9"},
		{"/up/\xc3\xa9", "200", "/up/\xc3\xa9"},
		{"/args/x?a=\xff", "200", "/up/x?a=%FF&u=/args/x"},
		{"/args/x%20y?a", "200", "/up/x%20y?a&u=/args/x%20y"},
		{"/method/?m=G%20T", "400", ""},
		{"/inner/a%20b?q", "200", "/up/a%20b?v=/inner/a%20b&q"},
		{"/raw#fragment", "200", "/up/raw%23fragment"},
		{"/to/a%20b%23c%C3%A9%0d", "301", "http://www.example.com:PORT/to/a%20b%23c%C3%A9%0D"},
		{"/to-uri/a%20b%23", "302", "https://other.example.com/to-uri/a%20b%23?u=/to-uri/a%20b%23"},
		{"/to-page/%23x", "307", "http://www.example.com:PORT/#/page/to-page/%23x"},
		{"/to-set/?x=\xc3\xa9", "308", "http://www.example.com:PORT/#/%C3%A9"},
		{"/moved/a%20b%23c", "302", "http://www.example.com:PORT/x/moved/a%20b%23c"},
		{"/paged/a%20b%23c", "302", "http://other.example.com/paged/a%20b%23c"},
		{"/added/a%20b%23c%09", "201", "/a/added/a%20b%23c%09"},
		{"/back/a%20b%23c", "302", "http://www.example.com:PORT/b/back/a%20b%23c"},
	} {
		_, baton := p.Do(sidebyside.Get(c.target))
		got := baton.Body
		if c.status != "200" {
			got = baton.Field("Location")
		}
		_, port, _ := strings.Cut(p.Baton, ":")
		if want := strings.ReplaceAll(c.want, "PORT", port); baton.Code() != c.status || got != want {
			t.Errorf("%q: %s %q, want %s %q", c.target, baton.Code(), got, c.status, want)
		}
	}
}
