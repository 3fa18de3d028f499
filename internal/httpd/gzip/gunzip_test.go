package gzip_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// packed is text as a member of gzip.
func packed(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if _, err := io.WriteString(zw, text); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const gunzipSite = `
	types { text/html html; text/plain txt; application/gzip gz; }
	server {
		listen ADDR; root ROOT;
		gunzip on; gunzip_buffers 16 8k;
		location / { gzip_static always; }
		location /vary/ { alias ROOT/; gzip_static always; gzip_vary on; }
		location /version/ { alias ROOT/; gzip_static always; gzip_http_version 1.0; }
		location /via/ { alias ROOT/; gzip_static always; gzip_proxied any; }
		location /noie/ { alias ROOT/; gzip_static always; gzip_disable msie6; }
		location /off/ { alias ROOT/; gzip_static always; gunzip off; }
		location /again/ { alias ROOT/; gzip_static always; gzip on; gzip_types *; gzip_min_length 1; }
		location /raw/ { alias ROOT/; default_type text/plain; types { } add_header Content-Encoding gzip; }
		location /upper/ { alias ROOT/; default_type text/plain; types { } add_header Content-Encoding GZip; }
		location /other/ { alias ROOT/; default_type text/plain; types { } add_header Content-Encoding br; }
		location /proxied/ { proxy_pass http://ADDR/raw/; }
		location /unbuffered/ { proxy_pass http://ADDR/raw/; proxy_buffering off; }
		location /failing/ { return 404 "not gzip"; add_header Content-Encoding gzip always; }
		location /rate/ { alias ROOT/; gzip_static always; limit_rate 10m; }
	}`

func gunzipFiles(t testing.TB) sidebyside.Files {
	large := packed(t, strings.Repeat("large content of some kind, ", 20_000))
	return sidebyside.Files{
		"a.txt.gz": packed(t, "a text that was compressed"), "large.txt.gz": large,
		"two.txt.gz": packed(t, "one") + packed(t, "and two"), "empty.txt.gz": packed(t, ""),
	}
}

// Who does not take gzip gets the content itself, with nginx's head.
func TestGunzipSameAsNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, gunzipSite, gunzipFiles(t))
	targets := []string{"/off/a.txt", "/again/a.txt", "/via/a.txt", "/version/a.txt", "/noie/a.txt", "/none.txt", "/failing/"}
	for _, folder := range []string{"/", "/vary/", "/rate/"} {
		targets = append(targets, folder+"a.txt", folder+"large.txt", folder+"two.txt", folder+"empty.txt")
	}
	for _, folder := range []string{"/raw/", "/upper/", "/other/", "/proxied/", "/unbuffered/"} {
		targets = append(targets, folder+"a.txt.gz", folder+"large.txt.gz", folder+"two.txt.gz")
	}
	for _, target := range targets {
		for _, fields := range [][]string{
			nil, {"Accept-Encoding: gzip"}, {"Accept-Encoding: gzip;q=0"}, {"Accept-Encoding: deflate"}, {"Range: bytes=0-3"}, {"Accept-Encoding: gzip", "Via: 1.1 p"},
			{"Accept-Encoding: gzip", "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows)"}, {"If-None-Match: *"}, {"If-Modified-Since: Thu, 01 Jan 2100 00:00:00 GMT"},
		} {
			if (strings.HasPrefix(target, "/proxied/") || strings.HasPrefix(target, "/unbuffered/")) && fields != nil && !strings.HasPrefix(fields[0], "Accept") {
				continue // a part of a member, and a 304 that nginx wants to decompress
			}
			p.Same(sidebyside.Get(target, fields...))
			p.Same(sidebyside.Ask("HEAD", target, fields...))
		}
		p.Same("GET " + target + " HTTP/1.0\r\n\r\n")
		p.Same("GET " + target + " HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
	}
	if got := p.Same(sidebyside.Get("/two.txt")); got.Body != "oneand two" {
		t.Errorf("two members: %s", got)
	}
}

// Content that is none is cut, so that nobody takes a part for the whole, and the
// log says what nginx's says.
func TestGunzipBrokenContent(t *testing.T) {
	t.Parallel()
	long := packed(t, strings.Repeat("0123456789 ", 100))
	files := sidebyside.Files{
		"plain.txt.gz": "this is no gzip at all", "cut.txt.gz": long[:len(long)-12], "head.txt.gz": long[:7], "nothing.txt.gz": "",
		"garbage.txt.gz": long + "garbage that is longer than a header", "sum.txt.gz": long[:len(long)-8] + "\x00\x00\x00\x00" + long[len(long)-4:],
		"cutend.txt.gz": long[:len(long)-1], "twocut.txt.gz": long + long[:20],
	}
	p := sidebyside.Start(t, gunzipSite, files)
	for name := range files {
		// From a file all is lost with the first fault, in nginx as here.
		if got := p.Same(sidebyside.Get("/" + strings.TrimSuffix(name, ".gz"))); got.Err != "EOF" {
			t.Errorf("%s: %s", name, got)
		}
		// From a server it depends on what came when.
		if _, got := p.Do(sidebyside.Get("/proxied/" + name)); got.Err != "EOF" {
			t.Errorf("%s from a server: %s", name, got)
		}
	}
	reason := regexp.MustCompile(`inflate\(\) (failed|returned -5 on response end).* while sending response to client, client: .* request: "GET /([a-z]+).txt HTTP`)
	nginx, baton := p.Logs("logs/error.log")
	want, got := map[string]string{}, map[string]string{}
	for _, m := range reason.FindAllStringSubmatch(nginx, -1) {
		want[m[2]] = m[1]
	}
	for _, m := range reason.FindAllStringSubmatch(baton, -1) {
		got[m[2]] = m[1]
	}
	if len(want) != len(files) || !maps.Equal(want, got) {
		t.Errorf("nginx logged %v, Baton %v", want, got)
	}
}
