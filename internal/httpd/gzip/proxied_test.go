package gzip_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// answers are what a server behind us may add to its answers.
var answers = []string{
	"", "Expires|Thu, 01 Jan 1970 00:00:01 GMT", "Expires|Thu, 01 Jan 2099 00:00:01 GMT", "Expires|-1", "Expires|Thursday, 01-Jan-70 00:00:01 GMT", "Expires|Thu Jan  1 00:00:01 1970",
	"Cache-Control|no-cache", "Cache-Control|no-store", "Cache-Control|private", "Cache-Control|NO-CACHE", "Cache-Control|public, private", "Cache-Control|x-no-cache", "Cache-Control|no-cache-really",
	"Cache-Control|private=x", "Cache-Control|max-age=5,no-store , a", "Cache-Control|max-age=5", "Cache-Control|no-cache;a", "Cache-Control|a; private", "Cache-Control|a|Cache-Control|no-store",
	"Last-Modified|Thu, 01 Jan 1970 00:00:01 GMT", "ETag|x", `ETag|\"x\"`, "Content-Encoding|identity", "Content-Encoding|br", `ETag|\"x\"|Last-Modified|Thu, 01 Jan 1970 00:00:01 GMT`,
	"Expires|Thu, 01 Jan 1970 00:00:01 GMT|Cache-Control|private", "Expires|Thu, 01 Jan 2099 00:00:01 GMT|Cache-Control|private",
	"Vary|Accept-Encoding", "Accept-Ranges|bytes",
}

// Types of content, as a server behind us writes them.
var contentTypes = []string{
	"text/plain", "TEXT/Plain", "text/plain; charset=utf-8", "text/plain;charset=utf-8", "text/plain ; charset=utf-8", "text/plain; Charset=utf-8", "text/plain; a=b", "text/plain; a=b; charset=x",
	"text/plain;", "text/plain; ", "text/plain ", "text/plainer", "text/html", "application/x; charset=text/plain", "text/plain;   charset=", "",
}

// What a server behind us says about its answer decides as in nginx.
func TestProxiedSameAsNginx(t *testing.T) {
	t.Parallel()
	params := []string{"off", "expired", "no-cache", "no-store", "private", "no_last_modified", "no_etag", "auth", "any", "expired no-cache private no_etag", "off any", "ANY"}
	var b strings.Builder
	b.WriteString("gzip_types text/plain; gzip_min_length 1; server { listen ADDR; root ROOT; \n")
	for i, a := range answers {
		fmt.Fprintf(&b, "location = /b/%d { ", i)
		parts := strings.Split(a, "|")
		for k := 0; k+1 < len(parts); k += 2 {
			fmt.Fprintf(&b, "add_header %s \"%s\"; ", parts[k], parts[k+1])
		}
		b.WriteString("default_type text/plain; return 200 \"some content\"; }\n")
	}
	for i, c := range contentTypes {
		fmt.Fprintf(&b, "location = /t/%d { default_type \"%s\"; return 200 \"some content\"; }\n", i, c)
		fmt.Fprintf(&b, "location = /own/%d { gzip on; default_type \"%s\"; return 200 \"some content\"; }\n", i, c)
	}
	for i, param := range params {
		fmt.Fprintf(&b, "location /p/%d/ { gzip on; gzip_proxied %s; gzip_vary on; proxy_pass http://ADDR/b/; proxy_pass_header Date; }\n", i, param)
	}
	b.WriteString("location /types/ { gzip on; proxy_pass http://ADDR/t/; }\n location /every/ { gzip on; gzip_types *; proxy_pass http://ADDR/t/; }\n }")
	p := sidebyside.Start(t, b.String(), nil)
	same := func(raw string) {
		t.Helper()
		p.SameAs(raw, func(a sidebyside.Answer) sidebyside.Answer { return unpacked(t, a) })
	}
	for i := range params {
		for k := range answers {
			target := fmt.Sprintf("/p/%d/%d", i, k)
			same(sidebyside.Get(target, "Accept-Encoding: gzip", "Via: 1.1 p"))
			if i == 0 {
				same(sidebyside.Get(target, "Accept-Encoding: gzip"))
				same(sidebyside.Get(target, "Accept-Encoding: gzip", "Via: 1.1 p", "Authorization: x"))
			}
		}
	}
	for i := range contentTypes {
		for _, folder := range []string{"/types", "/every", "/own"} {
			same(sidebyside.Get(fmt.Sprintf("%s/%d", folder, i), "Accept-Encoding: gzip"))
		}
	}
}

// Old browsers are told apart as in nginx.
func TestDisableSameAsNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `gzip on; gzip_min_length 1; default_type text/html; gzip_static on;
		server { listen ADDR; root ROOT;
			location /ie/ { gzip_disable msie6; return 200 "some content"; }
			location /two/ { gzip_disable "x y" msie6 "^Old" ; return 200 "some content"; }
			location /file/ { gzip_disable msie6; alias ROOT/; gzip_vary on; }
		}`, sidebyside.Files{"a.html": "some content", "a.html.gz": packed(t, "some content")})
	for _, agent := range []string{
		"MSIE 4.0", "MSIE 4.0 ", "MSIE 5.5x", "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", "MSIE 5.0; SV1", "MSIE 4.0; SV1)",
		"MSIE 7.0; x", "MSIE 10.0", "msie 6.0; x", "MSIE 6", "MSIE 6.", "MSIE 6.0", "MSIE 6.0;", "xMSIE 6.0; MSIE 7.0", "MSIE 7.0; MSIE 6.0; ", "MSIE 66.0", "Opera MSIE 6.0; ", "x y", "X Y", "older", "Old", "", "SV1 MSIE 6.0 ;",
	} {
		for _, target := range []string{"/ie/", "/two/", "/file/a.html"} {
			nginx, baton := p.Do(sidebyside.Get(target, "Accept-Encoding: gzip", "User-Agent: "+agent))
			if n, b := p.Neutral(unpacked(t, nginx)).String(), p.Neutral(unpacked(t, baton)).String(); n != b {
				t.Errorf("%s %q:\n--- nginx\n%s\n--- baton\n%s", target, agent, n, b)
			}
		}
	}
}
