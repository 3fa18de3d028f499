package static_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// Where the files are, when variables say it: what is not absolute is below the prefix,
// and a path that is made of itself is an error, not the end of the worker.
func TestRootWithVariables(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		server {
			listen ADDR; root ROOT;
			location /root/ { root $arg_root; }
			location /inner/ { root inside/$arg_root; }
			location /alias/ { alias $arg_root; }
			location /bare { alias $arg_root; }
			location ~ ^/pattern/(.*)$ { alias $arg_root$1; }
			location /try/ { root $arg_root; try_files $uri $uri/ =404; }
			location /place/ { root $arg_root; return 200 "[$document_root] [$request_filename] [$realpath_root]"; }
			location /set/ { set $self $document_root; root $self/x; }
			location /self/ { root $request_filename; }
			location /selfalias/ { alias $request_filename; }
			location /selftry/ { root $request_filename; try_files $uri =404; }
		}`, sidebyside.Files{"root/a.txt": "a", "alias/a.txt": "b", "try/a.txt": "c"})
	for _, server := range []string{"nginx", "baton"} {
		dir := filepath.Join(filepath.Dir(p.Dir), server, "own/root")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("below the prefix"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, root := range []string{"", p.Dir, p.Dir + "/", "own", "own/", "own/root/", "/", "../files", "."} {
		for _, folder := range []string{"/root/", "/inner/", "/alias/", "/pattern/", "/try/", "/set/"} {
			p.Same(sidebyside.Get(folder + "a.txt?root=" + root))
		}
		p.Same(sidebyside.Get("/bare?root=" + root))
	}
	for _, target := range []string{"/self/a.txt", "/selfalias/a.txt", "/selftry/a.txt"} {
		if got := p.Same(sidebyside.Get(target)); got.Code() != "404" {
			t.Errorf("%s: %s", target, got)
		}
	}
	if got := p.Same(sidebyside.Get("/root/a.txt?root=own")); got.Body != "below the prefix" {
		t.Errorf("a relative root: %s", got)
	}
	for _, root := range []string{"", "own", "own/root/", "nowhere", p.Dir, "/nowhere/"} {
		nginx, baton := p.Do(sidebyside.Get("/place/a.txt?root=" + root))
		if n, b := inPrefix.Replace(nginx.Body), inPrefix.Replace(baton.Body); n != b {
			t.Errorf("root %q: %s in nginx, %s in Baton", root, n, b)
		}
	}
	p.SameLogs("logs/error.log", regexp.MustCompile(`realpath\(\) "/nowhere/`))
	cycle := regexp.MustCompile(`\[error\] .*cycle while evaluating variable "request_filename"`)
	if nginx, baton := p.Logs("logs/error.log"); !cycle.MatchString(nginx) || !cycle.MatchString(baton) {
		t.Errorf("nginx logged\n%.2000s\nBaton logged\n%.2000s", nginx, baton)
	}
}

// inPrefix makes the servers' own folders one.
var inPrefix = strings.NewReplacer("/001/nginx", "/P", "/001/baton", "/P")
