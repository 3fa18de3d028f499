package fastcgi_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// applications are server blocks as the documentation of each application has them, on
// one address, with names instead of domains. PARAMS is Debian's file of that name.
const applications = `
log_format up '$host $request $status|$upstream_status|$sent_http_content_type';
access_log logs/up.log up;
upstream php-handler { server unix:SOCKET; }

server { # WordPress
	listen ADDR; server_name wordpress; root ROOT/wordpress;
	index index.php;
	location = /favicon.ico { log_not_found off; access_log off; }
	location = /robots.txt { allow all; log_not_found off; access_log off; }
	location ~ /\. { deny all; }
	location ~* /(?:uploads|files)/.*\.php$ { deny all; }
	location / { try_files $uri $uri/ /index.php?$args; }
	location ~ \.php$ {
		include PARAMS;
		fastcgi_intercept_errors on;
		fastcgi_pass php-handler;
		fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
	}
	location ~* \.(js|css|png|jpg|jpeg|gif|ico)$ { expires max; log_not_found off; }
}

server { # Laravel
	listen ADDR; server_name laravel; root ROOT/laravel/current/public;
	add_header X-Frame-Options "SAMEORIGIN";
	add_header X-Content-Type-Options "nosniff";
	index index.php;
	charset utf-8;
	location / { try_files $uri $uri/ /index.php?$query_string; }
	location = /favicon.ico { access_log off; log_not_found off; }
	location = /robots.txt  { access_log off; log_not_found off; }
	error_page 404 /index.php;
	location ~ ^/index\.php(/|$) {
		fastcgi_pass unix:SOCKET;
		fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;
		include PARAMS;
		fastcgi_hide_header X-Powered-By;
	}
	location ~ /\.(?!well-known).* { deny all; }
}

server { # Drupal
	listen ADDR; server_name drupal; root ROOT/drupal;
	location = /favicon.ico { log_not_found off; access_log off; }
	location ~* \.(txt|log)$ { deny all; }
	location ~ \..*/.*\.php$ { return 403; }
	location ~ ^/sites/.*/private/ { return 403; }
	location ~ ^/sites/[^/]+/files/.*\.php$ { deny all; }
	location ~* ^/.well-known/ { allow all; }
	location ~ (^|/)\. { return 403; }
	location / { try_files $uri /index.php?$query_string; }
	location @rewrite { rewrite ^ /index.php; }
	location ~ /vendor/.*\.php$ { deny all; return 404; }
	location ~* \.(engine|inc|install|make|module|profile|po|sh|.*sql|theme|twig|tpl(\.php)?|xtmpl|yml)(~|\.sw[op]|\.bak|\.orig|\.save)?$|^(\.(?!well-known).*|Entries.*|Repository|Root|Tag|Template|composer\.(json|lock)|web\.config)$|^#.*#$|\.php(~|\.sw[op]|\.bak|\.orig|\.save)$ { deny all; return 404; }
	location ~ '\.php$|^/update.php' {
		fastcgi_split_path_info ^(.+?\.php)(|/.*)$;
		try_files $fastcgi_script_name =404;
		include PARAMS;
		fastcgi_param HTTP_PROXY "";
		fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
		fastcgi_param PATH_INFO $fastcgi_path_info;
		fastcgi_param QUERY_STRING $query_string;
		fastcgi_intercept_errors on;
		fastcgi_pass unix:SOCKET;
	}
	location ~* \.(js|css|png|jpg|jpeg|gif|ico|svg)$ { try_files $uri @rewrite; expires max; log_not_found off; }
	location ~ ^/sites/.*/files/styles/ { try_files $uri @rewrite; }
	location ~ ^(/[a-z\-]+)?/system/files/ { try_files $uri /index.php?$query_string; }
	if ($request_uri ~* "^(.*/)index\.php/(.*)") { return 307 $1$2; }
}

server { # Nextcloud
	listen ADDR; server_name nextcloud; root ROOT/nextcloud;
	index index.php index.html /index.php$request_uri;
	server_tokens off;
	client_max_body_size 512M; client_body_timeout 300s; fastcgi_buffers 64 4K; client_body_buffer_size 512k;
	gzip on; gzip_vary on; gzip_comp_level 4; gzip_min_length 256;
	gzip_proxied expired no-cache no-store private no_last_modified no_etag auth;
	gzip_types application/atom+xml text/css text/javascript application/json application/wasm image/svg+xml text/plain;
	add_header Referrer-Policy "no-referrer" always;
	add_header X-Robots-Tag "noindex, nofollow" always;
	fastcgi_hide_header X-Powered-By;
	set $asset_immutable ", immutable";
	location = / { if ( $http_user_agent ~ ^DavClnt ) { return 302 /remote.php/webdav/$is_args$args; } }
	location = /robots.txt { allow all; log_not_found off; access_log off; }
	location ^~ /.well-known {
		location = /.well-known/carddav { return 301 /remote.php/dav/; }
		location = /.well-known/caldav  { return 301 /remote.php/dav/; }
		location /.well-known/acme-challenge { try_files $uri $uri/ =404; }
		return 301 /index.php$request_uri;
	}
	location ~ ^/(?:build|tests|config|lib|3rdparty|templates|data)(?:$|/) { return 404; }
	location ~ ^/(?:\.|autotest|occ|issue|indie|db_|console) { return 404; }
	location ~ \.php(?:$|/) {
		rewrite ^/(?!index|remote|public|cron|core\/ajax\/update|status|ocs\/v[12]|updater\/.+|ocs-provider\/.+|.+\/richdocumentscode(_arm64)?\/proxy) /index.php$request_uri;
		fastcgi_split_path_info ^(.+?\.php)(/.*)$;
		set $path_info $fastcgi_path_info;
		try_files $fastcgi_script_name =404;
		include PARAMS;
		fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
		fastcgi_param PATH_INFO $path_info;
		fastcgi_param HTTPS on;
		fastcgi_param modHeadersAvailable true;
		fastcgi_param front_controller_active true;
		fastcgi_pass php-handler;
		fastcgi_intercept_errors on;
		fastcgi_request_buffering off;
		fastcgi_max_temp_file_size 0;
	}
	location ~ \.(?:css|js|mjs|svg|gif|png|wasm)$ {
		try_files $uri /index.php$request_uri;
		add_header Cache-Control "public, max-age=15778463$asset_immutable";
		access_log off;
		location ~ \.wasm$ { default_type application/wasm; }
	}
	location ~ \.(otf|woff2?)$ { try_files $uri /index.php$request_uri; expires 7d; access_log off; }
	location /remote { return 301 /remote.php$request_uri; }
	location / { try_files $uri $uri/ /index.php$request_uri; }
}

server { # phpMyAdmin below another site, as Debian's users have it
	listen ADDR; server_name pma; root ROOT/pma;
	location /phpmyadmin {
		root ROOT/share;
		index index.php index.html index.htm;
		location ~ ^/phpmyadmin/(.+\.php)$ {
			try_files $uri =404;
			root ROOT/share;
			fastcgi_pass unix:SOCKET;
			fastcgi_index index.php;
			fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
			include PARAMS;
		}
		location ~* ^/phpmyadmin/(.+\.(jpg|jpeg|gif|css|png|js|ico|html|xml|txt))$ { root ROOT/share; }
		location ~ ^/phpmyadmin/(libraries|setup/lib) { deny all; }
	}
	location /phpMyAdmin { rewrite ^/* /phpmyadmin last; }
	location /alias {
		alias ROOT/share/phpmyadmin;
		index index.php;
		location ~ \.php$ {
			include PARAMS;
			fastcgi_param SCRIPT_FILENAME $request_filename;
			fastcgi_pass unix:SOCKET;
		}
	}
}
`

