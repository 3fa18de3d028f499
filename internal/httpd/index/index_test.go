package index_test

import (
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const site = `
	types { text/html html; text/plain txt; }
	server {
		listen ADDR;
		root ROOT;
		location /several/ { index none.html second.txt index.html; }
		location /last/ { index none.html /fixed.txt; }
		location /variable/ { index $arg_name.txt index.html; }
		location /empty/ { index $arg_name; }
		location /two/ { index none.html; index second.txt; }
		location /aliased/ { alias ROOT/several/; index second.txt; }
		location ~ ^/pattern/ { alias ROOT/several/; index second.txt; }
		location /cached/ { alias ROOT/several/; open_file_cache max=10; index none.html index.html; }
		location /quiet/ { log_not_found off; }
		location ~ \.txt$ { add_header X-Text yes; }
		location /emptied/ { alias ROOT/; index $arg_none file; }
		location /loops/ { index /loops/; }
	}`

func TestSameAsNginx(t *testing.T) {
	p := sidebyside.Start(t, site, sidebyside.Files{
		"index.html": "root", "fixed.txt": "fixed", "several/second.txt": "second", "several/index.html": "index", "last/x": "", "variable/a.txt": "a",
		"variable/index.html": "index", "two/second.txt": "second", "bare/": "", "dir/index.html/x": "a folder with that name", "quiet/": "", "empty/": "", "file": "file",
	})
	for _, target := range []string{
		"/", "/?a=b", "/several/", "/last/", "/last/?q=1", "/variable/?name=a", "/variable/?name=b", "/empty/", "/empty/?name=x", "/file/?name=", "/emptied/file/", "/emptied/nope/", "/emptied/", "/two/", "/aliased/", "/pattern/", "/cached/", "/cached/",
		"/bare/", "/nowhere/", "/nowhere/deep/", "/dir/", "/quiet/", "/quiet/nope/", "/file/", "/file/x/", "/loops/",
	} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("HEAD", target))
		p.Same(sidebyside.Ask("POST", target, "Content-Length: 0"))
		p.Same(sidebyside.Ask("PUT", target, "Content-Length: 0"))
	}
}
