package proxy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/testbed"
)

// Faults of a configuration are refused in nginx's words, with file and line.
func TestFaultsAreWordedAsNginxWordsThem(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("find the real nginx to compare with: %v", err)
	}
	table, err := modules.Table()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, sub := range []string{"conf", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ca, other := testbed.NewAuthority(t, "CA"), testbed.NewAuthority(t, "Other")
	for name, text := range map[string]string{"ca.pem": ca.CertPEM(), "ca.key": ca.KeyPEM(), "other.key": other.KeyPEM(), "junk.pem": "junk\n"} {
		if err := os.WriteFile(filepath.Join(dir, "conf", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	emerg := regexp.MustCompile(`\[emerg\] (?:\d+#\d+: )?(.*)`)
	for _, text := range []string{
		"server { location / { proxy_pass ftp://x; } }",
		"server { location / { proxy_pass nothing; } }",
		"server { location / { proxy_pass http://; } }",
		"server { location / { proxy_pass http://127.0.0.1:99999; } }",
		"server { location / { proxy_pass http://127.0.0.1:0; } }",
		"server { location / { proxy_pass http://127.0.0.1:x; } }",
		"server { location / { proxy_pass http://[::1; } }",
		"server { location / { proxy_pass http://host.invalid/; } }",
		"server { location / { proxy_pass http://host.invalid:81/; } }",
		"server { location / { fastcgi_pass host.invalid:9; } }",
		"server { location / { proxy_pass http://unix:; } }",
		"server { location ~ x { proxy_pass http://127.0.0.1/u; } }",
		"server { location @x { proxy_pass http://127.0.0.1/; } }",
		"server { location / { proxy_pass http://127.0.0.1; proxy_pass http://127.0.0.1; } }",
		"server { location / { proxy_pass http://$nosuch; } }",
		"server { proxy_pass http://127.0.0.1; }",
		"upstream u { server 127.0.0.1; } server { location / { proxy_pass http://u:81; } }",
		"upstream u { }",
		"upstream u { server 127.0.0.1; } upstream u { server 127.0.0.1; }",
		"upstream u { server 127.0.0.1 weight=0; }",
		"upstream u { server 127.0.0.1 weight=x; }",
		"upstream u { server 127.0.0.1 max_fails=-1; }",
		"upstream u { server 127.0.0.1 fail_timeout=1x; }",
		"upstream u { server 127.0.0.1 max_conns=; }",
		"upstream u { server 127.0.0.1 bogus; }",
		"upstream u { server 127.0.0.1 backup; }",
		"upstream u { ip_hash; server 127.0.0.1; server 127.0.0.2 backup; }",
		"upstream u { server host.invalid; }",
		"upstream u { server 127.0.0.1:70000; }",
		"upstream u { server unix:; }",
		"upstream u { server 127.0.0.1; keepalive x; }",
		"upstream u { server 127.0.0.1; hash $arg_k other; }",
		"upstream u { server 127.0.0.1; random three; }",
		"server { location / { proxy_http_version 2; } }",
		"server { location / { proxy_next_upstream never; } }",
		"server { location / { proxy_ignore_headers X-Other; } }",
		"server { location / { proxy_redirect on; proxy_pass http://127.0.0.1; } }",
		"server { location / { proxy_pass http://$host; proxy_redirect default; } }",
		"server { location / { proxy_buffering maybe; } }",
		"server { location / { proxy_read_timeout 1q; } }",
		"server { location / { proxy_set_header X; } }",
		"server { location / { proxy_set_header X $nosuch; proxy_pass http://127.0.0.1; } }",
		"server { location / { proxy_cookie_path on; proxy_pass http://127.0.0.1; } }",
		"server { location / { proxy_pass https://; } }",
		"server { location / { proxy_pass https://127.0.0.1:x; } }",
		"server { location ~ x { proxy_pass https://127.0.0.1/u; } }",
		"upstream u { server 127.0.0.1; } server { location / { proxy_pass https://u:81; } }",
		"upstream u { server 127.0.0.1; } server { location / { proxy_pass https://u; } location /a { proxy_pass http://u; } }",
		secureFault("proxy_ssl_verify on;"),
		secureFault("proxy_ssl_verify on; proxy_ssl_trusted_certificate nowhere.pem;"),
		secureFault("proxy_ssl_verify on; proxy_ssl_trusted_certificate junk.pem;"),
		secureFault("proxy_ssl_trusted_certificate nowhere.pem;"),
		secureFault("proxy_ssl_crl nowhere.pem;"),
		secureFault("proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_crl nowhere.pem;"),
		secureFault("proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.pem; proxy_ssl_crl junk.pem;"),
		secureFault("proxy_ssl_verify_depth x;"),
		secureFault("proxy_ssl_verify maybe;"),
		secureFault("proxy_ssl_server_name maybe;"),
		secureFault("proxy_ssl_session_reuse maybe;"),
		secureFault("proxy_ssl_name $nosuch;"),
		secureFault("proxy_ssl_protocols TLSv9;"),
		secureFault("proxy_ssl_protocols TLSv1.2 TLSv1.2;"),
		secureFault("proxy_ssl_protocols TLSv1.2; proxy_ssl_protocols TLSv1.3;"),
		secureFault("proxy_ssl_ciphers NOTHING;"),
		secureFault("proxy_ssl_certificate ca.pem;"),
		secureFault("proxy_ssl_certificate nowhere.pem; proxy_ssl_certificate_key ca.key;"),
		secureFault("proxy_ssl_certificate junk.pem; proxy_ssl_certificate_key ca.key;"),
		secureFault("proxy_ssl_certificate ca.pem; proxy_ssl_certificate_key nowhere.key;"),
		secureFault("proxy_ssl_certificate ca.pem; proxy_ssl_certificate_key junk.pem;"),
		secureFault("proxy_ssl_certificate ca.pem; proxy_ssl_certificate_key other.key;"),
		secureFault("proxy_ssl_certificate ca.pem; proxy_ssl_certificate_key ca.key; proxy_ssl_password_file nowhere;"),
		secureFault("proxy_ssl_certificate ca.pem; proxy_ssl_certificate_key ca.key; proxy_ssl_password_file junk.pem;"),
		secureFault("proxy_ssl_certificate $nosuch; proxy_ssl_certificate_key ca.key;"),
		secureFault("proxy_ssl_certificate $host; proxy_ssl_certificate_key ca.key;"),
		secureFault(`proxy_ssl_certificate "";`),
		"proxy_ssl_certificate nowhere.pem; server { location / { proxy_pass http://127.0.0.1; } }",
		"proxy_ssl_verify on; server { location / { proxy_pass http://127.0.0.1; } }",
		"proxy_ssl_verify on; server { location / { proxy_pass $host; } }",
	} {
		file := filepath.Join(dir, "conf/nginx.conf")
		full := "error_log logs/e.log;\npid logs/n.pid;\nevents { }\nhttp {\n" + text + "\n}\n"
		if err := os.WriteFile(file, []byte(full), 0o644); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command(nginx, "-t", "-p", dir+"/", "-c", file).CombinedOutput()
		want := ""
		if m := emerg.FindSubmatch(out); m != nil {
			want = string(m[1])
		}
		got := ""
		c, err := conf.Load(table, conf.Options{Prefix: dir, File: file, Resolve: httpd.LookupHost})
		if err == nil {
			_, err = httpd.Compile(c, modules.All(), "nginx/1.22.1")
		}
		if err != nil {
			got = err.Error()
		}
		if want == "unknown \"nosuch\" variable" {
			want += " in " + file + ":5" // nginx does not tell the place
		}
		if got != want {
			t.Errorf("%s\n  nginx %s\n  baton %s", text, want, got)
		}
	}
}

// secureFault is a configuration in which settings are of use.
func secureFault(settings string) string {
	return "server { location / { proxy_pass https://127.0.0.1; " + settings + " } }"
}
