package autoindex_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const site = `
	server {
		listen ADDR;
		root ROOT;
		autoindex on;
		location /rounded/ { alias ROOT/; autoindex_exact_size off; }
		location /local/ { alias ROOT/; autoindex_localtime on; }
		location /json/ { alias ROOT/; autoindex_format json; }
		location /jsonp/ { alias ROOT/; autoindex_format jsonp; }
		location /xml/ { alias ROOT/; autoindex_format xml; charset koi8-r; }
		location /utf-8/ { alias ROOT/; charset UTF-8; }
		location /koi8/ { alias ROOT/; charset koi8-r; }
		location /off/ { alias ROOT/; autoindex off; }
	}`

func TestSameAsNginx(t *testing.T) {
	p := sidebyside.Start(t, site, sidebyside.Files{
		"a.txt": "a", "dir/b": "b", "dir/index.html": "index", "empty/": "", ".hidden": "h", "sp ace<&>\"'?#%+.txt": "odd", "日本語.txt": "utf", "tab\t\n\\x": "control",
		strings.Repeat("long", 20) + ".txt": "long", strings.Repeat("d", 50) + "/x": "", strings.Repeat("e", 49) + "/x": "", strings.Repeat("日", 60): "long utf", strings.Repeat("é", 50): "fits", strings.Repeat("é", 51): "does not", "\xff" + strings.Repeat("é", 40): "broken",
		"9999": strings.Repeat("x", 9999), "10000": strings.Repeat("x", 10000), "mega": strings.Repeat("x", 1<<20), "mega-": strings.Repeat("x", 1<<20-1), "mega+": strings.Repeat("x", 3<<19),
	})
	if err := os.Symlink("nowhere", filepath.Join(p.Dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("dir", filepath.Join(p.Dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(p.Dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	ancient := time.Unix(-5000, 0)
	if err := os.Chtimes(filepath.Join(p.Dir, "a.txt"), ancient, ancient); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/", "/dir/", "/empty/", "/rounded/", "/local/", "/json/", "/json/empty/", "/jsonp/", "/jsonp/?callback=foo", "/jsonp/?x=y&CALLBACK=a_b.C9&z", "/jsonp/?callback=", "/jsonp/?callback=a(b", "/jsonp/empty/?callback=f", "/jsonp/nope/?callback=a-b", "/jsonp/?callback=" + strings.Repeat("x", 128), "/jsonp/?callback=" + strings.Repeat("x", 129), "/xml/", "/xml/empty/", "/xml/nope/", "/utf-8/", "/koi8/", "/off/", "/nope/", "/a.txt/", "/empty", "/link/", "/empty/?a=b"} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("HEAD", target))
		p.Same(sidebyside.Ask("POST", target, "Content-Length: 0"))
		p.Same(sidebyside.Get(target, "If-None-Match: *"))
	}
}
