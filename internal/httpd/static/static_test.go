package static_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const site = `
	types { text/html html; text/plain txt; image/png png; }
	default_type application/octet-stream;
	sendfile on;
	server {
		listen ADDR;
		root ROOT/html;
		location /copied/ { root ROOT; sendfile off; }
		location /aliased/ { alias ROOT/html/; }
		location ~ ^/pattern/(.+)$ { alias ROOT/html/$1; }
		location /noetag/ { alias ROOT/html/; etag off; }
		location /one/ { alias ROOT/html/; max_ranges 1; }
		location /none/ { alias ROOT/html/; max_ranges 0; }
		location /before/ { alias ROOT/html/; if_modified_since before; }
		location /never/ { alias ROOT/html/; if_modified_since off; }
		location /relative/ { alias ROOT/html/; absolute_redirect off; }
		location /nested/ { alias ROOT/html/; location ~ \.txt$ { add_header X-Nested 1; } location /nested/dir/ { } location ~ /tried/ { try_files $uri /nested/b.txt; } if ($arg_if) { add_header X-If 1; } }
		location ~ ^/nestedpattern/ { alias ROOT/html/b.txt; location ~ x$ { } }
		location /dated/ { alias ROOT/html/; add_header Last-Modified "Sun, 06 Nov 1994 08:49:37 GMT"; expires modified -1h; }
		location /added/ { alias ROOT/html/; add_header X-A 1; add_header X-B 2 always; }
		location /cached/ { alias ROOT/html/; open_file_cache max=10 inactive=10s; open_file_cache_errors on; }
		location /paged/ { alias ROOT/html/; error_page 404 /a.html; error_page 412 /b.txt; }
		location /nolinks/ { alias ROOT/html/; disable_symlinks on; }
		location ~ ^/tail/(.+/)tail$ { alias ROOT/html/$1; disable_symlinks if_not_owner; }
		location ~ ^/tails/(.+/)tail$ { alias ROOT/html/$1; disable_symlinks on; }
		location ~ ^/exact/(.+)$ { alias ROOT/html/$1; disable_symlinks on from=ROOT/html/$1; }
		location ~ ^/nearly/(.+)$ { alias ROOT/html/$1; disable_symlinks on from=ROOT/html/; }
		location /ownlinks/ { alias ROOT/html/; disable_symlinks if_not_owner from=ROOT/html; }
	}`

func files() sidebyside.Files {
	return sidebyside.Files{
		"html/a.html":         "<p>hello</p>\n",
		"html/b.txt":          "0123456789abcdefghijklmnopqrstuvwxyz",
		"html/empty.txt":      "",
		"html/ancient.txt":    "older than all",
		"html/noext":          "no extension",
		"html/big.bin":        strings.Repeat("0123456789abcdef", 20_000),
		"html/dir/index.html": "index of dir",
		"html/bare/":          "",
		"html/sp ace?#é.txt":  "odd name",
		"copied/big.bin":      strings.Repeat("fedcba9876543210", 20_000),
		"copied/b.txt":        "0123456789",
		"outside.txt":         "outside of the root",
	}
}

