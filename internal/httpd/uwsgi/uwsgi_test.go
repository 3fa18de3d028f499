package uwsgi_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// app is a WSGI application that does what its argument "do" says.
const app = `
import hashlib, os, sys, urllib.parse

def application(env, start):
    q = urllib.parse.parse_qs(env.get('QUERY_STRING', ''))
    do = q.get('do', ['params'])[0]
    to = q.get('to', [''])[0]
    def plain(status, body, *fields):
        start(status, [('Content-Type', 'text/plain')] + list(fields))
        return [body]
    if do == 'params':
        keep = sorted(k for k, v in env.items() if isinstance(v, str)
                      and k not in ('REMOTE_PORT', 'REMOTE_ADDR', 'uwsgi.node', 'uwsgi.version', 'wsgi.url_scheme'))
        return plain('200 OK', '\n'.join('%s=%s' % (k, env[k]) for k in keep).encode())
    if do == 'status':
        return plain(q['code'][0] + ' Something Else', b'a body')
    if do == 'bare':
        start(q['code'][0] + ' ' + 'No More', [])
        return []
    if do == 'location':
        return plain('302 Found', b'moved', ('Location', to))
    if do == 'fields':
        return plain('200 OK', b'ok', ('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2'), ('X-Two', '1'), ('x-two', '2'),
                     ('Server', 'mine'), ('Date', 'Thu, 01 Jan 2026 00:00:00 GMT'), ('Status', '999 strange'))
    if do == 'length':
        return plain('200 OK', b'hello', ('Content-Length', '5'))
    if do == 'accel':
        return plain('200 OK', b'', ('X-Accel-Redirect', to))
    if do == 'pieces':
        start('200 OK', [('Content-Type', 'text/plain')])
        return (b'piece %d\n' % i for i in range(20))
    if do == 'post':
        body = env['wsgi.input'].read(int(env.get('CONTENT_LENGTH') or 0))
        return plain('200 OK', ('%d %s %s' % (len(body), hashlib.md5(body).hexdigest(), env.get('CONTENT_TYPE'))).encode())
    if do == 'big':
        start('200 OK', [('Content-Type', 'application/octet-stream')])
        return (b'0123456789abcdef' * 4096 for i in range(160))
`

// A speech is a protocol that uWSGI's server speaks, and the module for it.
type speech struct{ name, socket string }

// start runs an application server and both web servers in front of it. In locations
// PASS_ begins the directives, UNIX and TCP are the server's addresses.
func start(t *testing.T, s speech, locations string) *sidebyside.Pair {
	t.Helper()
	path, err := exec.LookPath("uwsgi_python3")
	if err != nil {
		t.Fatalf("find the application server: %v", err)
	}
	dir := t.TempDir()
	unix, tcp := filepath.Join(dir, "app.sock"), sidebyside.ClosedPort(t)
	if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	there := func() bool { return sidebyside.Listens("unix", unix)() && sidebyside.Listens("tcp", tcp)() }
	sidebyside.Program(t, there, dir, path, "--master", "--die-on-term", "--processes", "2", "--need-app", "--no-orphans",
		s.socket, unix, s.socket, tcp, "--wsgi-file", filepath.Join(dir, "app.py"), "--disable-logging", "--buffer-size", "65535",
		"--socket-timeout", "60") // or it ends an answer that a busy machine takes slowly
	params, err := os.ReadFile("../../prefix/files/conf/" + s.name + "_params")
	if err != nil {
		t.Fatal(err)
	}
	replace := strings.NewReplacer("UNIX", "unix:"+unix, "TCP", tcp, "DEAD", sidebyside.ClosedPort(t), "PASS_", s.name+"_")
	return sidebyside.Start(t, replace.Replace(`
log_format up '$request $status|$upstream_addr|$upstream_status|$upstream_response_length|$upstream_bytes_sent|$upstream_http_x_two|$upstream_cookie_a';
access_log logs/up.log up;
client_max_body_size 0;
upstream half { server DEAD; server UNIX; }
upstream tcp { server TCP; }
root ROOT;
include ROOT/params; PASS_param PATH_INFO $uri; PASS_param SCRIPT_NAME "";
`+locations), sidebyside.Files{"hello.txt": "hello from a file", "params": string(params)})
}

