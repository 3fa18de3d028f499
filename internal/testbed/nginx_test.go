package testbed_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// The tests in this file run the harness against the real nginx, whose ways
// are known: what they say of nginx is true of it, and if the harness saw
// anything else the harness would be wrong.

// startNginx is the command line for a distribution's nginx, whose built-in
// paths are those of the system.
const startNginx = `$P/sbin/nginx -p $P -c $P/conf/nginx.conf -e $P/logs/error.log`

// nginxSite returns a site with the system's nginx. Answers tell the pid of
// the worker in X-Worker.
func nginxSite(t *testing.T) *testbed.Site {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil {
		t.Fatalf("these tests need nginx (apt-get install nginx): %v", err)
	}
	s := testbed.NewSite(t, path)
	s.Setenv("NEW", path)
	s.Configure(testbed.Conf{User: testbed.PackageUser(), HTTP: "add_header X-Worker $pid always;"})
	return s
}

const (
	one = `
		nginx: master process
		  nginx: worker process
		  nginx: worker process`
	both = one + `
		  nginx: master process
		    nginx: worker process
		    nginx: worker process`
	newOnly = `
		nginx: master process
		  nginx: master process
		    nginx: worker process
		    nginx: worker process`
)

// Procedure 1, command for command, and its roll-back.
func TestNginxIsUpgradedAndRolledBack(t *testing.T) {
	s := nginxSite(t)
	s.Sh(startNginx)
	s.WaitShape(one)
	old := s.Pid()
	if a := s.Get("/"); a.Status != 200 || !strings.Contains(a.Body, testbed.Welcome) {
		t.Fatalf("welcome page: %d %q", a.Status, a.Body)
	}
	l := s.Load(load.Group{Name: "new", Clients: 4, MinPause: time.Millisecond, MaxPause: 10 * time.Millisecond})
	s.WaitAnswers(l, 50)

	s.Sh(`cp $P/sbin/nginx $P/sbin/nginx.old && cp -f $NEW $P/sbin/nginx`)
	s.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`)
	s.WaitShape(both)
	if pid, err := s.OldPID(); err != nil || pid != old {
		t.Errorf("old pid file: %d, %v; want %d", pid, err, old)
	}
	newPid := s.Pid()
	s.Sh(`kill -WINCH $(cat $P/logs/nginx.pid.oldbin)`)
	s.WaitShape(newOnly)
	if a := s.Get("/"); s.Process(a.PID).PPID != newPid {
		t.Errorf("answer from process %d, want a worker of %d", a.PID, newPid)
	}

	s.Sh(`cp -f $P/sbin/nginx.old $P/sbin/nginx && kill -HUP $(cat $P/logs/nginx.pid.oldbin)`)
	s.WaitShape(both)
	s.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`) // changes nothing: its parent is still the old master
	s.Sh(`kill -WINCH $(cat $P/logs/nginx.pid)`)
	s.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
	s.WaitShape(one)
	if pid := s.Pid(); pid != old {
		t.Errorf("pid file: %d, want %d again", pid, old)
	}
	s.WaitAnswers(l, 50)
	if got := l.Stop().Group("new"); got.Failed() != 0 || got.Check() != nil {
		t.Errorf("new connections failed:\n%v%v", l.Report(), l.Report().Trouble())
	}
	s.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
	s.WaitShape("")
}

// After QUIT to the old master the new one is adopted.
func TestNginxCommitsAnUpgrade(t *testing.T) {
	s := nginxSite(t)
	s.Sh(startNginx)
	s.WaitShape(one)
	s.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`)
	s.WaitShape(both)
	s.Sh(`kill -QUIT $(cat $P/logs/nginx.pid.oldbin)`)
	s.WaitShape(one)
	if p := s.Process(s.Pid()); p.PPID != s.Tree.Root() {
		t.Errorf("parent of the new master is %d, want the root %d", p.PPID, s.Tree.Root())
	}
	s.Sh(`kill -TERM $(cat $P/logs/nginx.pid)`)
	s.WaitShape("")
}

// The harness must see what nginx costs: its retiring workers close idle
// keep-alive connections, so clients that send just then lose requests. On new
// connections nothing is lost. A harness that counts no loss here is blind.
func TestHarnessCountsWhatNginxLoses(t *testing.T) {
	s := nginxSite(t)
	s.Sh(startNginx)
	s.WaitShape(one)
	pause := 4 * time.Millisecond
	l := s.Load(
		load.Group{Name: "new", Clients: 4, MinPause: time.Millisecond, MaxPause: 10 * time.Millisecond, By: "X-Worker"},
		load.Group{Name: "post", Clients: 50, MaxPause: pause, KeepAlive: true, Post: true, Blind: true, Path: "/post", By: "X-Worker"},
		load.Group{Name: "watchful", Clients: 10, MaxPause: 2 * pause, KeepAlive: true, By: "X-Worker"},
	)
	s.WaitAnswers(l, 100)
	before := l.Report().By()
	s.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`)
	s.WaitShape(both)
	s.Sh(`kill -QUIT $(cat $P/logs/nginx.pid.oldbin)`)
	s.WaitShape(one)
	s.WaitAnswers(l, 100)
	r := l.Stop()
	s.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
	s.WaitShape("")
	t.Logf("\n%v", r)
	if len(before) == 0 || len(r.By()) <= len(before) {
		t.Errorf("answered by %v, and before the upgrade by %v: no new worker seen", r.By(), before)
	}
	for _, g := range r.Groups {
		if err := g.Check(); err != nil {
			t.Errorf("%s: %v", g.Name, err)
		}
	}
	if got := r.Group("new"); got.Failed() != 0 {
		t.Errorf("new connections failed: %+v", got.Count)
	}
	if got := r.Group("post"); got.Lost == 0 || got.Violations() == 0 {
		t.Errorf("no loss seen on keep-alive POST: %+v", got.Count)
	}
	if got := r.Group("watchful"); got.Violations() == 0 || got.Reconnects == 0 {
		t.Errorf("no cut of an idle connection seen: %+v", got.Count)
	}
}
