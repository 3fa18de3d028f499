package acceptance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/backend"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A mover is a play in which one generation after the other takes over.
type mover struct {
	*play
	master  int // the one that serves
	backend string
	took    []time.Duration // how long each retired generation stayed
	soon    time.Duration   // how long it may
}

// directions are the ways in which connections move. Each hop leaves one master
// with its workers, as before; a roll-back moves them there and back.
var directions = []struct {
	name string
	hop  func(m *mover)
}{
	{"upgrade", (*mover).upgrade},
	{"roll-back", (*mover).rollBack},
	{"reload", (*mover).reload},
}

// inEachDirection runs test for each direction, on a Baton that serves the
// configuration of moverConf. What test leaves is ended.
func inEachDirection(t *testing.T, test func(m *mover, hop func())) {
	t.Helper()
	inEachDirectionOf(t, newMover, test)
}

// inEachDirectionOf is inEachDirection with servers that start makes.
func inEachDirectionOf(t *testing.T, start starter, test func(m *mover, hop func())) {
	t.Helper()
	for _, d := range directions {
		t.Run(d.name, func(t *testing.T) {
			m := start(t, moverConf)
			test(m, func() { m.t.Helper(); d.hop(m) })
			m.end()
		})
	}
}

// A starter starts the old Baton with a configuration made for a backend's address
// and one to listen on.
type starter func(t *testing.T, conf func(m *mover) testbed.Conf) *mover

// newMover is a starter.
func newMover(t *testing.T, conf func(m *mover) testbed.Conf) *mover {
	t.Helper()
	return startMover(t, baton(oldVersion), baton(newVersion), soon, conf)
}

// newPlainMover is a starter of servers without the race detector, see plain.
func newPlainMover(t *testing.T, conf func(m *mover) testbed.Conf) *mover {
	t.Helper()
	return startMover(t, plain(oldVersion), plain(newVersion), soon, conf)
}

const (
	// soon is how long a generation may stay whose connections all move: one of them that
	// stays would keep it for an hour.
	soon = 20 * time.Second
	// patience is what a client of a busy machine has.
	patience = time.Minute
)

func startMover(t *testing.T, old, next func(t *testing.T) build, soon time.Duration, conf func(m *mover) testbed.Conf) *mover {
	t.Helper()
	pr := pair{name: "baton to baton", old: old, new: next, gentle: true}
	m := &mover{play: newPlay(t, pr), backend: serveBackend(t), soon: soon}
	text := conf(m).String()
	text = strings.Replace(text, "worker_connections 1024", "worker_connections 16000", 1)
	writeFile(t, m.ConfFile(), text)
	m.Sh(`$P/sbin/nginx`)
	m.WaitShape(oneMaster)
	m.master = m.Pid()
	m.Sh(`cp -f $NEW $P/sbin/nginx`)
	return m
}

// end stops the server; it must leave nothing.
func (m *mover) end() {
	m.t.Helper()
	m.Sh(fmt.Sprintf(`kill -QUIT %d`, m.master))
	m.WaitShape("")
}

// moverConf has a place for every kind of connection.
func moverConf(m *mover) testbed.Conf {
	const place = `
        location /%s {
            proxy_pass http://%s;
            proxy_http_version 1.1;
            proxy_read_timeout 1h;
            proxy_buffering off;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection %q;
        }`
	return testbed.Conf{
		Listen: []string{m.Addr, "unix:" + m.socket()}, Backend: m.backend,
		Main: "worker_rlimit_nofile 20000;",
		HTTP: "client_header_timeout 1h; sendfile on;",
		Server: "keepalive_timeout 1h;" + fmt.Sprintf(place, "ws", m.backend, "upgrade") + fmt.Sprintf(place, "sse/", m.backend, "") + `
        location /limited/ {
            limit_rate 500k;
        }
        location /copied/ {
            sendfile off;
        }
        location /kept/ {
            proxy_pass http://` + m.backend + `/;
            limit_rate 500k;
        }`,
	}
}

// socket is the path of the unix socket that the server listens on.
func (m *mover) socket() string { return m.Path("logs", "site.sock") }

// serveBackend serves package backend for the length of the test.
func serveBackend(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- backend.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// document puts n random bytes under name in the server's documents.
func (m *mover) document(name string, n int) (sum [32]byte) {
	m.t.Helper()
	content := make([]byte, n)
	rand.Read(content)
	path := m.Path("html", name)
	if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o755); err != nil {
		m.t.Fatal(err)
	}
	writeFile(m.t, path, string(content))
	return sha256.Sum256(content)
}

