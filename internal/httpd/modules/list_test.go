package modules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// The table is free of contradictions, and each module is there once.
func TestTable(t *testing.T) {
	table, err := Table()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range All() {
		if seen[m.Name] {
			t.Errorf("module %s is twice in the list", m.Name)
		}
		seen[m.Name] = true
		for _, s := range m.Directives {
			if !table.Knows(s.Name) {
				t.Errorf("directive %s of %s is not in the table", s.Name, m.Name)
			}
		}
	}
}

// stock is what a distribution ships, less what is elsewhere on its disk.
const stock = `
user root;
worker_processes auto;
pid logs/nginx.pid;
error_log logs/error.log;
include modules-enabled/*.conf;
events {
	worker_connections 768;
	# multi_accept on;
}
http {
	sendfile on;
	tcp_nopush on;
	types_hash_max_size 2048;
	include mime.types;
	default_type application/octet-stream;
	ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; # Dropping SSLv3, ref: POODLE
	ssl_prefer_server_ciphers on;
	access_log logs/access.log;
	gzip on;
	# gzip_vary on;
	include conf.d/*.conf;
	server {
		listen 80 default_server;
		listen [::]:80 default_server;
		root html;
		index index.html index.htm index.nginx-debian.html;
		server_name _;
		location / {
			try_files $uri $uri/ =404;
		}
	}
}
`

// A distribution's stock configuration compiles, and one with TLS says what is
// missing.
func TestStockConfiguration(t *testing.T) {
	for name, c := range map[string]struct{ text, fault string }{
		"stock":       {stock, ""},
		"certificate": {strings.Replace(stock, "gzip on;", "ssl_certificate x.pem;", 1), "ssl_certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "conf"), 0o755); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{"nginx.conf": c.text, "mime.types": "types { text/html html; }"} {
				if err := os.WriteFile(filepath.Join(dir, "conf", file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			table, err := Table()
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := conf.Load(table, conf.Options{Prefix: dir})
			if err == nil {
				_, err = httpd.Compile(loaded, All(), "nginx/1.22.1")
			}
			switch {
			case c.fault == "" && err != nil:
				t.Error(err)
			case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
				t.Errorf("error = %v, want one about %s", err, c.fault)
			}
		})
	}
}
