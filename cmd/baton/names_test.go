package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/worker"
)

// A zone is what a name server knows now.
type zone map[string]string

func (z zone) resolve(host string) ([]netip.Addr, error) {
	ip, ok := z[host]
	if !ok {
		return nil, fmt.Errorf("host not found")
	}
	return []netip.Addr{netip.MustParseAddr(ip)}, nil
}

// twoBackends serve on the same port of 127.0.0.2 and 127.0.0.3, and answer with
// their address. It returns the port.
func twoBackends(t *testing.T) (port string) {
	t.Helper()
	for _, ip := range []string{"127.0.0.2", "127.0.0.3"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, port)) // port is "" for the first
		if err != nil {
			t.Fatal(err)
		}
		if _, port, err = net.SplitHostPort(ln.Addr().String()); err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, ip) })}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = s.Serve(ln)
		}()
		t.Cleanup(func() { s.Close(); <-served })
	}
	return port
}

// startService does what a worker does with a snapshot, and asks it for targets.
func startService(t *testing.T, snapshot []byte, targets ...string) (answers []string) {
	t.Helper()
	cfg, err := decodeConfig(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(cfg, worker.Env{Log: slog.New(slog.DiscardHandler), Logs: map[string]*os.File{}, Stats: make([]byte, 4096)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(map[string][]net.Listener{"127.0.0.1:1": {ln}}); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	for _, target := range targets {
		r, err := client.Get("http://" + ln.Addr().String() + target)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, string(body))
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	s.Retire(done, nil)
	s.Close()
	return answers
}

func namesPrefix(t *testing.T, port string) conf.Options {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := `events { }
http {
	access_log off;
	upstream block { server app.test:` + port + `; }
	server {
		listen 127.0.0.1:1;
		location / { proxy_pass http://APP.test:` + port + `; }
		location /block { proxy_pass http://block; }
	}
}
`
	if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return conf.Options{Prefix: dir}
}

// TestWorkersGetTheMastersAddresses defends invariant 5 for names of hosts: a
// worker that starts after a name got another address, or none, serves what its
// master loaded, and only a new load takes the new address.
func TestWorkersGetTheMastersAddresses(t *testing.T) {
	o := namesPrefix(t, twoBackends(t))
	dns := zone{"app.test": "127.0.0.2"}
	o.Resolve = dns.resolve
	load := func() []byte {
		t.Helper()
		c, err := masterConfig(func() (*conf.Config, error) { return loadConfig(o) })
		if err != nil {
			t.Fatal(err)
		}
		return c.Snapshot
	}
	check := func(when string, snapshot []byte, want string) {
		t.Helper()
		if got := strings.Join(startService(t, snapshot, "/", "/block"), " "); got != want+" "+want {
			t.Errorf("%s: answered by %s, want %s", when, got, want)
		}
	}
	first := load()
	check("at once", first, "127.0.0.2")
	dns["app.test"] = "127.0.0.3"
	check("after the name changed", first, "127.0.0.2")
	second := load()
	check("after another load", second, "127.0.0.3")
	delete(dns, "app.test")
	check("after the name is gone", first, "127.0.0.2")
	if _, err := loadConfig(o); err == nil || !strings.Contains(err.Error(), `host not found in upstream "app.test:`) {
		t.Errorf("load of a name that is gone: %v", err)
	}
}

// A worker asks nobody for a name that its master did not look up, and says so.
func TestWorkerNeverLooksNamesUp(t *testing.T) {
	o := namesPrefix(t, "80")
	o.Resolve = func(host string) ([]netip.Addr, error) {
		t.Errorf("looked up: %s", host)
		return nil, io.EOF
	}
	table, err := modules.Table()
	if err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(table, o) // not compiled: no name is looked up
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := c.Snapshot.Encode()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := decodeConfig(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	_, err = newService(cfg, worker.Env{})
	want := `host not among those that were looked up when the configuration was loaded in upstream "app.test:80" in ` + o.Prefix + "/conf/nginx.conf:4"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
