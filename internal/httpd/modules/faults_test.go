package modules

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Wrong values are refused in nginx's words, with the place.
func TestFaultsAsNginx(t *testing.T) {
	for _, text := range []string{
		"return 200 a b;", "return abc;", "return 1000;", "return abc def;", "return -1;", "return /x;", "return http://$nope/;", "return 200 $nope;",
		"rewrite ^ /x nope;", "rewrite ^;", "rewrite ^ /$nope;", "rewrite ^( /x;",
		"set a b;", "set $a $nope;", "set $uri x;", "set $args x;", "set $ x;", "set $limit_rate 1k;",
		"if ($uri { }", "if $uri { }", "if (-f) { }", "if (abc) { }", "if ($uri == x) { }", "if ($nope) { }", "if ($uri ~ () { }", "if () { }", "if (-z x) { }", "if ($uri = x) { proxy_nope on; }",
		"try_files $uri;", "try_files $uri =1000;", "try_files $uri =x;", "try_files $uri $nope;", "try_files a b; try_files c d;",
		"index;", "index $nope;", `index "";`,
		"add_header a;", "add_header a b c;", "add_header a b always d;", "add_header a $nope;",
		"expires;", "expires x;", "expires modified epoch;", "expires @25h;", "expires @-1h;", "expires modified @1h;", "expires a b;", "expires 1h; expires 2h;",
		"gzip maybe;", "gzip_comp_level 0;", "gzip_comp_level 10;", "gzip_comp_level x;", "gzip_min_length x;", "gzip_http_version 2;", "gzip_proxied nope;", "gzip_static maybe;", "gzip_disable (;", "gzip on; gzip_disable (;",
		"flv x;", "flv; flv;", "gunzip x;", "gunzip on off;", "gunzip_buffers 4;", "if ($uri) { gunzip on; }", "if ($uri) { flv; }", "if ($uri) { gzip on; }", "stub_status; stub_status;", "stub_status x;", "stub_status x y;", "gzip_static on off;",
		"alias $document_root;", "root $document_root/x;", "root /a${realpath_root};", "alias $document_rooted;", "root a; alias $document_root;",
		"disable_symlinks off from=/x;", "disable_symlinks from=/x off;", "disable_symlinks on off;", "disable_symlinks on on;", "disable_symlinks on from;", "disable_symlinks from=/x from=/y;",
		"open_file_cache;", "open_file_cache on;", "open_file_cache max=0;", "open_file_cache max=x;", "open_file_cache inactive=1m;", "open_file_cache max=1 inactive=x;", "open_file_cache max=1 valid=1;",
		"open_file_cache_valid x;", "open_file_cache_min_uses x;", "open_file_cache_errors x;", "log_not_found x;",
		"disable_symlinks x;", "disable_symlinks on from=$nope;", "disable_symlinks on x=y;", "disable_symlinks from=/x;", "if_modified_since x;", "max_ranges x;", "limit_rate x;", "limit_rate $nope;", "limit_rate_after -1;",
		"break 1;", "break; break;", "return 200; return 201;",
		"fastcgi_pass;", "fastcgi_pass 127.0.0.1;", "fastcgi_pass nothing;", "fastcgi_pass 127.0.0.1:9000/x;", "fastcgi_pass unix:;", `fastcgi_pass "";`,
		"fastcgi_pass 127.0.0.1:99999;", "fastcgi_pass http://127.0.0.1:9;", "fastcgi_pass $nope;", "fastcgi_pass 127.0.0.1:9; fastcgi_pass 127.0.0.1:9;",
		"if ($uri) { fastcgi_pass 127.0.0.1:9; }", "if ($uri) { fastcgi_param A b; }",
		"fastcgi_param A;", "fastcgi_param A B C;", "fastcgi_param A B if_not_empty C;", "fastcgi_param A $nope; fastcgi_pass 127.0.0.1:9;",
		"fastcgi_split_path_info ^(.+)$;", "fastcgi_split_path_info ^(a)(b)(c)$;", "fastcgi_split_path_info ^(.+;", "fastcgi_index a b;", "fastcgi_index a; fastcgi_index b;",
		"fastcgi_keep_conn x;", "fastcgi_next_upstream http_502;", "fastcgi_next_upstream http_504;", "fastcgi_next_upstream http_503 off;", "fastcgi_next_upstream_tries x;", "fastcgi_ignore_headers X-Other;", "fastcgi_ignore_headers Vary X-Accel-Expires;",
		"fastcgi_buffers 1 4k;", "fastcgi_buffers 8 4k; fastcgi_busy_buffers_size 1k;", "fastcgi_max_temp_file_size 1k;", "fastcgi_read_timeout x;", "fastcgi_buffering x;", "fastcgi_temp_path tmp/t x;",
		"uwsgi_pass 127.0.0.1;", "uwsgi_pass uwsgi://;", "uwsgi_pass http://127.0.0.1:9;", "uwsgi_pass uwsgi://127.0.0.1:9;", "uwsgi_modifier1 256;", "uwsgi_modifier1 x;", "uwsgi_modifier2 -1;", "uwsgi_modifier2 255;",
		"uwsgi_buffers 1 4k;", "uwsgi_param A B C;", "uwsgi_string a b;", "uwsgi_next_upstream http_502;", "uwsgi_index x;",
		"uwsgi_pass suwsgi://127.0.0.1:9;", "uwsgi_pass suwsgi://127.0.0.1:9; uwsgi_ssl_verify on;", "uwsgi_ssl_protocols x;", "uwsgi_ssl_session_reuse x;", "uwsgi_pass suwsgi://;", "fastcgi_ssl_verify on;",
		"scgi_pass 127.0.0.1;", "scgi_pass scgi://127.0.0.1:9;", "scgi_pass unix:/a:/b;", "scgi_param A B C;", "scgi_buffers 1 4k;", "scgi_busy_buffers_size 1k;", "scgi_next_upstream http_504;", "scgi_keep_conn on;",
		"} } upstream u { server 127.0.0.1:9; zone \"\"; } server { location / {", "} } upstream u { server 127.0.0.1:9; zone u x; } server { location / {",
		"} } upstream u { server 127.0.0.1:9; zone u 31k; } server { location / {", "} } upstream u { server 127.0.0.1:9; zone u 1m x; } server { location / {",
		"limit_req;", "limit_req a b c d;", "limit_req zone=one burst=x;", "limit_req zone=one x;", "limit_req burst=1;", "limit_req_status 99;", "limit_req_status x;", "limit_req_log_level crit;",
		"limit_req_dry_run x;", "if ($uri) { limit_req zone=one; }", "limit_req_zone $uri zone=one:1m rate=1r/s;", "} } limit_req_zone $nope zone=one:1m rate=1r/s; server { location / {",
		"} } limit_req_zone $uri zone=one:1m; server { location / {", "} } limit_req_zone $uri zone=one:1k rate=1r/s; server { location / {", "} } limit_req_zone $uri zone=one rate=1r/s; server { location / {",
		"} } limit_req_zone $uri zone=one:1m rate=0r/s; server { location / {", "} } limit_req_zone $uri zone=one:1m zone=two:2m; server { location / {",
		"} } limit_req_zone $uri zone=one:1m rate=1r/s; limit_req_zone $uri zone=one:1m rate=1r/s; server { location / {",
		"} } limit_req_zone $uri zone=one:1m rate=1r/s; limit_req_zone $uri zone=one:2m rate=1r/s; server { location / {",
		"limit_req zone=one; limit_req zone=one burst=5; } } limit_req_zone $uri zone=one:1m rate=1r/s; server { location / {",
		"limit_req zone=one; } } limit_req_zone $uri zone=one:1m rate=1r/s; limit_req_zone $host zone=one:1m rate=1r/s; server { location / {",
		"limit_req zone=one;",
		"resolver 127.0.0.1 valid=x; proxy_pass http://$host;", "resolver 127.0.0.1 ipv6=x; proxy_pass http://$host;", "resolver valid=5s; proxy_pass http://$host;",
		"resolver 127.0.0.1:99999; proxy_pass http://$host;", "resolver_timeout x; resolver 127.0.0.1; proxy_pass http://$host;",
	} {
		dir := t.TempDir()
		nginx, baton := nginxSays(t, dir, text), batonSays(t, dir, text)
		// We name the place of an unknown variable too, and the words about a wrong
		// expression are the engine's.
		if strings.HasPrefix(nginx, "unknown ") && strings.HasSuffix(nginx, " variable") {
			baton, _, _ = strings.Cut(baton, " in ")
		}
		if strings.Contains(nginx, `_buffers"`) { // for which it blames the end of http
			nginx, _, _ = strings.Cut(nginx, " in /")
			baton, _, _ = strings.Cut(baton, " in /")
		}
		if strings.HasPrefix(nginx, "pcre") && strings.HasPrefix(baton, "pcre") {
			continue
		}
		if nginx != baton {
			t.Errorf("%s\n\tnginx: %s\n\tbaton: %s", text, nginx, baton)
		}
	}
}

