package master_test

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A binary is a server and the name that its answers give it.
type binary struct{ path, server string }

func baton(t *testing.T, version string) binary {
	return binary{testbed.BuildFor(t, version), "baton/" + version}
}

// nginx returns the system's nginx.
func nginx(t *testing.T) binary {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // not in everybody's PATH
	}
	out, err := exec.Command(path, "-v").CombinedOutput()
	if err != nil {
		t.Fatalf("these tests need nginx (apt-get install nginx): %v: %s", err, out)
	}
	_, server, _ := strings.Cut(strings.TrimSpace(string(out)), "nginx version: ")
	server, _, _ = strings.Cut(server, " ")
	return binary{path, server}
}

// TestWithNginx: Baton takes the place of nginx and nginx that of Baton, with
// one configuration, by nginx's procedure: with a roll-back in the middle, on a
// TCP and a unix socket, under load on new connections. Nothing is lost.
func TestWithNginx(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		old, new func(t *testing.T) binary
	}{
		{"nginx to baton", nginx, func(t *testing.T) binary { return baton(t, newVersion) }},
		{"baton to nginx", func(t *testing.T) binary { return baton(t, oldVersion) }, nginx},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			x := startExchange(t, tt.old(t), tt.new(t))
			l := x.Load(
				load.Group{Name: "tcp", Clients: 3, MinPause: 1e6, MaxPause: 5e6},
				load.Group{Name: "unix", Addr: x.Path("s.sock"), Clients: 3, MinPause: 1e6, MaxPause: 5e6},
			)
			x.WaitAnswers(l, 10)

			young := x.upgrade()
			x.Signal(x.master, syscall.SIGWINCH)
			x.WaitShape(oldMasterAlone)
			x.answersOnBoth(x.new)

			// Back.
			x.Signal(x.master, syscall.SIGHUP)
			x.WaitShape(twoMasters)
			x.Signal(young, syscall.SIGUSR2) // changes nothing
			x.Signal(young, syscall.SIGWINCH)
			x.WaitFor("the new workers to go", func() bool { return len(x.Workers(young)) == 0 })
			x.answersOnBoth(x.old)
			x.Signal(young, syscall.SIGQUIT)
			x.WaitShape(oneMaster)
			if pid := x.Pid(); pid != x.master {
				t.Errorf("after the roll-back the pid file names %d, want %d", pid, x.master)
			}
			x.answersOnBoth(x.old)

			// And for good.
			young = x.upgrade()
			x.Signal(x.master, syscall.SIGQUIT)
			x.WaitShape(oneMaster)
			x.gone(x.OldbinFile())
			x.answersOnBoth(x.new)
			if pid := x.Pid(); pid != young {
				t.Errorf("the pid file names %d, want %d", pid, young)
			}

			x.WaitAnswers(l, 10)
			r := l.Stop()
			for _, g := range r.Groups {
				if g.Failed() > 0 {
					t.Errorf("%s: %d failures\n%s\n%s", g.Name, g.Failed(), r, r.Trouble())
				}
			}
			x.quit()
			x.gone(x.Path("s.sock"))
		})
	}
}

// TestNginxRefuses: nginx as the new binary does not come to serve.
func TestNginxRefuses(t *testing.T) {
	t.Parallel()
	x := startExchange(t, baton(t, oldVersion), nginx(t))
	x.Sh(`cp $P/conf/nginx.conf $P/conf/good && echo nonsense >> $P/conf/nginx.conf && cp -f $NEW $P/sbin/nginx`)
	x.Signal(x.master, syscall.SIGUSR2)
	x.waitLog("exited with code 1")
	x.asBefore()
	x.Sh(`cp $P/conf/good $P/conf/nginx.conf`)
	young := x.upgrade()
	// kill -9 of nginx's new master leaves its workers to whoever adopts them;
	// the old generation is there all the same.
	x.Signal(young, syscall.SIGKILL)
	x.waitLog("exited on signal 9")
	if pid := x.Pid(); pid != x.master {
		t.Errorf("the pid file names %d, want %d", pid, x.master)
	}
	for _, p := range x.Processes() {
		if p.PPID == x.Tree.Root() && testbed.IsWorker(p) {
			x.Signal(p.PID, syscall.SIGQUIT)
		}
	}
	x.asBefore()
	x.quit()
}

// An exchange is a server that will be replaced by one of another make.
type exchange struct {
	*server
	old, new binary
}

func startExchange(t *testing.T, old, new binary) *exchange {
	t.Helper()
	x := &exchange{
		server: &server{Site: testbed.NewSite(t, old.path), t: t},
		old:    old, new: new,
	}
	x.Configure(testbed.Conf{User: testbed.PackageUser(), Listen: []string{x.Addr, "unix:" + x.Path("s.sock")}})
	x.Setenv("NEW", new.path)
	x.Sh(`$P/sbin/nginx -p $P -c $P/conf/nginx.conf -e $P/logs/error.log`)
	x.WaitShape(oneMaster)
	x.master = x.Pid()
	return x
}

// answersOnBoth checks who answers now.
func (x *exchange) answersOnBoth(b binary) {
	x.t.Helper()
	for _, addr := range []string{x.Addr, x.Path("s.sock")} {
		a, err := testbed.Ask(x.t.Context(), nil, addr, "/")
		if err != nil || a.Status != 200 || a.Server != b.server {
			x.t.Errorf("%s answers %d as %q, %v; want 200 of %s", addr, a.Status, a.Server, err, b.server)
		}
	}
}

// A new master whose old one was killed before it began knows that it is alone: it can be
// replaced, and nothing of the old one stays.
func TestOldMasterDiesFirst(t *testing.T) {
	t.Parallel()
	for _, old := range []func(t *testing.T) binary{nginx, func(t *testing.T) binary { return baton(t, oldVersion) }} {
		b := old(t)
		name, _, _ := strings.Cut(b.server, "/")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := startExchange(t, b, baton(t, newVersion))
			x.Sh(`cat >$P/sbin/late <<END
#!/bin/bash
while kill -0 ` + strconv.Itoa(x.master) + ` 2>/dev/null; do sleep 0.01; done
exec -a "\$0" $NEW "\$@"
END
chmod +x $P/sbin/late && mv $P/sbin/late $P/sbin/nginx`)
			x.Signal(x.master, syscall.SIGUSR2)
			x.WaitFor("the new process", func() bool {
				return slices.ContainsFunc(x.Processes(), func(p tree.Process) bool { return strings.Contains(p.Title, "bash") })
			})
			orphans := x.Workers(x.master)
			x.Signal(x.master, syscall.SIGKILL)
			if name == "nginx" { // its workers stay when it is gone
				for _, w := range orphans {
					x.Signal(w.PID, syscall.SIGKILL)
				}
			}
			x.WaitShape(oneMaster)
			young := x.Pid()
			x.gone(x.OldbinFile())

			x.Sh(`cp -f $NEW $P/sbin/nginx`)
			x.Signal(young, syscall.SIGUSR2)
			x.WaitShape(twoMasters)
			x.Signal(young, syscall.SIGQUIT)
			x.WaitShape(oneMaster)
			x.quit()
		})
	}
}