// start begins an upgrade and returns the new master, whose workers are ready.
func (m *mover) start() (newPid int) {
	m.t.Helper()
	m.Sh(fmt.Sprintf(`kill -USR2 %d`, m.master))
	m.WaitShape(twoMasters)
	newPid = m.newMaster(m.master)
	m.wantPidFiles(newPid, m.master)
	return newPid
}

// leave signals a master and notes how long its workers stay.
func (m *mover) leave(signal string, pid int, shape string) {
	m.t.Helper()
	began := time.Now()
	m.Sh(fmt.Sprintf(`kill -%s %d`, signal, pid))
	m.WaitShape(shape)
	m.took = append(m.took, time.Since(began))
}

func (m *mover) upgrade() {
	m.t.Helper()
	newPid := m.start()
	m.leave("QUIT", m.master, oneMaster)
	m.master = newPid
	m.wantPidFiles(newPid, 0)
}

func (m *mover) rollBack() {
	m.t.Helper()
	newPid := m.start()
	m.leave("WINCH", m.master, newWorkersOnly)
	m.Sh(fmt.Sprintf(`kill -HUP %d`, m.master))
	m.WaitShape(twoMasters)
	m.leave("QUIT", newPid, oneMaster)
	m.wantPidFiles(m.master, 0)
}

// reload loads the configuration again. The time of the new workers' start is in
// what is noted.
func (m *mover) reload() {
	m.t.Helper()
	before := m.Workers(m.master)
	began := time.Now()
	m.Sh(fmt.Sprintf(`kill -HUP %d`, m.master))
	m.WaitFor("new workers only", func() bool {
		now := m.Workers(m.master)
		for _, w := range now {
			if slices.ContainsFunc(before, func(b tree.Process) bool { return b.PID == w.PID }) {
				return false
			}
		}
		return len(now) == len(before)
	})
	m.took = append(m.took, time.Since(began))
}

// wantSoonGone checks that no retired generation stayed long.
func (m *mover) wantSoonGone() {
	m.t.Helper()
	for i, took := range m.took {
		m.t.Logf("retired generation %d was gone after %v", i+1, took.Round(time.Millisecond))
		if took > m.soon {
			m.t.Errorf("retired generation %d was gone only after %v, want %v", i+1, took, m.soon)
		}
	}
}

// wantNothingNoticed checks the account of groups of clients.
func wantNothingNoticed(t *testing.T, r *load.Report) {
	t.Helper()
	t.Logf("\n%v", r)
	for _, g := range r.Groups {
		if err := g.Check(); err != nil {
			t.Errorf("%s: %v", g.Name, err)
		}
		if g.Noticed() > 0 {
			t.Errorf("%s: clients noticed %d times that something happened", g.Name, g.Noticed())
		}
	}
	if trouble := r.Trouble(); trouble != "" {
		t.Error(trouble)
	}
}

// Clients that send without a break notice nothing: no request is lost, no
// connection is opened again, none is announced to end.
func TestKeepAliveClientsNoticeNothing(t *testing.T) {
	const ms = time.Millisecond
	inEachDirection(t, func(m *mover, hop func()) {
		l := m.Load(
			load.Group{Name: "POST", Clients: 100, MaxPause: 60 * ms, KeepAlive: true, Post: true, Blind: true, Path: "/post", Timeout: patience},
			load.Group{Name: "POST, proxied", Clients: 100, MaxPause: 60 * ms, KeepAlive: true, Post: true, Echo: true, Blind: true, Path: "/backend/echo", Timeout: patience},
		)
		for range 4 {
			m.WaitAnswers(l, 400)
			hop()
		}
		m.WaitAnswers(l, 400)
		wantNothingNoticed(m.t, l.Stop())
	})
}

// So do clients whose requests come in pieces, and several at once.
func TestRequestsInPiecesMoveWhole(t *testing.T) {
	const ms = time.Millisecond
	inEachDirection(t, func(m *mover, hop func()) {
		split := load.Group{Name: "split", Clients: 60, MaxPause: 40 * ms, KeepAlive: true, Post: true, Echo: true, Blind: true,
			Path: "/backend/echo", Timeout: patience, Split: 10 * ms}
		piped := split
		piped.Name, piped.Split, piped.Pipeline = "pipelined", 0, 4
		both := split
		both.Name, both.Pipeline, both.Clients = "both", 4, 40
		unix := both
		unix.Name, unix.Addr = "both, unix socket", m.socket()
		l := m.Load(split, piped, both, unix)
		for range 4 {
			m.WaitAnswers(l, 300)
			hop()
		}
		m.WaitAnswers(l, 300)
		wantNothingNoticed(m.t, l.Stop())
	})
}
