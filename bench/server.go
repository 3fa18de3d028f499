package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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
	secure *testbed.Port // serves TLS; nil: nothing does
	tree   *tree.Tree
	binary string
	core   string
	master int
	asked  int // times that it was asked for its counters
}

// files are the documents that every server has, by their size.
var files = map[string]int{"1k.bin": 1 << 10, "100k.bin": 100 << 10, "100k.txt": 100 << 10}

// origins are the addresses of what servers pass requests on to, "" for none.
type origins struct{ http, fastcgi string }

// newPrefix makes the folder dir and installs binary there.
func newPrefix(dir, binary string) (*testbed.Prefix, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	prefix, err := testbed.NewPrefix(dir)
	if err != nil {
		return nil, err
	}
	return prefix, prefix.Install(binary)
}

// newServer lays out a prefix for binary under dir. A server with an origin for FastCGI
// has all that is measured, TLS too; else it has what a small site has.
func newServer(tr *tree.Tree, name, binary, dir string, from origins, core string) (*server, error) {
	dir = filepath.Join(dir, name)
	prefix, err := newPrefix(dir, binary)
	if err != nil {
		return nil, err
	}
	for file, size := range files {
		if err := os.WriteFile(prefix.Path("html", file), document(file, size), 0o644); err != nil {
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
		HTTP: "sendfile on; tcp_nopush on; client_max_body_size 0;",
	}
	if from.http != "" {
		c.HTTP += " upstream backend { server " + from.http + "; keepalive 64; }"
		c.Server = `location /proxy/ { proxy_pass http://backend/; proxy_http_version 1.1; proxy_set_header Connection ""; }`
	}
	if from.http == "" && from.fastcgi == "" {
		c.Server = "location = " + statusPath + " { stub_status; }"
	}
	if from.fastcgi != "" {
		if s.secure, err = testbed.TakePort(); err != nil {
			return nil, err
		}
		certificate, err := writeCertificate(dir)
		if err != nil {
			return nil, err
		}
		c.Listen = append(c.Listen, s.secure.Addr()+" ssl http2 backlog=4096")
		c.HTTP += " upstream responder { server " + from.fastcgi + "; keepalive 64; }"
		c.Server += certificate + ` ssl_protocols TLSv1.2 TLSv1.3;
            location = /100k.txt { gzip on; gzip_comp_level 1; gzip_types text/plain; }
            location /fcgi/ {
                fastcgi_pass responder; fastcgi_keep_conn on;
                fastcgi_param REQUEST_METHOD $request_method; fastcgi_param SERVER_PROTOCOL $server_protocol;
                fastcgi_param REQUEST_URI $request_uri; fastcgi_param QUERY_STRING $query_string;
            }`
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

// url is the address of a case's document.
func (s *server) url(c benchCase) string {
	if c.tls {
		return "https://" + s.secure.Addr() + c.path
	}
	return "http://" + s.port.Addr() + c.path
}

// spent is the processor time of the workers so far.
func (s *server) spent(tr *tree.Tree) (sum time.Duration, err error) {
	found, err := tr.Processes()
	if err != nil {
		return 0, err
	}
	for _, p := range found {
		if p.PPID == s.master {
			d, err := processorTime(p.PID)
			if err != nil {
				return 0, err
			}
			sum += d
		}
	}
	return sum, nil
}

// statusPath is where a server without origins tells how many connections it had.
const statusPath = "/status"

var counters = regexp.MustCompile(`(?m)^ (\d+) \d+ \d+ $`)

// accepted is how many connections a server without origins has accepted, those of former
// questions included but not that of this one; 0 when want is not set.
func (s *server) accepted(ctx context.Context, want bool) (int, error) {
	if !want {
		return 0, nil
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.port.Addr()+statusPath, nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	m := counters.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("read the counters of %s: %q", s.name, text)
	}
	n, err := strconv.Atoi(string(m[1]))
	s.asked++
	return n - s.asked, err
}

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 everywhere.
const tick = 10 * time.Millisecond

// processorTime is how long a process has run, in its own code and in the kernel.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// What follows the name, which may contain anything, begins with the third field.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read the processor time of %d: %q", pid, text)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, err
}

// document is what a file contains: for .txt something like a log, which compresses
// as texts do.
func document(name string, size int) []byte {
	if filepath.Ext(name) != ".txt" {
		return []byte(strings.Repeat("0123456789abcdef", size/16))
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same in each run
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintf(&b, "10.%d.%d.%d GET /docs/%d.html %d %d\n", random.IntN(256), random.IntN(256), random.IntN(256),
			random.IntN(1000), []int{200, 304, 404}[random.IntN(3)], random.IntN(1<<16))
	}
	return b.Bytes()[:size]
}
