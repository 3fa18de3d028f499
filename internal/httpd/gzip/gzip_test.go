package gzip_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const site = `
	types { text/html html; text/plain txt; application/json json; image/png png; }
	gzip on;
	gzip_types text/plain application/json;
	server {
		listen ADDR;
		root ROOT;
		location /vary/ { alias ROOT/; gzip_vary on; }
		location /off/ { alias ROOT/; gzip off; }
		location /all/ { alias ROOT/; gzip_types *; gzip_comp_level 9; gzip_min_length 1; }
		location /one/ { alias ROOT/; gzip_http_version 1.0; }
		location /any/ { alias ROOT/; gzip_proxied any; }
		location /some/ { alias ROOT/; gzip_proxied expired no-cache no-store private auth no_etag; expires epoch; }
		location /notmodified/ { alias ROOT/; gzip_proxied no_last_modified; }
		location /untagged/ { alias ROOT/; gzip_proxied no_etag; }
		location /noie/ { alias ROOT/; gzip_disable "msie6" "Bad\d"; }
		location /text { return 200 "a text of more than twenty bytes"; }
		location /short { return 200 "short"; }
		location /noetag/ { alias ROOT/; etag off; add_header ETag unquoted; }
		location /static/ { alias ROOT/; gzip_static on; gzip_vary on; }
		location /always/ { alias ROOT/; gzip_static always; }
		location /staticoff/ { alias ROOT/; gzip_static on; gzip off; }
		location /expires/ { alias ROOT/; gzip_static on; expires 1h; gzip_proxied expired; }
		location /old/ { alias ROOT/; gzip_static on; error_page 404 /new/a.txt; }
		location /new/ { alias ROOT/; gzip_http_version 1.0; gzip_vary on; }
		location /oldnamed/ { alias ROOT/; gzip_static on; gzip_vary on; error_page 404 @new; }
		location @new { gzip_http_version 1.0; gzip_vary on; default_type text/plain; return 200 "a text of more than twenty bytes"; }
		location /oldvary/ { alias ROOT/; gzip_static on; gzip_vary on; error_page 404 /vary/a.png; }
		location /oldnamedvary/ { alias ROOT/; gzip_static on; gzip_vary on; error_page 404 @image; }
		location @image { gzip_vary on; default_type image/png; return 200 "a text of more than twenty bytes"; }
		location /oldoff/ { alias ROOT/; gzip_static on; error_page 404 @image; }
		location /oldie/ { alias ROOT/; gzip_static on; gzip_disable bad; error_page 404 /new/a.txt; }
		location /slow/ { alias ROOT/; limit_rate 1m; }
	}`

func files() sidebyside.Files {
	return sidebyside.Files{
		"a.txt": strings.Repeat("some text, ", 30), "big.json": strings.Repeat(`{"key": "value"}`, 30_000), "a.png": strings.Repeat("png", 100), "empty.txt": "",
		"short.txt": "short", "pre.txt": "the plain file", "pre.txt.gz": "(not really compressed)", "folder.txt": "f", "folder.txt.gz/x": "", "bare.txt.gz/x": "",
	}
}