func speeches() []speech {
	return []speech{{"uwsgi", "--socket"}, {"scgi", "--scgi-socket"}}
}

func TestApplicationsAnswerAsThroughNginx(t *testing.T) {
	for _, s := range speeches() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, s, `
server {
	listen ADDR;
	location / { PASS_pass UNIX; }
	location /tcp/ { PASS_pass tcp; PASS_buffering off; }
	location /half/ { PASS_pass half; }
	location /errors/ {
		PASS_intercept_errors on; error_page 404 /hello.txt;
		PASS_hide_header X-Two; PASS_pass_header X-Accel-Redirect; PASS_ignore_headers X-Accel-Redirect;
		PASS_pass UNIX;
	}
	location /bare/ { PASS_pass_request_headers off; PASS_pass_request_body off; PASS_pass UNIX; }
	location /variable/ { set $to UNIX; PASS_pass $to; }
	location /own/ {
		include ROOT/params;
		PASS_param SCRIPT_NAME /own; PASS_param PATH_INFO /x; PASS_param HTTP_X_SET "set here"; PASS_param HTTP_X_GONE "";
		PASS_param EMPTY "" if_not_empty; PASS_param FILLED $host if_not_empty; PASS_param BLANK "";
		PASS_pass TCP;
	}
	location = /hello.txt { }
	location = /inner { internal; return 200 "served inside"; }
}`)
			for _, path := range []string{"/", "/tcp/", "/half/", "/errors/", "/bare/", "/variable/", "/own/"} {
				for _, query := range []string{
					"", "?a=b&do=params", "?do=status&code=404", "?do=status&code=500", "?do=status&code=200", "?do=bare&code=204",
					"?do=bare&code=304", "?do=location&to=/x", "?do=location&to=http://other/x", "?do=fields", "?do=length",
					"?do=pieces", "?do=accel&to=/inner", "?do=post",
				} {
					p.Same(sidebyside.Get(path+query, "X-Some-Field: v1", "X-Set: client", "X-Gone: client", "x_under: u"))
				}
				p.Same(sidebyside.Ask("HEAD", path+"?do=length"))
				if path != "/bare/" { // where nginx tells the length of a body that it does not send
					p.Same(sidebyside.Ask("POST", path+"?do=post", "Content-Length: 5", "Content-Type: text/x") + "12345")
					p.Same(sidebyside.Ask("POST", path+"?do=post", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n")
				}
			}
			p.SameLogs("logs/up.log", nil)
			// A Status that comes twice is warned of since 1.23.
			p.SameLogs("logs/error.log", regexp.MustCompile(`upstream (server|prematurely|timed|sent [^d])`))
		})
	}
}

func TestApplicationsTakeAndSendLargeBodies(t *testing.T) {
	for _, s := range speeches() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, s, `
server {
	listen ADDR;
	location / { PASS_pass UNIX; }
	location /stream/ { PASS_request_buffering off; PASS_pass TCP; }
}`)
			body := strings.Repeat("0123456789abcdef", 10<<20/16)
			for _, path := range []string{"/", "/stream/"} {
				raw := sidebyside.Ask("POST", path+"?do=post", fmt.Sprintf("Content-Length: %d", len(body))) + body
				_, a := p.Do(raw)
				if path != "/stream/" || s.name != "scgi" { // of which nginx tells the length that it has read so far
					a = p.SameBody(raw)
				}
				if !strings.HasPrefix(a.Body, fmt.Sprintf("%d ", len(body))) {
					t.Errorf("%s: the application got %q", path, a)
				}
				p.SameBody(sidebyside.Ask("POST", path+"?do=post", "Transfer-Encoding: chunked") +
					fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 100000, body[:100000]))
			}
			if a := p.SameBody(sidebyside.Get("/?do=big")); len(a.Body) != 160*65536 {
				t.Errorf("answer of %d bytes", len(a.Body))
			}
		})
	}
}
