package rewrite_test

import (
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const site = `
	types { text/html html; text/css css; }
	default_type text/plain;
	server {
		listen ADDR;
		root ROOT;
		set $greeting "hello";
		if ($arg_server = yes) { return 200 "server if"; }
		rewrite ^/from-server/(.*)$ /target/$1;
		rewrite ^/gone-by-server$ /text last;
		location = /text { return 200 "text of $uri $args $greeting"; }
		location = /text.css { return 200 "css"; }
		location = /empty { return 200; }
		location = /none { return 204; }
		location = /none-text { return 204 "text"; }
		location = /teapot { return 418; }
		location = /code-text { return 404 "not here: $request_uri"; }
		location = /code { return 404; }
		location = /e503 { return 503; }
		location = /move { return 301 /to; }
		location = /move-args { return 302 /to?$args; }
		location = /move-far { return 307 http://other.example.com/x; }
		location = /move-only { return http://other.example.com/only; }
		location = /move-scheme { return $scheme://other.example.com/s; }
		location = /move-empty { return 301; }
		location = /see { return 303 /see; }
		location = /perm { return 308 /perm; }
		location = /drop { return 444; }
		location = /paged { error_page 404 /text; return 404; }
		location = /paged-own { error_page 418 =200 @named; return 418; }
		location @named { return 200 "named $uri"; }

		location /target/ { return 200 "target $uri?$args"; }
		location /last/ { rewrite ^/last/(.*)$ /target/$1 last; return 200 "not reached"; }
		location /plain/ { rewrite ^/plain/(.*)$ /target/$1; return 200 "in plain $uri"; }
		location /plainer/ { rewrite ^/plainer/(.*)$ /target/$1; }
		location /break/ { rewrite ^/break/(.*)$ /files/$1 break; return 200 "not reached"; }
		location /stop/ { rewrite ^/stop/(.*)$ /target/$1; break; }
		location /redirect/ { rewrite ^/redirect/(.*)$ /target/$1 redirect; }
		location /permanent/ { rewrite ^/permanent/(.*)$ http://$host/x/$1?y=$1 permanent; }
		location /absolute/ { rewrite ^/absolute/(.*)$ http://other.example.com/$1; }
		location /dropped/ { rewrite ^/dropped/(.*)$ /target/$1? last; }
		location /added/ { rewrite ^/added/(.*)$ /target/?name=$1 last; }
		location /added-only/ { rewrite ^/added-only/(.*)$ /target/?name=$1? last; }
		location /redirect-args/ { rewrite ^/redirect-args/(.*)$ /target/?name=$1 redirect; }
		location /named-group/ { rewrite ^/named-group/(?<what>[a-z]+)/(?<rest>.*)$ /target/$rest?what=$what last; }
		location /chain/ { rewrite ^/chain/(.*)$ /one/$1; rewrite ^/one/(.*)$ /two/$1; rewrite ^/two/(.*)$ /target/$1 last; }
		location /cycle { rewrite ^ /cycle; }
		location /nomatch/ { rewrite ^/something/(.*)$ /target/$1; return 200 "first: $1."; }
		location /void/ { rewrite ^ "$arg_nothing" last; }
		location /hidden/ { internal; return 200 "hidden $uri"; }
		location /reveal/ { rewrite ^/reveal/(.*)$ /hidden/$1 last; }
		location /strayed/ { alias ROOT/files/; rewrite ^/strayed/(.*)$ /$1 break; }

		location /if/ {
			set $a 1;
			set $b "$a$a";
			if ($arg_x) { set $b "x is $arg_x"; }
			if ($arg_y = y) { return 200 "y"; }
			if ($arg_y != "") { set $b "$b, y is not empty"; }
			if ($request_method = POST) { return 405; }
			if ($http_user_agent ~ "Bot/(\d+)") { set $b "bot $1"; }
			if ($http_user_agent ~* "(?<kind>crawler)") { set $b "kind $kind"; }
			if ($arg_z !~ "^[0-9]+$") { set $b "$b, z is no number"; }
			if ($arg_w !~* "abc") { set $b "$b, w has no abc"; }
			if (-f ROOT/files/$arg_file) { set $b "$b, is a file"; }
			if (!-f ROOT/files/$arg_file) { set $b "$b, is no file"; }
			if (-d ROOT/$arg_file) { set $b "$b, is a folder"; }
			if (!-e ROOT/$arg_file) { set $b "$b, is not there"; }
			if (-x ROOT/$arg_file) { set $b "$b, can be executed"; }
			if ( $arg_spaces = "a b" ) { set $b "spaces"; }
			return 200 $b;
		}
		location /conf/ {
			alias ROOT/files/;
			add_header X-Where location;
			if ($arg_if) { add_header X-Where if; }
			if ($arg_root) { root ROOT/other; }
		}
		location /overlaid/ {
			if ($arg_one) { add_header X-One 1; }
			if ($arg_two) { add_header X-Two 2; }
			root ROOT;
			try_files /files/a.txt =404;
		}
		location /setargs/ { set $args "a=changed&b=$args"; rewrite ^ /target/ last; }
		location /unset/ { if ($arg_never = 1) { set $never 1; } return 200 "never: $never."; }
		location /if-rewrite/ { if ($uri ~ "^/if-rewrite/(\w+)/(\w+)") { rewrite ^ /target/$2/$1 last; } return 200 "no"; }
		location /if-break/ { if ($arg_b) { break; } return 200 "not broken"; }
	}`

func files() sidebyside.Files {
	return sidebyside.Files{
		"files/a.txt":          "file a",
		"other/conf/a.txt":     "other a",
		"overlaid/a.txt":       "overlaid",
		"if-break/index.html":  "broken",
		"stop/a.txt":           "stopped",
		"plainer/a.txt":        "plainer",
		"files/with space.txt": "space",
	}
}

func TestSameAsNginx(t *testing.T) {
	p := sidebyside.Start(t, site, files())
	for _, target := range []string{
		"/text", "/text?a=b", "/text.css", "/empty", "/none", "/none-text", "/teapot", "/code-text?q", "/code", "/e503", "/move", "/move-args?a=b",
		"/move-far", "/move-only", "/move-scheme", "/move-empty", "/see", "/perm", "/drop", "/paged", "/paged-own", "/?server=yes", "/text?server=yes",
		"/from-server/x?y=z", "/gone-by-server", "/target/x", "/last/x?q=1", "/plain/x", "/plainer/x?q", "/break/a.txt", "/break/nope", "/stop/a.txt", "/stop/",
		"/redirect/x?q=1", "/redirect/a%20b%3fc", "/redirect/%e4%b8%ad?x", "/redirect/a+b", "/redirect/a%26b", "/permanent/x", "/permanent/a%20b?z=1", "/permanent/%41%25",
		"/absolute/x?q", "/dropped/x?q=1", "/added/x?q=1", "/added/x", "/added/a%20b%26c?q", "/added/a&b", "/added-only/x?q=1", "/redirect-args/x?q=1", "/redirect-args/a%20b",
		"/named-group/abc/def?q", "/named-group/ABC/def", "/chain/x?y", "/cycle", "/nomatch/x", "/void/x", "/hidden/x", "/reveal/x", "/strayed/a.txt",
		"/if/", "/if/?x=0", "/if/?x=1", "/if/?y=y", "/if/?y=n", "/if/?z=12", "/if/?z=1x", "/if/?w=xABCx", "/if/?file=a.txt", "/if/?file=files", "/if/?file=nope",
		"/if/?file=", "/conf/a.txt", "/conf/a.txt?if=1", "/conf/a.txt?root=1", "/conf/a.txt?if=1&root=1", "/overlaid/a.txt", "/overlaid/a.txt?one=1", "/overlaid/a.txt?one=1&two=2",
		"/setargs/?old", "/unset/", "/unset/?never=1", "/if-rewrite/a/b", "/if-rewrite/a", "/if-break/", "/if-break/?b=1", "/break/with%20space.txt",
	} {
		p.Same(sidebyside.Get(target))
		p.Same(sidebyside.Ask("HEAD", target))
		p.Same(sidebyside.Ask("POST", target, "Content-Length: 0"))
	}
	p.Same(sidebyside.Get("/if/", "User-Agent: Bot/12"))
	p.Same(sidebyside.Get("/if/", "User-Agent: a CRAWLER"))
	for _, cond := range []string{"If-Match: x", "If-None-Match: *", "If-None-Match: x", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT", "Range: bytes=0-1"} {
		p.Same(sidebyside.Get("/text", cond))
	}
	nginx, baton := p.Logs("logs/error.log")
	if n, b := messages(nginx), messages(baton); n != b {
		t.Errorf("--- nginx\n%s\n--- baton\n%s", n, b)
	}
}

// messages are the faults in a log without time, pid and numbers.
func messages(log string) string {
	var out strings.Builder
	for _, line := range strings.Split(log, "\n") {
		_, msg, ok := strings.Cut(line, ": *")
		if !ok || strings.Contains(line, "[info]") {
			continue
		}
		_, msg, _ = strings.Cut(msg, " ")
		msg, _, _ = strings.Cut(msg, ", client")
		out.WriteString(msg + "\n")
	}
	return out.String()
}