// start puts what is not a plain file beside files and starts both servers.
func start(t *testing.T) *sidebyside.Pair {
	t.Helper()
	p := sidebyside.Start(t, site, files())
	html := filepath.Join(p.Dir, "html")
	for name, target := range map[string]string{
		"link.txt": "b.txt", "out.txt": "../outside.txt", "dangling": "nowhere", "loop": "loop", "linkdir": "dir",
	} {
		if err := os.Symlink(target, filepath.Join(html, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(html, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(html, "b.txt"), old, old); err != nil {
		t.Fatal(err)
	}
	ancient := time.Unix(-5, 0)
	if err := os.Chtimes(filepath.Join(html, "ancient.txt"), ancient, ancient); err != nil {
		t.Fatal(err)
	}
	return p
}

// What a file, a folder and something else are answered with is nginx's.
func TestSameAsNginx(t *testing.T) {
	p := start(t)
	for _, target := range []string{
		"/a.html", "/b.txt", "/empty.txt", "/noext", "/big.bin", "/copied/big.bin", "/copied/b.txt", "/ancient.txt", "/dated/ancient.txt", "/missing",
		"/nested/b.txt", "/nested/dir/", "/nested/dir/index.html", "/nested/dir", "/nested/a.html", "/nested/a.html?if=1", "/nested/tried/b.txt", "/nested/b.txt?if=1", "/nestedpattern/a", "/nestedpattern/x", "/missing/",
		"/dir", "/dir?a=b", "/dir/", "/bare", "/bare/", "/bare/?x", "/sp%20ace%3f%23%C3%A9.txt", "/a.html/", "/a.html/x",
		"/../outside.txt", "/%2e%2e/outside.txt", "/dir/../a.html", "/dir/%2e%2e/%61.html", "/./a.html", "//a.html",
		"/link.txt", "/out.txt", "/dangling", "/loop", "/linkdir", "/linkdir/", "/fifo", "/a.html%00", "/" + strings.Repeat("x", 300),
		"/aliased/a.html", "/aliased/dir", "/aliased/dir/", "/aliased/", "/aliased/nope", "/pattern/a.html", "/pattern/dir",
		"/relative/dir", "/relative/dir?x=1", "/noetag/b.txt", "/added/b.txt", "/added/nope", "/added/dir",
		"/cached/b.txt", "/cached/b.txt", "/cached/nope", "/cached/nope", "/cached/dir", "/cached/dir/", "/cached/big.bin",
		"/paged/nope", "/paged/b.txt", "/nolinks/b.txt", "/nolinks/link.txt", "/nolinks/linkdir/index.html", "/nolinks/dir/index.html",
		"/ownlinks/link.txt", "/tail/link.txt/tail", "/tail/b.txt/tail", "/tail/linkdir/tail", "/tail/dir/tail", "/tails/link.txt/tail", "/tails/linkdir/tail", "/tails/dir/tail",
		"/exact/link.txt", "/exact/b.txt", "/exact/linkdir/index.html", "/nearly/link.txt", "/nearly/b.txt", "/ownlinks/out.txt", "/ownlinks/linkdir/index.html", "/ownlinks/b.txt", "/nolinks/nope",
	} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("HEAD", target))
	}
}

func TestMethods(t *testing.T) {
	p := start(t)
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		for _, target := range []string{"/a.html", "/dir", "/dir/", "/bare/", "/nope", "/", "/fifo"} {
			p.Same(sidebyside.Ask(method, target, "Content-Length: 0"))
		}
	}
}

// Range and If-Range mean what they mean to nginx, nonsense included.
func TestRanges(t *testing.T) {
	p := start(t)
	for _, spec := range []string{
		"bytes=0-0", "bytes=0-9", "bytes=10-", "bytes=-5", "bytes=-0", "bytes=-100", "bytes=0-35", "bytes=0-36", "bytes=36-", "bytes=100-200",
		"bytes=5-4", "bytes=0-1,3-4", "bytes=0-1, 30-", "bytes=0-1,-3", "bytes=0-20,10-30", "bytes=0-0,0-0,0-0", "bytes=0-35,0-35",
		"bytes=", "bytes=a", "bytes=1", "bytes=1-a", "bytes=--1", "bytes=0-1,", "bytes=,0-1", "bytes=0-1,,2-3", "items=0-1", "Bytes=0-1", "bytes = 0-1",
		"bytes= 1 - 2 , 4 - 5 ", "bytes=99999999999999999999-", "bytes=0-99999999999999999999", "bytes=9223372036854775807-", "bytes=-9223372036854775807",
		"bytes=100-,0-1", "bytes=0-1;3-4", "bytes=0-1,100-",
	} {
		for _, target := range []string{"/b.txt", "/empty.txt", "/one/b.txt", "/none/b.txt", "/added/b.txt", "/dated/b.txt", "/paged/b.txt", "/cached/b.txt", "/copied/b.txt"} {
			p.Same(sidebyside.Get(target, "Range: "+spec))
		}
		p.Same(sidebyside.Ask("HEAD", "/b.txt", "Range: "+spec))
	}
	for _, spec := range []string{"bytes=1000-200000", "bytes=-300000", "bytes=5-5,7-100000,200000-"} {
		p.Same(sidebyside.Get("/big.bin", "Range: "+spec))
		p.Same(sidebyside.Get("/copied/big.bin", "Range: "+spec))
	}
}

