package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A peer is a kind of server that can be replaced while it runs.
type peer struct {
	name    string
	how     string // the words for how it is replaced
	binary  string
	version []string // arguments that make it tell its version
	conf    func(h *host) string
	start   func(ctx context.Context, h *host) error
	// change replaces the server by itself. It returns the moment at which the old
	// one was told to go, and the processes that have to go; none if the process
	// stays the same.
	change func(ctx context.Context, h *host) (told time.Time, old []tree.Process, err error)
	big    string // path of the document of bigBytes
}

// bigBytes is the length of the document that is downloaded.
const bigBytes = 8 << 20

// peers are those that are compared, Baton first.
func peers(baton string) []peer {
	backendBig := fmt.Sprintf("/big/%d", bigBytes)
	return []peer{
		{
			name: "Baton", how: "binary replaced: USR2, then QUIT", binary: baton, version: []string{"-v"},
			conf: nginxConf, start: startNginx, change: upgradeNginx, big: "/big.bin",
		},
		{
			name: "nginx", how: "binary replaced: USR2, then QUIT", binary: "nginx", version: []string{"-v"},
			conf: nginxConf, start: startNginx, change: upgradeNginx, big: "/big.bin",
		},
		{
			name: "HAProxy", how: "master-worker reload", binary: "haproxy", version: []string{"-v"},
			conf: haproxyConf, start: startHAProxy, change: reloadHAProxy, big: backendBig,
		},
		{
			name: "Caddy", how: "configuration reload, the binary stays", binary: "caddy", version: []string{"version"},
			conf: caddyConf, start: startCaddy, change: reloadCaddy, big: backendBig,
		},
	}
}

// label is the peer's name and the number of its version.
func (p peer) label(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, p.binary, p.version...).CombinedOutput()
	if err != nil {
		return p.name
	}
	for _, word := range strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune(" /\n", r) }) {
		number := strings.TrimPrefix(word, "v")
		if number != "" && number[0] >= '0' && number[0] <= '9' && strings.Contains(number, ".") {
			number, _, _ = strings.Cut(number, "-")
			return p.name + " " + number
		}
	}
	return p.name
}

// A host is one running peer, in a prefix and a process tree of its own.
type host struct {
	peer    peer
	prefix  *testbed.Prefix
	port    *testbed.Port
	tree    *tree.Tree
	backend string
	master  int
	daemon  *tree.Proc // of servers that stay in the foreground
}

// newHost starts a peer in front of the backend.
func newHost(ctx context.Context, p peer, backend string) (h *host, err error) {
	h = &host{peer: p, backend: backend}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start %s: %w", p.name, err), h.close())
		}
	}()
	dir, err := os.MkdirTemp("", "baton-hot-")
	if err != nil {
		return nil, err
	}
	h.prefix = &testbed.Prefix{Dir: dir}
	if _, err := testbed.NewPrefix(dir); err != nil {
		return nil, err
	}
	if err := os.WriteFile(h.prefix.Path("html", "big.bin"), bigDocument(), 0o644); err != nil {
		return nil, err
	}
	if h.port, err = testbed.TakePort(); err != nil {
		return nil, err
	}
	if h.tree, err = tree.Plant(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(h.prefix.ConfFile(), []byte(p.conf(h)), 0o644); err != nil {
		return nil, err
	}
	if err := p.start(ctx, h); err != nil {
		return nil, err
	}
	err = until(ctx, "answer", func() bool {
		a, err := testbed.Ask(ctx, nil, h.addr(), "/echo")
		return err == nil && a.Status == 200
	})
	if err != nil && h.daemon != nil {
		err = fmt.Errorf("%w: %s", err, h.daemon.Stderr())
	}
	return h, err
}

func (h *host) addr() string { return h.port.Addr() }

// close ends every process and removes every file.
func (h *host) close() error {
	var errs []error
	if h.tree != nil {
		_, err := h.tree.Uproot()
		errs = append(errs, err)
	}
	if h.port != nil {
		h.port.Release()
	}
	if h.prefix != nil {
		errs = append(errs, os.RemoveAll(h.prefix.Dir))
	}
	return errors.Join(errs...)
}

// run runs a command in the prefix to its end.
func (h *host) run(ctx context.Context, args ...string) error {
	p, err := h.spawn(args...)
	if err != nil {
		return err
	}
	status, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if status.ExitStatus() != 0 {
		return fmt.Errorf("run %s: exit status %d: %s", args[0], status.ExitStatus(), p.Stderr())
	}
	return nil
}

func (h *host) spawn(args ...string) (*tree.Proc, error) {
	// Caddy keeps things in its user's home.
	env := append(os.Environ(), "HOME="+h.prefix.Dir, "XDG_CONFIG_HOME="+h.prefix.Dir, "XDG_DATA_HOME="+h.prefix.Dir)
	return h.tree.Start(tree.Command{Args: args, Dir: h.prefix.Dir, Env: env})
}