// layout writes a configuration with text in a location.
func layout(t *testing.T, dir, extra, text string) {
	t.Helper()
	for _, sub := range []string{"conf", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text = "pid logs/nginx.pid;\nerror_log logs/error.log;\nevents {}\nhttp {\naccess_log off;\n" + extra +
		"\nserver {\nlisten 127.0.0.1:1;\nlocation / {\n" + text + "\n}\n}\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// nginxSays is the fault that nginx -t finds, "" for none.
func nginxSays(t *testing.T, dir, text string) string {
	t.Helper()
	layout(t, dir, "client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;", text)
	out, _ := exec.Command("nginx", "-t", "-p", dir, "-e", "logs/error.log", "-c", "conf/nginx.conf").CombinedOutput()
	if !strings.Contains(string(out), "nginx: ") {
		t.Fatalf("nginx -t says %q", out)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if _, fault, ok := strings.Cut(line, "[emerg] "); ok {
			return fault
		}
	}
	return ""
}

func batonSays(t *testing.T, dir, text string) string {
	t.Helper()
	layout(t, dir, "", text)
	table, err := Table()
	if err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(table, conf.Options{Prefix: dir})
	if err == nil {
		var site *httpd.Site
		if site, err = httpd.Compile(c, All(), "nginx/1.22.1"); err == nil {
			_, err = site.Zones()
		}
	}
	if err == nil {
		return ""
	}
	return err.Error()
}
