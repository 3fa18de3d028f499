package sidebyside

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/sock"
	"github.com/baton-deploy/baton/internal/testbed"
)

const (
	nginxIP = "127.0.0.1"
	batonIP = "127.0.0.2"
	// waitLimit bounds every wait for a fact.
	waitLimit = time.Minute
	// Product is the name that both servers go by.
	Product = "nginx/1.22.1"
)

// A Pair is nginx and Baton with the same configuration, for one test.
type Pair struct {
	// Dir holds the files that both serve: "ROOT" in the configuration.
	Dir string
	// Nginx and Baton are where they listen: "ADDR" in the configuration.
	Nginx, Baton string

	t      testing.TB
	server *httpd.Server
}

// Files is what a test puts below Dir before the servers start: content by
// relative name. A name that ends in a slash is a folder.
type Files map[string]string

// Start runs both servers until the test ends. http is the content of the http
// block; in it (and nowhere else in the text) these words are replaced where they stand
// alone:
//
//	ADDR  address and port to listen on
//	IP    the same address without the port
//	PORT  the port
//	ROOT  the folder with the files
//
// Relative paths of logs lie in each server's own prefix; see [Pair.Logs].
func Start(t testing.TB, http string, files Files) *Pair {
	t.Helper()
	p := newPair(t, files)
	p.startNginx(http)
	p.startBaton(http)
	return p
}

// StartAlone is Start of Baton alone, for what Debian's nginx does not know or does
// otherwise than nginx as it is now. There is nothing to compare with.
func StartAlone(t testing.TB, http string, files Files) *Pair {
	t.Helper()
	p := newPair(t, files)
	p.Nginx = ""
	p.startBaton(http)
	return p
}

// newPair takes a port and lays out the files.
func newPair(t testing.TB, files Files) *Pair {
	t.Helper()
	port, err := testbed.TakePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	p := &Pair{
		Dir:   filepath.Join(t.TempDir(), "files"),
		Nginx: net.JoinHostPort(nginxIP, strconv.Itoa(port.Number)),
		Baton: net.JoinHostPort(batonIP, strconv.Itoa(port.Number)),
		t:     t,
	}
	p.put(files)
	return p
}

// put writes files below Dir.
func (p *Pair) put(files Files) {
	p.t.Helper()
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(p.Dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(full, 0o755); err != nil {
				p.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(files[name]), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
}

// placeholder is a whole word: SCRIPT_NAME has an IP in it that is none.
var placeholder = regexp.MustCompile(`\b(ADDR|IP|PORT|ROOT)\b`)

// config is the whole nginx.conf for the server that listens on addr.
func (p *Pair) config(http, addr, extra string) string {
	ip, port, _ := net.SplitHostPort(addr)
	values := map[string]string{"ADDR": addr, "IP": ip, "PORT": port, "ROOT": p.Dir}
	text := placeholder.ReplaceAllStringFunc(http, func(word string) string { return values[word] })
	return "daemon off;\nmaster_process off;\nerror_log logs/error.log info;\npid logs/nginx.pid;\n" +
		"events { worker_connections 256; }\nhttp {\n" + extra + text + "\n}\n"
}

// prefix lays out a prefix for one of the servers and returns it.
func (p *Pair) prefix(name, config string) string {
	p.t.Helper()
	dir := filepath.Join(filepath.Dir(p.Dir), name)
	for _, sub := range []string{"conf", "logs", "tmp", "client_body_temp", "proxy_temp", "fastcgi_temp", "scgi_temp", "uwsgi_temp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte(config), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

// Logs returns the content of a log file, by its name relative to the prefix
// ("logs/error.log"), of both servers; that of one that does not run is empty.
func (p *Pair) Logs(name string) (nginx, baton string) {
	p.t.Helper()
	read := func(server string) string {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(p.Dir), server, name))
		if err != nil && (server != "nginx" || p.Nginx != "") {
			p.t.Fatal(err)
		}
		return string(b)
	}
	return read("nginx"), read("baton")
}

// presentDefaults make an older nginx speak with servers as the present one does. A
// location that has proxy_set_header of its own needs the field Connection there, and
// Host before all others.
const presentDefaults = "proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n"

func (p *Pair) startNginx(http string) {
	p.t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		p.t.Fatalf("find the real nginx to compare with: %v", err)
	}
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		if !strings.Contains(http, kind+"_temp_path") {
			fmt.Fprintf(&temp, "%s_temp_path tmp/%s;\n", kind, kind)
		}
	}
	if strings.Contains(http, "proxy_pass") {
		temp.WriteString(presentDefaults)
	}
	dir := p.prefix("nginx", p.config(http, p.Nginx, temp.String()))
	Program(p.t, Listens("tcp", p.Nginx), dir, path, "-p", dir, "-c", "conf/nginx.conf", "-e", "logs/error.log")
}

func (p *Pair) startBaton(http string) {
	p.t.Helper()
	dir := p.prefix("baton", p.config(http, p.Baton, ""))
	table, err := modules.Table()
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := conf.Load(table, conf.Options{Prefix: dir, ErrorLog: "logs/error.log", Resolve: httpd.LookupHost})
	if err != nil {
		p.t.Fatal(err)
	}
	site, err := httpd.Compile(c, modules.All(), Product)
	if err != nil {
		p.t.Fatal(err)
	}
	p.server = httpd.NewServer(site, p.env(c))
	sockets := p.listen(c)
	if err := p.server.Start(sockets); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel() // idle connections are cut: nobody waits for them
		p.server.Retire(done, nil)
	})
}

// listen opens the sockets of c as a master would: net.Listen takes an address of IPv4
// that is written as one of IPv6 for one of IPv4.
func (p *Pair) listen(c *conf.Config) map[string][]net.Listener {
	p.t.Helper()
	var set sock.Set
	if err := set.Open(c.Listens, 1); err != nil {
		p.t.Fatal(err)
	}
	sockets := map[string][]net.Listener{}
	for _, sk := range set.All() {
		f := os.NewFile(uintptr(sk.FD), sk.Key)
		ln, err := net.FileListener(f)
		if err != nil {
			p.t.Fatal(err)
		}
		_ = f.Close() // ln has its own duplicate
		sockets[sk.Key] = []net.Listener{ln}
	}
	return sockets
}

// env opens the logs of c as a worker's master would.
func (p *Pair) env(c *conf.Config) httpd.Env {
	p.t.Helper()
	logs := map[string]*os.File{}
	for _, path := range c.Logs {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { _ = f.Close() })
		logs[path] = f
	}
	var outs []*errorlog.Output
	for _, l := range c.Process.ErrorLogs {
		level, err := errorlog.ParseLevel(l.Level)
		if err != nil {
			p.t.Fatal(err)
		}
		outs = append(outs, errorlog.NewOutput(logs[l.Path], level))
	}
	log := slog.New(slog.DiscardHandler)
	if len(outs) > 0 {
		log = errorlog.New(outs...)
	}
	return httpd.Env{Log: log, Logs: logs}
}

// Server is Baton's.
func (p *Pair) Server() *httpd.Server { return p.server }
