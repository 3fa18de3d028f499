package acceptance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

const (
	oldVersion = "1.0.0"
	newVersion = "2.0.0"
)

// A pair is an old server binary and the new one that replaces it.
type pair struct {
	name     string
	old, new func(t *testing.T) build
	// options for every start; a distribution's nginx looks for its files in
	// the system's places without them.
	options string
	// gentle servers obey invariant 3: they never cut an idle connection.
	gentle bool
	// workers of the new server leave when their master is killed.
	orphansLeave bool
}

// A build is a server binary and the name its answers give it.
type build struct {
	path   string
	server string // header Server
}

const nginxOptions = "-p $P -c $P/conf/nginx.conf -e $P/logs/error.log"

var pairs = []pair{
	{name: "nginx to nginx", old: nginx, new: nginx, options: nginxOptions},
	{name: "baton to baton", old: plain(oldVersion), new: plain(newVersion), gentle: true, orphansLeave: true},
	{name: "nginx to baton", old: nginx, new: plain(newVersion), options: nginxOptions, orphansLeave: true},
	{name: "baton to nginx", old: plain(oldVersion), new: nginx, options: nginxOptions},
}

// baton returns a Baton with the race detector, when this program has it: for what moves
// connections.
func baton(version string) func(t *testing.T) build {
	return func(t *testing.T) build {
		return build{path: testbed.BuildFor(t, version), server: "baton/" + version}
	}
}

// plain returns a Baton without the race detector, which starts in a tenth of the time and is
// as quick and as small as those that users have. See [testbed.BuildPlain].
func plain(version string) func(t *testing.T) build {
	return func(t *testing.T) build {
		return build{path: testbed.PlainFor(t, version), server: "baton/" + version}
	}
}

// nginx returns the system's nginx.
func nginx(t *testing.T) build {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.Command(path, "-v").CombinedOutput()
		_, server, ok := strings.Cut(strings.TrimSpace(string(out)), "nginx version: ")
		if err != nil || !ok {
			t.Fatalf("ask %s for its version: %v: %s", path, err, out)
		}
		server, _, _ = strings.Cut(server, " ") // a distribution adds its name
		return build{path: path, server: server}
	}
	t.Fatal("these tests need nginx (apt-get install nginx)")
	return build{}
}

// A play is one pair on one site, under load.
type play struct {
	*testbed.Site
	t        *testing.T
	pair     pair
	old, new build
	load     *load.Load
}

const (
	newConnections = "new connections"
	keepAlive      = "keep-alive GET"
	keepAlivePost  = "keep-alive POST"
)

// forEachPair runs test for every pair. The old binary is installed; nothing
// runs yet. In the shell P is the prefix, NEW the new binary, and OPTIONS go
// to every start.
func forEachPair(t *testing.T, test func(p *play)) {
	t.Helper()
	forPairs(t, anyPair, test)
}

func anyPair(pair) bool { return true }

// forPairs is forEachPair for some of them. They run side by side.
func forPairs(t *testing.T, where func(pair) bool, test func(p *play)) {
	t.Helper()
	for _, pr := range pairs {
		if !where(pr) {
			continue
		}
		t.Run(pr.name, func(t *testing.T) {
			t.Parallel()
			test(newPlay(t, pr))
		})
	}
}

func newPlay(t *testing.T, pr pair) *play {
	t.Helper()
	p := &play{t: t, pair: pr, old: pr.old(t), new: pr.new(t)}
	p.Site = testbed.NewSite(t, p.old.path)
	p.Setenv("NEW", p.new.path)
	p.Setenv("OPTIONS", strings.ReplaceAll(pr.options, "$P", p.Dir))
	p.configure()
	return p
}

// sameKind reports whether both binaries are versions of the same server.
func (p *play) sameKind() bool {
	oldName, _, _ := strings.Cut(p.old.server, "/")
	newName, _, _ := strings.Cut(p.new.server, "/")
	return oldName == newName
}

// configure writes the configuration of the site; no process is told.
func (p *play) configure() {
	p.t.Helper()
	p.Configure(testbed.Conf{User: testbed.PackageUser()})
}

