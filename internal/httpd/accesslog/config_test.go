package accesslog_test

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// compile loads and compiles an http block's content in dir.
func compile(t *testing.T, dir, text string) (*conf.Config, *httpd.Site, error) {
	t.Helper()
	for _, sub := range []string{"conf", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte("events {}\nhttp {\n"+text+"\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	table, err := modules.Table()
	if err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(table, conf.Options{Prefix: dir})
	if err != nil {
		return nil, nil, err
	}
	site, err := httpd.Compile(c, modules.All(), "baton/test")
	return c, site, err
}

// Faults are worded as nginx 1.22.1 words them.
func TestFaultsAreWordedAsNginxs(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ text, want string }{
		{`access_log logs/a nosuch;`, `unknown log format "nosuch"`},
		{`access_log logs/a combined buffer=x;`, `invalid buffer size "x"`},
		{`access_log logs/a combined flush=1s;`, `no buffer is defined for access_log "logs/a"`},
		{`access_log logs/a combined buffer=4k foo;`, `invalid parameter "foo"`},
		{`access_log logs/a if=$http_x;`, `unknown log format "if=$http_x"`},
		{`access_log off foo;`, `invalid parameter "foo"`},
		{`log_format combined "x";`, `duplicate "log_format" name "combined"`},
		{`log_format a "x"; log_format a "y";`, `duplicate "log_format" name "a"`},
		{`log_format a escape=foo "y";`, `unknown log format escaping "foo"`},
		{`log_format a "$nosuch";`, `unknown "nosuch" variable`},
		{`log_format a "${foo";`, `the closing bracket in "foo" variable is missing`},
		{`access_log logs/a combined buffer=4k; server { access_log logs/a combined buffer=8k; }`,
			`access_log "logs/a" already defined with conflicting parameters`},
		{`access_log logs/a combined buffer=4k flush=x;`, `invalid flush time "x"`},
		{`access_log syslog:server=127.0.0.1;`, `"syslog:" in the "access_log" directive is not supported by baton`},
		{`access_log logs/a combined gzip;`, `"gzip" in the "access_log" directive is not supported by baton`},
		{`access_log logs/$host.log;`, `variables in the path of the "access_log" directive are not supported by baton`},
	} {
		text := x.text
		if !strings.Contains(text, "server {") {
			text += " server { }"
		}
		_, _, err := compile(t, t.TempDir(), text)
		if err == nil || !strings.HasPrefix(err.Error(), x.want) {
			t.Errorf("%s: %v, want %s", x.text, err, x.want)
		}
	}
}

// Which logs get a line follows nginx's rules of inheritance, "off" and "if=".
func TestRequestsGoToTheLogsOfTheirLocation(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		log_format short '$request_uri $status';
		access_log logs/http.log short;
		server {
			listen ADDR; root ROOT;
			location /inherited { }
			location /own { access_log logs/own.log short; }
			location /two { access_log logs/own.log short; access_log logs/http.log short; }
			location /off { access_log off; }
			location /offandon { access_log off; access_log logs/own.log short; }
			location /if { access_log logs/http.log short if=$arg_log; }
			location /nested { access_log off; location /nested/in { access_log logs/own.log short; } }
			location /page { error_page 404 /own/page; }
			location /end { access_log logs/end.log short; access_log logs/own.log short; access_log logs/http.log short; }
		}`, nil)
	for _, target := range []string{
		"/inherited", "/own", "/two", "/off", "/offandon", "/if", "/if?log=", "/if?log=0", "/if?log=00", "/if?log=1", "/if?log=a",
		"/nested", "/nested/in", "/page", "/end",
	} {
		p.Do(sidebyside.Get(target))
	}
	for name, n := range map[string]int{"logs/http.log": 6, "logs/own.log": 5, "logs/end.log": 1} {
		nginx, baton := waitLines(t, p, name, n)
		// The line of one connection's last answer may come behind the next one's.
		slices.Sort(nginx)
		slices.Sort(baton)
		if !slices.Equal(nginx, baton) {
			t.Errorf("%s:\n--- nginx\n%s\n--- baton\n%s", name, strings.Join(nginx, ""), strings.Join(baton, ""))
		}
	}
}

// What is logged of a body that a proxy read is what nginx logs; a body that is
// larger than the buffer is none.
func TestBodiesAreLoggedAsByNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		log_format body '$request_uri $status <$request_body> $content_length $request_length';
		access_log logs/body.log body;
		client_body_buffer_size 1k;
		server {
			listen ADDR; root ROOT;
			location /proxied { proxy_pass http://ADDR/back; proxy_http_version 1.1; }
			location /back { access_log off; return 200 back; }
		}`, nil)
	raws := []string{
		"GET /proxied HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
		"POST /proxied HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhel\"o",
		"POST /proxied HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
		"POST /proxied HTTP/1.1\r\nHost: b\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n" + strings.Repeat("x", 5000),
	}
	for i, raw := range raws {
		p.Do(raw)
		waitLines(t, p, "logs/body.log", i+1)
	}
	sameLines(t, p, "logs/body.log", raws, nil)
}

// Buffered lines are not lost: they are written when the files are opened again and
// when the server has retired.
func TestBufferedLinesSurviveReopenAndRetire(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, site, err := compile(t, dir, `
		log_format short '$request_uri';
		access_log logs/a.log short buffer=64k;
		server { listen `+ln.Addr().String()+`; }`)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "logs/a.log")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first := open()
	s := httpd.NewServer(site, httpd.Env{Log: slog.New(slog.DiscardHandler), Logs: map[string]*os.File{path: first}})
	if err := s.Start(map[string][]net.Listener{c.Listens[0].Key(): {ln}}); err != nil {
		t.Fatal(err)
	}
	ask := func(target string) {
		t.Helper()
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write([]byte("GET " + target + " HTTP/1.0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for err == nil { // the connection is closed after the line was logged
			_, err = nc.Read(buf)
		}
	}
	ask("/one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.Reopen(map[string]*os.File{path: open()})
	first.Close() // as Reopen allows
	ask("/two")
	s.Retire(t.Context(), nil)
	rotated, _ := os.ReadFile(path + ".1")
	current, _ := os.ReadFile(path)
	if got := string(rotated) + string(current); got != "/one\n/two\n" {
		t.Errorf("logged %q", got)
	}
}
