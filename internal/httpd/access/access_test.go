package access_test

import (
	"regexp"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd/access"
	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// Rules judge as nginx's. The clients' address is 127.0.0.1 for nginx and, as they
// connect to 127.0.0.2, for Baton as well.
func TestRulesJudgeAsNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
server {
	listen ADDR; root ROOT; deny 127.0.0.0/8;
	error_page 403 /403.html; error_page 404 = @named;
	location = /403.html { allow all; }
	location /inherits { }
	location /all { allow all; location /all/none { deny all; } location /all/no-rules { } }
	location /first { allow 127.0.0.1; deny all; }
	location /second { deny 10.0.0.0/8; deny ::1; deny unix:; allow 127.0.0.0/30; deny all; }
	location /other { allow 10.0.0.0/8; deny 127.0.0.1; allow all; }
	location /nothing-fits { deny 10.1.2.3; deny 2001:db8::/32; }
	location /sub { allow 127.0.0.1/32; deny 0.0.0.0/0; try_files /none /denied/file.txt; }
	location /denied/ { deny all; }
	location /own { deny all; error_page 403 /all/file.txt; }
	location /named { allow all; try_files /none @named; }
	location @named { deny all; }
	location ~ /\.ht { deny all; }
	location /if { allow all; if ($arg_x) { add_header X-If yes; } }
	location /returned { deny all; return 200 "the rewrite module is asked first"; }
}`, sidebyside.Files{
		"403.html": "forbidden page", "all/file.txt": "a file", "all/none/file.txt": "not for you", "all/no-rules/x": "x",
		"first": "first", "second": "second", "other": "other", "nothing-fits": "nothing fits", "if": "if",
		"inherits": "inherits", "denied/file.txt": "no", "own": "own", "all/.htaccess": "secret",
	})
	for _, target := range []string{
		"/inherits", "/all/file.txt", "/all/none/file.txt", "/all/no-rules/x", "/first", "/second", "/other", "/nothing-fits",
		"/sub", "/denied/file.txt", "/own", "/named", "/none", "/all/.htaccess", "/403.html", "/if", "/if?x=1", "/returned",
	} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("POST", target, "Content-Length: 1") + "x")
	}
	p.SameLogs("logs/error.log", regexp.MustCompile(`forbidden`))
}

func TestRulesAreChecked(t *testing.T) {
	t.Parallel()
	specs := access.Module().Directives
	for text, ok := range map[string]bool{
		"all": true, "unix:": true, "10.0.0.1": true, "10.0.0.0/8": true, "10.1.2.3/8": true, "::1": true, "2001:db8::/32": true,
		"": false, "example.com": false, "10.0.0": false, "10.0.0.0/33": false, "10.0.0.0/": false, "10.0.0.0/255.0.0.0": false,
		"::1/129": false, "fe80::1%eth0": false, "unix:/x": false, "ALL": false, "$remote_addr": false,
	} {
		err := specs[0].Check(&conf.Directive{Name: "allow", Args: []string{text}})
		if (err == nil) != ok {
			t.Errorf("allow %q: %v", text, err)
		}
	}
}