// startLoad puts clients on the site.
func (p *play) startLoad() {
	p.t.Helper()
	const ms = time.Millisecond
	p.load = p.Load(
		load.Group{Name: newConnections, Clients: 4, MinPause: ms, MaxPause: 10 * ms},
		load.Group{Name: keepAlive, Clients: 8, MaxPause: 20 * ms, KeepAlive: true},
		load.Group{Name: keepAlivePost, Clients: 8, MaxPause: 8 * ms, KeepAlive: true, Post: true, Blind: true, Path: "/post"},
	)
	p.letLoadRun()
}

// letLoadRun returns when every group of clients has got some more answers.
func (p *play) letLoadRun() {
	p.t.Helper()
	p.WaitAnswers(p.load, 50)
}

// stopLoad ends the load and checks its account: nothing lost on new
// connections, and with gentle servers nothing at all.
func (p *play) stopLoad() {
	p.t.Helper()
	p.letLoadRun()
	r := p.load.Stop()
	for _, g := range r.Groups {
		if err := g.Check(); err != nil {
			p.t.Errorf("%s: %v", g.Name, err)
		}
		if g.Failed() > 0 && (p.pair.gentle || g.Name == newConnections) {
			p.t.Errorf("%s: %d failures\n%v%v", g.Name, g.Failed(), r, r.Trouble())
		}
	}
}

// wantAnswers asks on new connections until every one of the masters has
// answered through a worker of its own, and fails if anybody else did.
func (p *play) wantAnswers(masters map[int]build) {
	p.t.Helper()
	heard := map[int]bool{}
	p.WaitFor(fmt.Sprintf("answers of all of %v", masters), func() bool {
		a := p.Get("/")
		if a.Status != 200 || !strings.Contains(a.Body, testbed.Welcome) {
			p.t.Fatalf("welcome page: %d %q", a.Status, a.Body)
		}
		master := p.parent(a.PID)
		by, known := masters[master]
		if !known || a.Server != by.server {
			p.t.Fatalf("answer of %s from process %d, a child of %d; want only %v\n%s", a.Server, a.PID, master, masters, p.PS())
		}
		heard[master] = true
		return len(heard) == len(masters)
	})
	for range 10 { // and nobody else, again and again
		if a := p.Get("/"); masters[p.parent(a.PID)].server != a.Server {
			p.t.Fatalf("answer of %s from process %d; want only %v\n%s", a.Server, a.PID, masters, p.PS())
		}
	}
}

// parent returns the parent of a process of the site, 0 when it is none.
func (p *play) parent(pid int) int {
	p.t.Helper()
	for _, found := range p.Processes() {
		if found.PID == pid {
			return found.PPID
		}
	}
	return 0
}

// wantPidFiles checks the pid files; old 0 means there is no nginx.pid.oldbin.
func (p *play) wantPidFiles(pid, old int) {
	p.t.Helper()
	p.WaitFor(fmt.Sprintf("pid files with %d and %d", pid, old), func() bool {
		gotPid, err := p.PID()
		gotOld, oldErr := p.OldPID()
		if old == 0 {
			return err == nil && gotPid == pid && errors.Is(oldErr, fs.ErrNotExist)
		}
		return err == nil && gotPid == pid && oldErr == nil && gotOld == old
	})
}

// What the processes look like.
const (
	oneMaster = `
		nginx: master process
		  nginx: worker process
		  nginx: worker process`
	twoMasters = oneMaster + `
		  nginx: master process
		    nginx: worker process
		    nginx: worker process`
	newWorkersOnly = `
		nginx: master process
		  nginx: master process
		    nginx: worker process
		    nginx: worker process`
	oldWorkersOnly = oneMaster + `
		  nginx: master process`
)

// newMaster returns the process id of the master that is a child of old.
func (p *play) newMaster(old int) int {
	p.t.Helper()
	for _, m := range testbed.Masters(p.Processes()) {
		if m.PPID == old {
			return m.PID
		}
	}
	p.t.Fatalf("no master is a child of %d:\n%s", old, p.PS())
	return 0
}
