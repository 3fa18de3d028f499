package fastcgi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// php starts PHP's FastCGI server for the test, on a unix socket and on a TCP port,
// and returns both addresses.
func php(t *testing.T) (unix, tcp string) {
	t.Helper()
	found, err := filepath.Glob("/usr/sbin/php-fpm*") // its version is in the name
	if err != nil || len(found) == 0 {
		t.Fatalf("find PHP's FastCGI server: %v", err)
	}
	dir := t.TempDir()
	unix, tcp = filepath.Join(dir, "fpm.sock"), sidebyside.ClosedPort(t)
	pool := func(name, listen string) string {
		text := "[" + name + "]\nlisten = " + listen + "\npm = static\npm.max_children = 5\n" +
			"php_admin_value[upload_max_filesize] = 32M\nphp_admin_value[post_max_size] = 32M\n" +
			"php_admin_value[memory_limit] = 256M\nphp_admin_flag[display_errors] = off\n" +
			"php_admin_flag[log_errors] = on\nphp_admin_value[error_log] = \ncatch_workers_output = no\n"
		if os.Geteuid() == 0 {
			text += "user = root\ngroup = root\n"
		}
		return text
	}
	conf := filepath.Join(dir, "fpm.conf")
	text := "[global]\nerror_log = " + filepath.Join(dir, "fpm.log") + "\ndaemonize = no\n" + pool("u", unix) + pool("t", tcp)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-F", "-y", conf, "-p", dir, "-n"}
	if os.Geteuid() == 0 {
		args = append(args, "-R")
	}
	there := func() bool { return sidebyside.Listens("unix", unix)() && sidebyside.Listens("tcp", tcp)() }
	sidebyside.Program(t, there, dir, found[0], args...)
	return unix, tcp
}

// app is one script that does what its argument "do" says.
const app = `<?php
switch ($_GET['do'] ?? 'params') {
case 'params':
    header('Content-Type: text/plain');
    $all = $_SERVER;
    foreach (['REMOTE_PORT', 'REQUEST_TIME', 'REQUEST_TIME_FLOAT', 'PHP_SELF', 'argv', 'argc', 'USER', 'HOME', 'SERVER_ADDR', 'REMOTE_ADDR'] as $k) unset($all[$k]);
    ksort($all);
    foreach ($all as $k => $v) echo "$k=$v\n";
    break;
case 'status': header('Status: 404 Gone Fishing'); echo 'not here'; break;
case 'code': http_response_code((int)$_GET['code']); if ($_GET['code'] >= 400) echo 'body'; break;
case 'location': header('Location: ' . $_GET['to']); echo 'moved'; break;
case 'cookies': setcookie('a', '1'); setcookie('b', '2'); header('X-Two: 1'); header('X-Two: 2', false); echo 'ok'; break;
case 'server': header('Server: mine'); header('Date: Thu, 01 Jan 2026 00:00:00 GMT'); echo 'ok'; break;
case 'length': header('Content-Length: 5'); echo 'hello'; break;
case 'empty': header_remove('Content-Type'); break;
case 'flush': for ($i = 0; $i < 5; $i++) { echo "line $i\n"; flush(); } break;
case 'accel': header('X-Accel-Redirect: ' . $_GET['to']); header('Set-Cookie: k=v'); break;
case 'stderr': error_log('the roof is on fire'); echo 'still served'; break;
case 'late': echo str_repeat('x', 20000); flush(); error_log('too late'); echo 'end'; break;
case 'post': header('Content-Type: text/plain'); $b = file_get_contents('php://input');
    echo strlen($b), ' ', md5($b), ' ', $_SERVER['CONTENT_LENGTH'] ?? 'none', ' ', $_SERVER['CONTENT_TYPE'] ?? 'none'; break;
case 'big': header('Content-Type: application/octet-stream'); $s = str_repeat('0123456789abcdef', 4096);
    for ($i = 0; $i < 160; $i++) echo $s; break;
}
`

func start(t *testing.T, locations string) *sidebyside.Pair {
	t.Helper()
	unix, tcp := php(t)
	replace := strings.NewReplacer("UNIX", "unix:"+unix, "TCP", tcp, "DEAD", sidebyside.ClosedPort(t))
	params, err := os.ReadFile("../../prefix/files/conf/fastcgi.conf")
	if err != nil {
		t.Fatal(err)
	}
	return sidebyside.Start(t, replace.Replace(`
log_format up '$request $status|$upstream_addr|$upstream_status|$upstream_response_length|$upstream_bytes_sent|$upstream_http_x_two|$upstream_cookie_a';
access_log logs/up.log up;
upstream kept { server TCP; keepalive 4; }
upstream half { server DEAD; server UNIX; }
root ROOT;
include ROOT/fastcgi.conf;
`+locations), sidebyside.Files{
		"app.php": app, "dir/index.php": "<?php echo 'index of ', $_SERVER['SCRIPT_NAME'];",
		"snippet/app.php": app, "snippet/index.php": "<?php echo 'index ', $_SERVER['SCRIPT_FILENAME'];",
		"hello.txt": "hello from a file", "fastcgi.conf": string(params),
	})
}