// front is a front controller that tells what it was asked for.
const front = `<?php
header('X-Powered-By: PHP');
if (($_GET['code'] ?? '') !== '') { http_response_code((int)$_GET['code']); header('Cache-Control: no-cache'); }
foreach (['SCRIPT_NAME', 'SCRIPT_FILENAME', 'PATH_INFO', 'QUERY_STRING', 'REQUEST_URI', 'DOCUMENT_URI', 'DOCUMENT_ROOT', 'REQUEST_METHOD',
	'SERVER_PROTOCOL', 'REQUEST_SCHEME', 'HTTPS', 'HTTP_PROXY', 'HTTP_HOST', 'HTTP_COOKIE', 'SERVER_NAME', 'REDIRECT_STATUS',
	'CONTENT_LENGTH', 'CONTENT_TYPE', 'modHeadersAvailable', 'front_controller_active'] as $k)
	echo $k, '=', $_SERVER[$k] ?? '(none)', "\n";
echo strlen(file_get_contents('php://input')), ' ', count($_POST), "\n";
`

func TestApplicationsServerBlocks(t *testing.T) {
	t.Parallel()
	unix, _ := php(t)
	params, err := os.ReadFile("../../prefix/files/conf/fastcgi_params")
	if err != nil {
		t.Fatal(err)
	}
	files := sidebyside.Files{
		"params": string(params), "wordpress/index.php": front, "wordpress/wp-login.php": front, "wordpress/wp-admin/index.php": front,
		"wordpress/wp-content/uploads/x.php": front, "wordpress/.htaccess": "secret", "wordpress/style.css": "a{}", "wordpress/robots.txt": "r",
		"laravel/v1/public/index.php": front, "laravel/v1/public/app.css": "a{}", "laravel/v1/public/page.html": "<p>", "laravel/v1/public/.env": "secret",
		"drupal/index.php": front, "drupal/update.php": front, "drupal/core/x.js": "1", "drupal/a.txt": "no", "drupal/sites/default/files/x.php": front,
		"drupal/composer.json": "{}", "drupal/x.module": "no", "drupal/vendor/a/b.php": front,
		"nextcloud/index.php": front, "nextcloud/remote.php": front, "nextcloud/public.php": front, "nextcloud/core/a.js": strings.Repeat("x", 400),
		"nextcloud/core/a.wasm": "w", "nextcloud/core/a.woff2": "f", "nextcloud/config/c.php": front, "nextcloud/robots.txt": "r",
		"share/phpmyadmin/index.php": front, "share/phpmyadmin/a.css": "a{}", "share/phpmyadmin/libraries/x.html": "no", "pma/index.html": "own",
	}
	text := strings.NewReplacer("SOCKET", unix, "PARAMS", "ROOT/params").Replace(applications)
	p := sidebyside.Start(t, text, files)
	if err := os.Symlink("v1", p.Dir+"/laravel/current"); err != nil {
		t.Fatal(err)
	}
	for host, targets := range map[string][]string{
		"wordpress": {
			"/", "/2026/11/a-post/?x=y", "/wp-login.php", "/wp-admin/", "/wp-admin", "/none.php", "/wp-content/uploads/x.php", "/.htaccess",
			"/style.css", "/none.css", "/robots.txt", "/favicon.ico", "/?code=404", "/?code=500", "/index.php/path",
		},
		"laravel": {
			"/", "/users/1?q=a%20b", "/index.php/users", "/app.css", "/page.html", "/.env", "/.well-known/x", "/none.css", "/?code=404", "/robots.txt",
		},
		"drupal": {
			"/", "/node/1?x=1", "/update.php/selection", "/index.php/node/1", "/a.txt", "/core/x.js", "/core/none.js", "/sites/default/files/x.php",
			"/sites/default/files/styles/a.png", "/sites/x/private/a", "/composer.json", "/x.module", "/vendor/a/b.php", "/.git/config", "/system/files/a", "/?code=403",
		},
		"nextcloud": {
			"/", "/index.php/apps/files?dir=/", "/remote.php/dav/files/a%20b", "/apps/files/ajax/list.php?x=1", "/config/c.php", "/.htaccess", "/.well-known/carddav",
			"/.well-known/webfinger?r=1", "/.well-known/acme-challenge/x", "/core/a.js?v=1", "/core/none.js", "/core/a.wasm", "/core/a.woff2", "/robots.txt",
			"/remote", "/status.php", "/ocs/v2.php/cloud", "/apps/", "/index.php?code=404", "/index.php?code=503",
		},
		"pma": {"/", "/phpmyadmin/", "/phpmyadmin", "/phpmyadmin/index.php?db=1", "/phpmyadmin/a.css", "/phpmyadmin/libraries/x.html", "/phpMyAdmin", "/phpmyadmin/none.php", "/alias/index.php", "/alias/"},
	} {
		for _, target := range targets {
			raw := strings.Replace(sidebyside.Get(target, "Proxy: http://bad/", "Cookie: a=b; c=d"), "www.example.com", host, 1)
			p.Same(raw)
			p.Same(strings.Replace(raw, "GET", "HEAD", 1))
			form := "a=1&b=2"
			p.Same(strings.Replace(sidebyside.Ask("POST", target, "Content-Length: 7", "Content-Type: application/x-www-form-urlencoded"), "www.example.com", host, 1) + form)
		}
	}
	for host, want := range map[string]string{
		"wordpress": "SCRIPT_NAME=/index.php\n", "laravel": "/laravel/v1/public/index.php\n", "drupal": "HTTP_PROXY=(none)\n", "nextcloud": "HTTPS=on\n",
	} {
		_, a := p.Do(strings.Replace(sidebyside.Get("/a/page?x", "Proxy: http://bad/"), "www.example.com", host, 1))
		if a.Code() != "200" || !strings.Contains(a.Body, want) {
			t.Errorf("%s: no %q in %s", host, want, a)
		}
	}
	p.Same(strings.Replace(sidebyside.Get("/", "User-Agent: DavClnt"), "www.example.com", "nextcloud", 1))
	p.SameLogs("logs/up.log", nil)
	p.SameLogs("logs/error.log", regexp.MustCompile(`FastCGI sent|\] upstream |forbidden`))
}