func TestConditions(t *testing.T) {
	p := start(t)
	etag := p.Same(sidebyside.Get("/b.txt")).Field("ETag")
	if etag == "" {
		t.Fatal("no ETag")
	}
	const date, before, after = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
	times := []string{
		date, before, after, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "nonsense", "", "Sun, 31 Feb 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 +0100", "06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Nxx 1994 08:49:37 GMT", "Sun Nov-06 08:49:37 1994", "Sun, 06 nov 1994 08:49:37 GMT", "Sunday, 06-N01-94 08:49:37 GMT", "Sun, 06 Jun 2094 08:49:37 GMT", "Sun, 06 Jxn 2094 08:49:37 GMT", "Sun, 06 Zov 1994 08:49:37 GMT", "Sun Nov",
	}
	tags := []string{etag, "W/" + etag, "*", `"x"`, `"x", ` + etag, `"x",W/` + etag, etag + ` , "y"`, etag + "z", strings.Trim(etag, `"`), "", `"x" "y"`, ", ," + etag}
	var fields [][]string
	for _, v := range times {
		for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
			fields = append(fields, []string{name + ": " + v})
		}
		fields = append(fields, []string{"Range: bytes=1-2", "If-Range: " + v})
	}
	for _, v := range tags {
		for _, name := range []string{"If-Match", "If-None-Match"} {
			fields = append(fields, []string{name + ": " + v}, []string{name + ": " + v, "Range: bytes=1-2"})
		}
		fields = append(fields, []string{"Range: bytes=1-2", "If-Range: " + v}, []string{"If-None-Match: " + v, "If-Modified-Since: " + date},
			[]string{"If-None-Match: " + v, "If-Modified-Since: " + before})
	}
	for _, fs := range fields {
		for _, target := range []string{"/b.txt", "/noetag/b.txt", "/before/b.txt", "/never/b.txt", "/added/b.txt", "/paged/b.txt", "/nope"} {
			p.Same(sidebyside.Get(target, fs...))
		}
	}
}

// The error log has nginx's words.
func TestLogged(t *testing.T) {
	p := start(t)
	for _, target := range []string{"/missing", "/dir/nope.txt", "/a.html/x", "/loop", "/fifo", "/bare/", "/missing/"} {
		p.Same(sidebyside.Get(target))
	}
	nginx, baton := p.Logs("logs/error.log")
	if n, b := messages(nginx), messages(baton); n != b {
		t.Errorf("--- nginx\n%s\n--- baton\n%s", n, b)
	}
}

// messages are a log's lines without time, pid and numbers.
func messages(log string) string {
	var out strings.Builder
	for _, line := range strings.Split(log, "\n") {
		_, msg, ok := strings.Cut(line, ": *")
		if !ok || strings.Contains(line, "[info]") {
			continue
		}
		_, msg, _ = strings.Cut(msg, " ")
		fmt.Fprintln(&out, strings.NewReplacer("127.0.0.2", "127.0.0.1").Replace(msg))
	}
	return out.String()
}

// A file that changes is served as it is, at once without a cache.
func TestFileChanges(t *testing.T) {
	p := start(t)
	name := filepath.Join(p.Dir, "html/changing.txt")
	for i := range 3 {
		want := strings.Repeat("x", i+1)
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := p.Same(sidebyside.Get("/changing.txt")); got.Body != want {
			t.Errorf("body = %q, want %q", got.Body, want)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if got := p.Same(sidebyside.Get("/changing.txt")); got.Code() != "404" {
		t.Errorf("status of a removed file = %s, want %d", got.Code(), http.StatusNotFound)
	}
}
