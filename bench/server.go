package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// Cores: the server under test has one, everything else the other.
const (
	serverCore = "0"
	loadCore   = "1"
)

// A server is one running server under a prefix of its own.
type server struct {
	name   string
	prefix *testbed.Prefix
	port   *testbed.Port
	tree   *tree.Tree
	binary string
	core   string
	master int
}

// files are the documents that every server has.
var files = map[string]int{"1k.bin": 1 << 10, "100k.bin": 100 << 10}

// newServer lays out a prefix for binary under dir. backend is the address that
// /proxy/ goes to, "" for none.
func newServer(tr *tree.Tree, name, binary, dir, backend, core string) (*server, error) {
	dir = filepath.Join(dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	prefix, err := testbed.NewPrefix(dir)
	if err != nil {
		return nil, err
	}
	if err := prefix.Install(binary); err != nil {
		return nil, err
	}
	for file, size := range files {
		if err := os.WriteFile(prefix.Path("html", file), []byte(strings.Repeat("0123456789abcdef", size/16)), 0o644); err != nil {
			return nil, err
		}
	}
	port, err := testbed.TakePort()
	if err != nil {
		return nil, err
	}
	s := &server{name: name, prefix: prefix, port: port, tree: tr, binary: binary, core: core}
	c := testbed.Conf{
		Listen: []string{port.Addr() + " backlog=4096"}, Workers: 1,
		Main: "worker_rlimit_nofile 65536;",
		HTTP: "sendfile on; tcp_nopush on; keepalive_requests 100000000; client_max_body_size 0;",
	}
	if backend != "" {
		c.HTTP += " upstream backend { server " + backend + "; keepalive 64; }"
		c.Server = `location /proxy/ { proxy_pass http://backend/; proxy_http_version 1.1; proxy_set_header Connection ""; }`
	}
	text := strings.Replace(c.String(), "worker_connections 1024", "worker_connections 16384", 1)
	return s, os.WriteFile(prefix.ConfFile(), []byte(text), 0o644)
}

// start starts the server on its core, waits until it answers, and returns how
// long the start command took.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	p, err := s.tree.Start(tree.Command{Args: []string{
		"taskset", "-c", s.core, s.prefix.Binary(), "-p", s.prefix.Dir, "-c", s.prefix.ConfFile(),
	}})
	if err != nil {
		return 0, err
	}
	status, err := p.Wait(ctx)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if status.ExitStatus() != 0 {
		return 0, fmt.Errorf("start %s: exit status %d: %s", s.name, status.ExitStatus(), p.Stderr())
	}
	if s.master, err = s.waitPID(ctx); err != nil {
		return 0, err
	}
	return took, nil
}

// waitPID waits for the pid file: nginx's start command returns before its master
// has written it.
func (s *server) waitPID(ctx context.Context) (int, error) {
	for {
		pid, err := s.prefix.PID()
		if err == nil {
			nc, dialErr := net.DialTimeout("tcp", s.port.Addr(), time.Second)
			if dialErr == nil {
				return pid, nc.Close()
			}
			err = dialErr
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for %s: %w", s.name, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop ends the server and waits until it is gone.
func (s *server) stop(ctx context.Context) error {
	p, err := tree.Look(s.master)
	if err != nil {
		return err
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_, err = s.tree.Wait(ctx, s.master)
	return err
}

// url is the address of a document.
func (s *server) url(path string) string { return "http://" + s.port.Addr() + path }
