package modules

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// What nginx warns of or refuses in http we warn of and refuse, in the same words.
func TestRemarksAsNginx(t *testing.T) {
	for _, http := range []string{
		"server { listen 127.0.0.1:1; server_name *; }", "server { server_name *a; } server { }", "server { server_name .; }", "server { server_name *.; }",
		"server { listen 127.0.0.1:1; server_name a*b; }", "server { listen 127.0.0.1:1; server_name a*b; } server { listen 127.0.0.1:1; server_name c; }",
		"server { server_name a.*b; } server { server_name c; }", "server { server_name a..b; } server { }", "server { server_name *.a.*; } server { }",
		"server { server_name a/b; }", "server { server_name ~^/a; }", "server { server_name ~; }", `server { server_name ""; } server { server_name a; }`,
		"server { server_name a a; }", "server { server_name a a; } server { server_name b; }", "server { server_name *.a *.a; } server { server_name b; }",
		"server { server_name a; } server { server_name b A; } server { server_name a; }", "server { server_name ~a; } server { server_name ~a; }",
		"server { server_name *.a; } server { server_name .a; } server { server_name a; }", "server { server_name .a; } server { server_name *.a; } server { server_name a; }",
		"server { server_name a; } server { server_name .a; } server { server_name *.a; }", "server { server_name a.*; } server { server_name a.*; }",
		"server { } server { }", "server { listen 81; listen 80; server_name a; } server { listen 80; listen 81; server_name a; }",
		"server { listen unix:/nowhere/a; } server { listen unix:/nowhere/a; }", "server { listen [::1]:81; server_name a; } server { listen [::1]:81; server_name a; }",
		"server { listen 81; } types { a/b x y; c/d x; a/b X; }", "types { a/b x; } server { types { a/b c; a/c c; } }", "server { listen 81; } types { a/b x; } types { a/c x; }", "types { a/b x; } server { types { a/c x; } }",
		"upstream u { server 127.0.0.1; ip_hash; least_conn; hash $uri; random; }", "upstream u { least_conn; least_conn; server 127.0.0.1; }",
		"upstream u { least_conn; keepalive 3; server 127.0.0.1; }",
		"server { location / { alias a; root b; } }", "server { location / { root a; alias b; } }", "server { location / { root b; root a; alias c; } }",
		"server { location @a { alias b; } }", "server { location ~ @a { alias b; } }", "server { location @a { alias $document_root; } }", "server { location @a { root b; alias c; } }", "server { alias b; }",
		"server { error_page 499 /a; }", "server { error_page 404 499 /a; }", "server { error_page 299 /a; }", "server { error_page 600 /a; }",
		"server { listen 81; } large_client_header_buffers 4 512;", "connection_pool_size 256; server { large_client_header_buffers 4 256; }",
		"server { listen 81; } large_client_header_buffers 4 511; # the place is the end of http", "server { listen 81; } connection_pool_size 1k; large_client_header_buffers 4 1000; # the place is the end of http",
		// What has no effect is checked all the same.
		"aio x;", "aio threads;", "client_body_in_file_only x;", "client_body_in_file_only clean;", "connection_pool_size x;", "directio x;", "directio off;", "directio 1g;",
		"directio_alignment x;", "keepalive_disable x;", "keepalive_disable msie6 x;", "keepalive_disable msie6 safari;", "keepalive_time x;", "postpone_output x;", "read_ahead x;", "request_pool_size x;",
		"sendfile_max_chunk x;", "sendfile_max_chunk 1g;", "server_names_hash_bucket_size x;", "server_names_hash_max_size x;", "types_hash_bucket_size x;", "types_hash_max_size 1k;",
		"variables_hash_bucket_size x;", "variables_hash_max_size x;", "gzip_hash x;", "gzip_no_buffer x;", "gzip_window x;", "postpone_gzipping x;", "gzip_buffers x 4k;", "gzip_buffers 4 x;", "gzip_buffers 0 4k;", "gzip_buffers 4 0;", "gzip_buffers 4 4k;", "output_buffers 2 x;", "output_buffers 2 32k;",
		"gzip_window 3k;", "gzip_window 256;", "gzip_window 512;", "gzip_window 32k;", "gzip_window 64k;", "gzip_hash 256;", "gzip_hash 512;", "gzip_hash 100k;", "gzip_hash 128k;", "gzip_hash 256k;", "gunzip_buffers x 4k;", "gunzip_buffers 0 4k;", "gunzip_buffers 4 0;",
		"server { listen 81; location /a { } location /b { gzip off; } } gzip_types text/html;", "server { listen 81; location /a { } location /b { gzip off; } } gzip_types a/b a/b;", "server { listen 81; location /a { } location /b { gzip off; } } gzip_types a/b A/B;", "gzip_types * a/b;", "gzip_types a/b *;", "gzip_types * *;", "server { listen 81; location /a { } location /b { gzip off; } } gzip_types text/html *;", "server { listen 81; location /a { } location /b { gzip off; } } gzip_types a/b; server { gzip_types a/b; }", "server { listen 81; location /a { } location /b { gzip off; } } gzip_types a/b; gzip_types a/b;",
		"server { listen 81; location /a { } location /b { gzip off; } } gzip_proxied off off;", "gzip_proxied any expired;", "gzip_proxied off any;", "gzip_comp_level 1; gzip_comp_level 2;", "gzip_disable msie6 msie6;", "gzip_disable degradation;", "gunzip on; gunzip off;", "flv;", "server { flv; }",
		"proxy_headers_hash_bucket_size x;", "proxy_headers_hash_max_size 1k;", "proxy_send_lowat x;",
	} {
		dir := t.TempDir()
		want := remarks(t, dir, http)
		table, err := Table()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		c, err := conf.Load(table, conf.Options{Prefix: dir})
		if err == nil {
			var site *httpd.Site
			if site, err = httpd.Compile(c, All(), "nginx/1.22.1"); err == nil {
				got = site.Warnings()
			}
		}
		if err != nil {
			got = append(got, err.Error())
		}
		if strings.Contains(http, "# the place is the end of http") { // ours is the directive
			want[0], _, _ = strings.Cut(want[0], " in /")
			got[0], _, _ = strings.Cut(got[0], " in /")
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-nginx +us):\n%s", http, d)
		}
	}
}

// remarks lays out a prefix in dir and returns what nginx -t warns of, and the fault
// that it finds if it finds one.
func remarks(t *testing.T, dir, http string) (said []string) {
	t.Helper()
	for _, sub := range []string{"conf", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := "pid logs/nginx.pid;\nerror_log logs/error.log;\nevents {}\nhttp {\naccess_log off;\n" + http + "\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// What it says after "syntax is ok" is about this machine.
	out, _ := exec.Command("nginx", "-t", "-p", dir, "-e", "logs/error.log", "-c", "conf/nginx.conf").CombinedOutput()
	judged, _, _ := strings.Cut(string(out), "syntax is ok")
	for line := range strings.Lines(judged) {
		for _, level := range []string{"[warn] ", "[emerg] "} {
			if _, remark, ok := strings.Cut(line, level); ok {
				said = append(said, strings.TrimSuffix(remark, "\n"))
			}
		}
	}
	if !strings.Contains(string(out), "nginx: ") {
		t.Fatalf("nginx -t says %q", out)
	}
	return said
}
