package static_test

import (
	"regexp"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// An alias stands for the name of the location that has it, also in the locations inside
// of that.
func TestAliasIsInherited(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
server {
	listen ADDR; root ROOT/root;
	location /a/ {
		alias ROOT/files/;
		location ~ \.txt$ { add_header X-Inner "$request_filename $document_root"; }
		location /a/dir/ { add_header X-Inner "$request_filename"; location ~ \.html$ { add_header X-Deep "$request_filename"; } }
		location = /a/exact { add_header X-Inner "$request_filename"; }
		location ^~ /a/rooted/ { root ROOT/root; }
		location /a/tried/ { try_files $uri $uri/ /a/dir/page.html =404; }
		location ~ /tried-too/ { try_files $uri /a/dir/page.html; }
		if ($arg_x) { add_header X-If "$request_filename"; }
	}
	location /bare { alias ROOT/files; index page.html; location ~ \.txt$ { add_header X-Inner "$request_filename"; } }
	location ~ ^/pattern/(.*)$ {
		alias ROOT/files/$1;
		location ~ ^/pattern/(dir)/(.*)$ { add_header X-Inner "$request_filename"; }
	}
	location /changed/ { alias ROOT/files/; location ~ \.txt$ { rewrite ^/changed/(.*)$ /other/$1 break; } }
}`, sidebyside.Files{
		"files/one.txt": "one", "files/dir/two.txt": "two", "files/dir/page.html": "<p>", "files/exact": "exact", "files/tried/three.txt": "three",
		"files/tried-too/four": "four", "root/a/rooted/five": "five", "files/page.html": "index",
	})
	for _, target := range []string{
		"/a/one.txt", "/a/dir/two.txt", "/a/dir/page.html", "/a/dir/none.html", "/a/exact", "/a/rooted/five", "/a/tried/three.txt", "/a/tried/three",
		"/a/tried/none", "/a/tried-too/four", "/a/tried-too/none", "/a/dir", "/a/page.html?x=1", "/bare/one.txt", "/bare/dir/two.txt", "/bare/", "/bare",
		"/pattern/one.txt", "/pattern/dir/two.txt", "/pattern/dir/page.html", "/changed/one.txt",
	} {
		p.Same(sidebyside.Get(target))
	}
	p.SameLogs("logs/error.log", regexp.MustCompile(`alias|open\(\)`))
}