// below returns the living processes whose parent is pid.
func (h *host) below(pid int) (children []tree.Process, err error) {
	found, err := h.tree.Processes()
	for _, p := range found {
		if p.PPID == pid && !p.Zombie() {
			children = append(children, p)
		}
	}
	return children, err
}

// until looks at a fact until it holds, for at most 20 seconds.
func until(ctx context.Context, what string, ok func() bool) error {
	return within(ctx, 20*time.Second, what, ok)
}

// within waits for d at most until ok returns true.
func within(ctx context.Context, d time.Duration, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// nginxConf is for nginx and Baton.
func nginxConf(h *host) string {
	const place = `
        location %s {
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_read_timeout 1h;
            proxy_set_header Upgrade %s;
            proxy_set_header Connection %s;
        }`
	c := testbed.Conf{
		Listen: []string{h.addr() + " backlog=4096"}, Main: "worker_rlimit_nofile 20000;",
		HTTP:   "sendfile on; upstream backend { server " + h.backend + "; keepalive 256; }",
		Server: fmt.Sprintf(place, "/echo", `""`, `""`) + fmt.Sprintf(place, "/ws", "$http_upgrade", "upgrade"),
	}
	return strings.NewReplacer(
		"worker_connections 1024", "worker_connections 16384",
		"worker_processes 2", "worker_processes auto").Replace(c.String())
}

func startNginx(ctx context.Context, h *host) (err error) {
	path, err := exec.LookPath(h.peer.binary)
	if err != nil {
		return err
	}
	if err := h.prefix.Install(path); err != nil {
		return err
	}
	if err := h.run(ctx, h.prefix.Binary(), "-p", h.prefix.Dir, "-c", h.prefix.ConfFile(), "-e", h.prefix.ErrorLog()); err != nil {
		return err
	}
	return until(ctx, "pid file", func() bool { h.master, err = h.prefix.PID(); return err == nil })
}

// upgradeNginx is what an operator does, as quickly as a program can.
func upgradeNginx(ctx context.Context, h *host) (told time.Time, old []tree.Process, err error) {
	before, err := tree.Look(h.master)
	if err != nil {
		return told, nil, err
	}
	if old, err = h.below(h.master); err != nil {
		return told, nil, err
	}
	workers := len(old)
	old = append(old, before)
	if err := before.Signal(syscall.SIGUSR2); err != nil {
		return told, nil, err
	}
	var pid int
	err = until(ctx, "new master and its workers", func() bool {
		if pid, err = h.prefix.PID(); err != nil || pid == h.master {
			return false
		}
		now, err := h.below(pid)
		return err == nil && len(now) == workers
	})
	if err != nil {
		return told, nil, err
	}
	told = time.Now()
	h.master = pid
	return told, old, before.Signal(syscall.SIGQUIT)
}

func haproxyConf(h *host) string {
	return fmt.Sprintf(`global
    maxconn 8000
    stats socket %s expose-fd listeners level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
frontend in
    bind %s
    default_backend out
backend out
    server one %s
`, h.prefix.Path("logs", "stats.sock"), h.addr(), h.backend)
}

func startHAProxy(_ context.Context, h *host) error {
	p, err := h.spawn("haproxy", "-W", "-f", h.prefix.ConfFile(), "-p", h.prefix.PIDFile())
	if err == nil {
		h.master, h.daemon = p.PID, p
	}
	return err
}

func reloadHAProxy(ctx context.Context, h *host) (told time.Time, old []tree.Process, err error) {
	if old, err = h.below(h.master); err != nil {
		return told, nil, err
	}
	master, err := tree.Look(h.master)
	if err != nil {
		return told, nil, err
	}
	told = time.Now()
	if err := master.Signal(syscall.SIGUSR2); err != nil {
		return told, nil, err
	}
	return told, old, until(ctx, "new worker", func() bool {
		now, err := h.below(h.master)
		for _, p := range now {
			for _, o := range old {
				if p.PID == o.PID {
					p.PID = 0
				}
			}
			if p.PID != 0 {
				return err == nil
			}
		}
		return false
	})
}

func caddyConf(h *host) string {
	return fmt.Sprintf(`{
	admin unix/%s
	auto_https off
}
http://%s {
	bind 127.0.0.1
	reverse_proxy %s
}
`, h.admin(), h.addr(), h.backend)
}

func (h *host) admin() string { return filepath.Join(h.prefix.Dir, "logs", "admin.sock") }

func startCaddy(_ context.Context, h *host) error {
	p, err := h.spawn("caddy", "run", "--config", h.prefix.ConfFile(), "--adapter", "caddyfile")
	if err == nil {
		h.master, h.daemon = p.PID, p
	}
	return err
}

func reloadCaddy(ctx context.Context, h *host) (told time.Time, old []tree.Process, err error) {
	told = time.Now()
	return told, nil, h.run(ctx, "caddy", "reload", "--force", "--config", h.prefix.ConfFile(), "--adapter", "caddyfile",
		"--address", "unix/"+h.admin())
}
