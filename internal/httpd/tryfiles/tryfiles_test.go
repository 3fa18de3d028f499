package tryfiles_test

import (
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const site = `
	types { text/html html; text/plain txt; }
	server {
		listen ADDR;
		root ROOT;
		try_files $uri $uri/ =405;
		location /app/ { try_files $uri $uri/ /app/index.html; }
		location /code/ { try_files $uri =404; }
		location /args/ { try_files $uri /show?from=$uri&$args; }
		location /named/ { try_files $uri @fallback; }
		location /variable/ { try_files $uri $arg_to; }
		location /fixed/ { try_files /app/a.txt =404; }
		location /folders/ { try_files $uri/ =404; }
		location /aliased/ { alias ROOT/app/; try_files $uri $uri/ /show?aliased; }
		location /aliased-name/ { alias ROOT/app/; try_files a.txt =404; }
		location /aliased-last/ { alias ROOT/app/; try_files $uri /aliased-last/a.txt$arg_nothing; }
		location ~ ^/pattern/(.*)$ { alias ROOT/app; try_files /$1 =404; }
		location /cycle/ { try_files $uri /cycle/x; }
		location /lost/ { try_files $uri @nowhere; }
		location = /show { return 200 "show $uri?$args"; }
		location @fallback { return 200 "fallback $uri?$args"; }
	}`

func TestSameAsNginx(t *testing.T) {
	p := sidebyside.Start(t, site, sidebyside.Files{
		"app/index.html": "index", "app/a.txt": "a", "app/dir/index.html": "dir index", "app/bare/": "",
		"code/a.txt": "code a", "args/a.txt": "args a", "named/a.txt": "named a", "folders/x/index.html": "x", "folders/file": "file", "root.txt": "root",
	})
	for _, target := range []string{
		"/root.txt", "/nope", "/", "/app/", "/app/a.txt", "/app/dir", "/app/dir/", "/app/bare", "/app/bare/", "/app/nope?x=1",
		"/code/a.txt", "/code/nope", "/args/a.txt", "/args/nope?y=2", "/args/no%20pe?y=2", "/named/a.txt", "/named/nope?z", "/variable/?to=/app/a.txt",
		"/variable/?to=@fallback", "/fixed/x", "/folders/x", "/folders/x/", "/folders/file", "/aliased/a.txt", "/aliased/dir", "/aliased/dir/", "/aliased/nope",
		"/aliased-name/x", "/aliased-last/a.txt", "/aliased-last/nope", "/pattern/a.txt", "/pattern/nope", "/pattern/dir", "/cycle/a", "/lost/a", "/app/a.txt/b",
	} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("HEAD", target))
		p.Same(sidebyside.Ask("POST", target, "Content-Length: 0"))
	}
}
