package flv_test

import (
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const site = `
	types { video/x-flv flv; text/plain txt; }
	server {
		listen ADDR; root ROOT;
		location / { flv; error_page 404 /missing.txt; location ~ /inner/ { } }
		location /alias/ { flv; alias ROOT/; gzip on; gzip_types *; }
		location /slow/ { flv; alias ROOT/; limit_rate 10m; sendfile on; }
		location /one/ { flv; alias ROOT/; max_ranges 1; sendfile on; etag off; }
	}`

var files = sidebyside.Files{
	"a.flv":     "FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + strings.Repeat("0123456789", 10),
	"large.flv": strings.Repeat("a large video, ", 20_000), "empty.flv": "", "a.txt": "text", "folder/x": "", "inner/a.flv": "plain file", "missing.txt": "missing",
}

// Every answer is nginx's, to the header.
func TestSameAsNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, site, files)
	for _, target := range []string{
		"/a.flv", "/a.flv?", "/a.flv?start=", "/a.flv?start=0", "/a.flv?start=1", "/a.flv?start=50", "/a.flv?start=112", "/a.flv?start=113", "/a.flv?start=114", "/a.flv?start=-1",
		"/a.flv?start=x", "/a.flv?start=5x", "/a.flv?start=%31", "/a.flv?START=7", "/a.flv?x=1&start=7&start=8", "/a.flv?xstart=7", "/a.flv?start=99999999999999999999", "/a.flv?start=0007",
		"/large.flv?start=1000", "/large.flv?start=299999", "/empty.flv", "/empty.flv?start=1", "/a.txt?start=2", "/folder", "/folder?start=1", "/folder/", "/none.flv?start=1", "/inner/a.flv?start=2",
		"/alias/large.flv?start=10", "/alias/a.flv?start=9", "/slow/large.flv?start=7", "/slow/large.flv?start=290000", "/one/a.flv?start=20", "/a.flv?end=5&start=90",
	} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("HEAD", target))
		p.Same("GET " + target + " HTTP/1.0\r\n\r\n")
		for _, want := range []string{"bytes=0-4", "bytes=5-20", "bytes=13-", "bytes=20-30", "bytes=-5", "bytes=9999999-", "bytes=0-12"} {
			p.Same(sidebyside.Get(target, "Range: "+want))
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		p.Same(sidebyside.Ask(method, "/a.flv?start=5", "Content-Length: 0"))
	}
	got := p.Same(sidebyside.Get("/a.flv?start=50"))
	if want := files["a.flv"][:13] + files["a.flv"][50:]; got.Body != want || got.Field("Content-Type") != "video/x-flv" {
		t.Errorf("from 50 on: %q", got)
	}
	for _, cond := range []string{"If-None-Match: " + got.Field("ETag"), "If-Modified-Since: " + got.Field("Last-Modified"), "If-Match: \"x\""} {
		p.Same(sidebyside.Get("/a.flv?start=50", cond))
		p.Same(sidebyside.Get("/a.flv", cond))
	}
}

// Several ranges of what begins with our header are served; nginx hangs up there.
func TestSeveralRanges(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, site, files)
	for _, want := range []string{"bytes=20-30,40-50", "bytes=5-20,0-3"} {
		_, baton := p.Do(sidebyside.Get("/a.flv?start=60", "Range: "+want))
		whole := files["a.flv"][:13] + files["a.flv"][60:]
		parts := []string{whole[20:31], whole[40:51]}
		if strings.Contains(want, "5-20") {
			parts = []string{whole[5:21], whole[0:4]}
		}
		if baton.Code() != "206" || baton.Err != "" || !strings.Contains(baton.Body, "\r\n\r\n"+parts[0]+"\r\n--") || !strings.Contains(baton.Body, "\r\n\r\n"+parts[1]+"\r\n--") {
			t.Errorf("%s: %s", want, baton)
		}
	}
}