func TestPHPAnswersAsThroughNginx(t *testing.T) {
	t.Parallel()
	p := start(t, `
server {
	listen ADDR;
	location ~ ^/snippet/(.*\.php(/|$)|$) { # as Debian has it
		fastcgi_split_path_info ^(.+?\.php)(/.*)$;
		try_files $fastcgi_script_name =404;
		set $path_info $fastcgi_path_info;
		fastcgi_param PATH_INFO $path_info;
		fastcgi_index index.php;
		include ROOT/fastcgi.conf;
		fastcgi_pass UNIX;
	}
	location ~ \.php$ { fastcgi_pass UNIX; }
	location ^~ /tcp/ { rewrite ^/tcp(/.*)$ $1 break; fastcgi_pass TCP; }
	location ^~ /kept/ { rewrite ^/kept(/.*)$ $1 break; fastcgi_pass kept; fastcgi_keep_conn on; }
	location ^~ /off/ { rewrite ^/off(/.*)$ $1 break; fastcgi_pass kept; fastcgi_keep_conn on; fastcgi_buffering off; }
	location ^~ /half/ { rewrite ^/half(/.*)$ $1 break; fastcgi_pass half; }
	location ^~ /dir/ { fastcgi_index index.php; fastcgi_pass UNIX; }
	location ^~ /info/ {
		fastcgi_split_path_info ^/info(/.+?\.php)(/.*)?$;
		fastcgi_param PATH_INFO $fastcgi_path_info;
		fastcgi_param SCRIPT_FILENAME ROOT$fastcgi_script_name;
		fastcgi_param HTTP_X_SET "set here";
		fastcgi_param HTTP_X_GONE "";
		fastcgi_param EMPTY "" if_not_empty;
		fastcgi_pass UNIX;
	}
	location ^~ /errors/ {
		rewrite ^/errors(/.*)$ $1 break;
		fastcgi_intercept_errors on; error_page 404 /hello.txt;
		fastcgi_hide_header X-Two; fastcgi_pass_header X-Accel-Redirect; fastcgi_ignore_headers X-Accel-Redirect;
		fastcgi_pass UNIX;
	}
	location ^~ /bare/ { rewrite ^/bare(/.*)$ $1 break; fastcgi_pass_request_headers off; fastcgi_pass_request_body off; fastcgi_pass UNIX; }
	location ^~ /variable/ { rewrite ^/variable(/.*)$ $1 break; set $to UNIX; fastcgi_pass $to; }
	location = /hello.txt { }
	location = /inner { internal; return 200 "served inside"; }
}`)
	for _, path := range []string{"", "/tcp", "/kept", "/off", "/half", "/errors", "/bare", "/variable"} {
		for _, query := range []string{
			"", "?a=b&do=params", "?do=status", "?do=code&code=500", "?do=code&code=204", "?do=code&code=304",
			"?do=location&to=/x", "?do=location&to=http://other/x", "?do=cookies", "?do=server", "?do=length", "?do=empty",
			"?do=flush", "?do=accel&to=/inner", "?do=stderr", "?do=post",
		} {
			p.Same(sidebyside.Get(path+"/app.php"+query, "X-Some-Field: v1", "x_under: u", "Accept: */*"))
			if path == "" {
				p.Same(sidebyside.Ask("HEAD", path+"/app.php"+query))
			}
		}
		p.Same(sidebyside.Ask("POST", path+"/app.php?do=post", "Content-Length: 5", "Content-Type: text/x") + "12345")
		if path == "/bare" {
			continue // where the body is not read, its length is not known
		}
		p.Same(sidebyside.Ask("POST", path+"/app.php?do=post", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n")
	}
	p.Same(sidebyside.Get("/dir/"))
	p.Same(sidebyside.Get("/dir"))
	p.Same(sidebyside.Get("/info/app.php/more/of/it?x", "X-Set: client", "X-Gone: client"))
	p.Same(sidebyside.Get("/info/app.php"))
	p.Same(sidebyside.Get("/missing.php"))
	for _, target := range []string{"/snippet/app.php", "/snippet/app.php/more?x=y", "/snippet/none.php", "/snippet/none.php/app.php", "/snippet/"} {
		p.Same(sidebyside.Get(target))
	}
	p.SameLogs("logs/up.log", nil)
	p.SameLogs("logs/error.log", regexp.MustCompile(`FastCGI sent|upstream`))
}

func TestPHPTakesAndSendsLargeBodies(t *testing.T) {
	t.Parallel()
	p := start(t, `
client_max_body_size 0;
server {
	listen ADDR;
	location ~ \.php$ { fastcgi_pass UNIX; }
	location ^~ /kept/ { rewrite ^/kept(/.*)$ $1 break; fastcgi_pass kept; fastcgi_keep_conn on; }
	location ^~ /stream/ { rewrite ^/stream(/.*)$ $1 break; fastcgi_request_buffering off; fastcgi_pass TCP; }
}`)
	body := strings.Repeat("0123456789abcdef", 10<<20/16)
	for _, path := range []string{"", "/kept", "/stream"} {
		a := p.SameBody(sidebyside.Ask("POST", path+"/app.php?do=post", fmt.Sprintf("Content-Length: %d", len(body))) + body)
		if !strings.HasPrefix(a.Body, fmt.Sprintf("%d ", len(body))) {
			t.Errorf("%s: PHP got %q", path, a)
		}
		chunked := sidebyside.Ask("POST", path+"/app.php?do=post", "Transfer-Encoding: chunked") +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 100000, body[:100000])
		if path != "/stream" { // where nginx tells PHP no length, and PHP reads nothing
			p.SameBody(chunked)
		} else if a := p.DoBaton(chunked); !strings.HasPrefix(a.Body, "100000 ") {
			t.Errorf("PHP got %q", a)
		}
		if a := p.SameBody(sidebyside.Get(path + "/app.php?do=big")); len(a.Body) != 160*65536 {
			t.Errorf("%s: answer of %d bytes", path, len(a.Body))
		}
		p.SameBody(sidebyside.Get(path + "/app.php?do=late"))
	}
}
