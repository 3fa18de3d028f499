package httpd_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
)

// compile makes a site of a whole http block's content.
func compile(t testing.TB, text string) (*httpd.Site, *conf.Config) {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"conf", "logs", "html"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text = "events {}\nhttp {\n" + text + "\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	table, err := modules.Table()
	if err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(table, conf.Options{Prefix: dir})
	if err != nil {
		t.Fatal(err)
	}
	site, err := httpd.Compile(c, modules.All(), "baton/test")
	if err != nil {
		t.Fatal(err)
	}
	return site, c
}

// A wildcard's socket serves the addresses that it covers, and the server is chosen
// by the address that a client connected to.
func TestWildcardSocketServesSpecificAddresses(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	site, c := compile(t, strings.ReplaceAll(`
		access_log off;
		server { listen PORT; return 200 any; }
		server { listen 127.0.0.1:PORT; return 200 one; }
		server { listen 127.0.0.1:PORT; server_name named; return 200 "one, named"; }
		server { listen 127.0.0.3:PORT; return 200 three; }`, "PORT", port))
	if len(c.Listens) != 1 {
		t.Fatalf("%d sockets for one wildcard: %v", len(c.Listens), c.Listens)
	}
	s := httpd.NewServer(site, httpd.Env{Log: slog.New(slog.DiscardHandler)})
	if err := s.Start(map[string][]net.Listener{c.Listens[0].Key(): {ln}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		s.Retire(context.Background(), nil)
	})
	for _, x := range []struct{ addr, host, want string }{
		{"127.0.0.1", "x", "one"}, {"127.0.0.1", "named", "one, named"},
		{"127.0.0.2", "x", "any"}, {"127.0.0.2", "named", "any"}, {"127.0.0.3", "x", "three"},
	} {
		req, err := http.NewRequest("GET", "http://"+x.addr+":"+port+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host, req.Close = x.host, true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != x.want {
			t.Errorf("%s at %s answers %q, want %q", x.host, x.addr, body, x.want)
		}
	}
}
