package headers_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const site = `
	types { text/html html; text/plain txt; }
	default_type text/plain;
	add_header X-Level http;
	server {
		listen ADDR;
		root ROOT;
		location /inherited/ { root ROOT; }
		location /own/ { add_header X-Own 1; add_header X-Own 2; add_header X-Always "3 $uri" always; add_header X-Empty ""; add_header X-Var $arg_nothing; }
		location /status/ { add_header X-Status "$status"; add_header Cache-Control private; }
		location = /c201 { return 201 x; }
		location = /c302 { return 302 /x; }
		location = /c304 { return 304; }
		location = /c403 { return 403; }
		location = /c500 { add_header X-A always; add_header X-B always always; return 500; }
		location = /c204 { return 204; }
		location /etag/ { add_header ETag '"mine"'; add_header Last-Modified "Sun, 06 Nov 1994 08:49:37 GMT"; }
		location /noetag/ { add_header ETag ""; add_header Last-Modified ""; }
		location /epoch/ { expires epoch; }
		location /max/ { expires max; add_header Cache-Control public; }
		location /zero/ { expires 0; }
		location /minus/ { expires -1; }
		location /hour/ { expires 1h; }
		location /modified/ { expires modified 1d; }
		location /proxied/ { expires modified 1d; proxy_pass http://ADDR/own/; }
		location /undated/ { expires modified 1d; proxy_pass http://ADDR/c201; }
		location /modified-minus/ { expires modified -1d; }
		location /day/ { expires @15h30m; }
		location /off/ { expires off; }
		location /expvar/ { expires $arg_e; }
	}`

func files() sidebyside.Files {
	fs := sidebyside.Files{}
	for _, dir := range []string{
		"inherited", "own", "status", "etag", "noetag", "epoch", "max", "zero", "minus", "hour", "modified", "modified-minus", "day", "off", "expvar",
	} {
		fs[dir+"/a.txt"] = "text of " + dir
	}
	return fs
}

func TestSameAsNginx(t *testing.T) {
	p := sidebyside.Start(t, site, files())
	for _, target := range []string{
		"/", "/inherited/a.txt", "/inherited/nope", "/own/a.txt", "/own/nope", "/own", "/status/a.txt", "/c201", "/c302", "/c304", "/c403", "/c500", "/c204", "/etag/a.txt", "/noetag/a.txt",
		"/epoch/a.txt", "/epoch/nope", "/max/a.txt", "/off/a.txt",
	} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("HEAD", target))
		p.Same(sidebyside.Get(target, "Range: bytes=0-1"))
		p.Same(sidebyside.Get(target, "If-None-Match: *"))
		p.Same(sidebyside.Get(target, `If-None-Match: "mine"`))
	}
}

var clock = regexp.MustCompile(`\d\d:\d\d:\d\d`)

// Times that depend on the moment are equal if both servers answered within the
// same second; one of a few tries does.
func TestExpires(t *testing.T) {
	p := sidebyside.Start(t, site, files())
	for _, target := range []string{
		"/proxied/a.txt", "/undated/", "/zero/a.txt", "/minus/a.txt", "/hour/a.txt", "/modified/a.txt", "/modified-minus/a.txt", "/day/a.txt", "/expvar/a.txt?e=5m", "/expvar/a.txt?e=epoch", "/expvar/a.txt?e=nonsense", "/expvar/a.txt",
	} {
		var n, b string
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			nginx, baton := p.Do(sidebyside.Get(target))
			if n, b = p.Neutral(nginx).String(), p.Neutral(baton).String(); n == b {
				break
			}
			if clock.ReplaceAllString(n, "") != clock.ReplaceAllString(b, "") && target != "/day/a.txt" {
				break
			}
		}
		if n != b {
			t.Errorf("%s:\n--- nginx\n%s\n--- baton\n%s", target, n, b)
		}
	}
}