// unpacked is a with its content decompressed, so that what two compressors made
// of it can be compared.
func unpacked(t *testing.T, a sidebyside.Answer) sidebyside.Answer {
	t.Helper()
	if a.Field("Content-Encoding") != "gzip" || a.Body == "" || strings.HasPrefix(a.Body, "(not") || a.Code() == "206" {
		return a
	}
	zr, err := gzip.NewReader(strings.NewReader(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(zr)
	if err != nil {
		t.Errorf("decompress: %v", err)
	}
	if len(b) > 100 && len(a.Body) >= len(b) {
		t.Errorf("%d bytes were compressed to %d", len(b), len(a.Body))
	}
	a.Body = string(b)
	return a
}

func TestSameAsNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, site, files())
	same := func(raw string) {
		t.Helper()
		p.SameAs(raw, func(a sidebyside.Answer) sidebyside.Answer { return unpacked(t, a) })
	}
	for _, target := range []string{
		"/a.txt", "/big.json", "/a.png", "/empty.txt", "/short.txt", "/nope", "/vary/a.txt", "/vary/a.png", "/off/a.txt", "/all/a.png", "/all/short.txt", "/one/a.txt", "/any/a.txt", "/some/a.txt",
		"/notmodified/a.txt", "/untagged/a.txt", "/noie/a.txt", "/text", "/short", "/noetag/a.txt", "/static/pre.txt", "/static/a.txt", "/static/folder.txt", "/always/pre.txt", "/always/a.txt", "/staticoff/pre.txt", "/expires/a.txt", "/expires/pre.txt", "/old/none.txt", "/old/a.txt", "/oldie/none.txt", "/oldnamed/none.txt", "/oldvary/bare.txt", "/oldnamedvary/bare.txt", "/oldvary/none.txt", "/oldoff/bare.txt", "/oldoff/none.txt", "/slow/big.json",
	} {
		for _, fields := range [][]string{
			nil, {"Accept-Encoding: gzip"}, {"Accept-Encoding: gzip, deflate, br"}, {"Accept-Encoding: gzip", "Range: bytes=0-3"},
			{"Accept-Encoding: gzip", "Via: 1.1 proxy"}, {"Accept-Encoding: gzip", "Via: 1.1 proxy", "Authorization: x"},
			{"Accept-Encoding: gzip", "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows)"}, {"Accept-Encoding: gzip", "User-Agent: bad7"}, {"Accept-Encoding: gzip", "If-None-Match: *"},
		} {
			same(sidebyside.Get(target, fields...))
			same(sidebyside.Ask("HEAD", target, fields...))
		}
		same("GET " + target + " HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
	}
	for _, accept := range []string{
		"", "gzip;q=0", "gzip;q=0.0", "gzip;q=0.001", "gzip;q=1", "gzip;q=1.000", "gzip;q=1.001", "gzip;q=0.0001", "gzip; q=0.5", "gzip ; q=0.5", "deflate,gzip", "deflate, gzip;q=0",
		"xgzip", "gzipx", "GZIP", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "identity", "gzip;x=1", "gzip;q=", "gzip;q=2", "x-gzip", "gzip,", "gzip;q=0.", "gzip;q=1.", "gzip;Q=0.5", "gzip;", "br, gzip; ", "gzip;q", "xgzipgzip", "xgzipgzip, gzip", "xgzipgzip gzip", "xgzip;q=1, gzip;",
	} {
		same(sidebyside.Get("/a.txt", "Accept-Encoding: "+accept))
	}
}

// $gzip_ratio has nginx's form, and says what the client can measure.
func TestRatio(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `log_format ratio "$uri $gzip_ratio $body_bytes_sent"; access_log logs/ratio.log ratio;`+site, files())
	for _, x := range []struct {
		target string
		plain  int
	}{{"/a.txt", 330}, {"/big.json", 480_000}, {"/a.png", -1}, {"/off/a.txt", -1}} {
		_, baton := p.Do(sidebyside.Get(x.target, "Accept-Encoding: gzip"))
		log := ""
		for deadline := time.Now().Add(time.Minute); !strings.Contains(log, x.target+" ") && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			_, log = p.Logs("logs/ratio.log")
		}
		want := "-"
		if x.plain > 0 {
			want = fmt.Sprintf("%.2f", float64(x.plain)/float64(len(baton.Body)))
		}
		if !strings.Contains(log, x.target+" "+want+" ") {
			t.Errorf("%s: want %s in\n%s", x.target, want, log)
		}
	}
	nginx, baton := p.Logs("logs/ratio.log")
	form := regexp.MustCompile(`\d+\.\d\d `)
	if n, b := form.FindAllString(nginx, -1), form.FindAllString(baton, -1); len(n) != 2 || len(b) != 2 {
		t.Errorf("nginx logged %q, Baton %q", n, b)
	}
}
