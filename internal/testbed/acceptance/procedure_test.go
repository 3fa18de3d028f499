package acceptance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
)

// Procedure 1: install, run, upgrade, roll back; upgrade again and commit.
// Invariants 1 and 4.
func TestInstallRunUpgradeRollBack(t *testing.T) {
	forEachPair(t, func(p *play) {
		p.Sh(`$P/sbin/nginx $OPTIONS`)
		p.WaitShape(oneMaster)
		old := p.Pid()
		p.wantAnswers(map[int]build{old: p.old})
		if ps := p.Sh(`ps --ppid $(cat $P/logs/nginx.pid) -o args=`); ps != "nginx: worker process\nnginx: worker process" {
			p.t.Errorf("ps shows workers as %q", ps)
		}
		p.startLoad()

		p.Sh(`cp $P/sbin/nginx $P/sbin/nginx.old`)
		p.Sh(`cp -f $NEW $P/sbin/nginx`)
		p.WaitShape(oneMaster)
		p.Sh(fmt.Sprintf(`kill -USR2 %d`, old))
		p.WaitShape(twoMasters)
		newPid := p.newMaster(old)
		p.wantAnswers(map[int]build{old: p.old, newPid: p.new})
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, old))
		p.WaitShape(newWorkersOnly)
		p.wantAnswers(map[int]build{newPid: p.new})
		p.letLoadRun()

		p.Sh(`cp -f $P/sbin/nginx.old $P/sbin/nginx`)
		p.Sh(fmt.Sprintf(`kill -HUP %d`, old))
		p.WaitShape(twoMasters)
		p.wantAnswers(map[int]build{old: p.old, newPid: p.new})
		p.Sh(fmt.Sprintf(`kill -USR2 %d`, newPid)) // must change nothing
		p.letLoadRun()
		p.WaitShape(twoMasters)
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, newPid))
		p.WaitShape(oldWorkersOnly)
		p.Sh(fmt.Sprintf(`kill -QUIT %d`, newPid))
		p.WaitShape(oneMaster)
		p.wantAnswers(map[int]build{old: p.old})
		p.wantPidFiles(old, 0)
		p.letLoadRun()

		p.Sh(`cp -f $NEW $P/sbin/nginx`)
		p.Sh(fmt.Sprintf(`kill -USR2 %d`, old))
		p.WaitShape(twoMasters)
		newPid = p.newMaster(old)
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, old))
		p.WaitShape(newWorkersOnly)
		p.Sh(fmt.Sprintf(`kill -QUIT %d`, old))
		p.WaitShape(oneMaster)
		p.wantPidFiles(newPid, 0)
		p.wantAnswers(map[int]build{newPid: p.new})
		if parent := p.parent(newPid); parent != p.Tree.Root() {
			p.t.Errorf("parent of the new master is %d, want %d, who stands for process 1", parent, p.Tree.Root())
		}
		p.stopLoad()
		p.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
		p.WaitShape("")
		if _, err := os.Stat(p.PIDFile()); !os.IsNotExist(err) {
			p.t.Errorf("pid file after the end: %v", err)
		}
	})
}

// Procedure 2: rename instead of copy; pid files; QUIT with no WINCH before.
func TestRenameUpgradeByPidFiles(t *testing.T) {
	forEachPair(t, func(p *play) {
		p.Sh(`$P/sbin/nginx $OPTIONS`)
		p.WaitShape(oneMaster)
		old := p.Pid()
		p.startLoad()
		oldModules := p.configureArguments(p.old)

		p.Sh(`mv $P/sbin/nginx $P/sbin/nginx.old && cp $NEW $P/sbin/nginx`)
		newModules := p.configureArguments(p.new)
		for _, module := range oldModules {
			// Baton says truly that it has not all of nginx's modules.
			if p.sameKind() && !slices.Contains(newModules, module) {
				p.t.Errorf("the new build lacks %s", module)
			}
		}
		p.wantGoodTest()
		p.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`)
		p.WaitShape(twoMasters)
		newPid := p.newMaster(old)
		p.wantPidFiles(newPid, old)
		p.wantAnswers(map[int]build{old: p.old, newPid: p.new})
		p.letLoadRun()

		p.Sh(`kill -QUIT $(cat $P/logs/nginx.pid.oldbin)`)
		p.WaitShape(oneMaster)
		p.wantPidFiles(newPid, 0)
		p.wantAnswers(map[int]build{newPid: p.new})
		r := p.TrySh(`$P/sbin/nginx -v`)
		if want := "nginx version: " + p.new.server; !strings.HasPrefix(r.Stderr, want) || r.Status != 0 {
			p.t.Errorf("-v: %d %q, want %q", r.Status, r.Stderr, want)
		}
		p.stopLoad()
		p.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
		p.WaitShape("")
	})
}

// wantGoodTest checks "nginx -t".
func (p *play) wantGoodTest() {
	p.t.Helper()
	r := p.TrySh(`$P/sbin/nginx $OPTIONS -t`)
	for _, want := range []string{
		"the configuration file " + p.ConfFile() + " syntax is ok",
		"configuration file " + p.ConfFile() + " test is successful",
	} {
		if r.Status != 0 || !strings.Contains(r.Stderr, want) {
			p.t.Errorf("-t: status %d, %q; want %q", r.Status, r.Stderr, want)
		}
	}
}

// configureArguments returns the modules that the installed binary says with
// -V it was built with.
func (p *play) configureArguments(b build) (modules []string) {
	p.t.Helper()
	r := p.TrySh(`$P/sbin/nginx -V`)
	if r.Status != 0 || !strings.HasPrefix(r.Stderr, "nginx version: "+b.server) {
		p.t.Errorf("-V: status %d, %q", r.Status, r.Stderr)
	}
	_, arguments, ok := strings.Cut(r.Stderr, "configure arguments:")
	if !ok {
		p.t.Errorf("-V has no configure arguments: %q", r.Stderr)
	}
	for _, word := range strings.Fields(arguments) {
		if strings.HasPrefix(word, "--with-") && !strings.Contains(word, "=") {
			modules = append(modules, word)
		}
	}
	return modules
}

// Procedure 2, step 7: the ways to go back. The configuration on disk is
// broken by then: HUP must not read it (invariant 5).
func TestGoBackAfterRenameUpgrade(t *testing.T) {
	for _, end := range []string{"QUIT", "TERM", "KILL"} {
		t.Run(end, func(t *testing.T) {
			where := anyPair
			if end == "KILL" { // workers of a killed nginx master serve on, whoever else does
				where = func(pr pair) bool { return pr.orphansLeave }
			}
			forPairs(t, where, func(p *play) {
				p.Sh(`$P/sbin/nginx $OPTIONS`)
				p.WaitShape(oneMaster)
				old := p.Pid()
				p.startLoad()
				p.Sh(`mv $P/sbin/nginx $P/sbin/nginx.old && cp $NEW $P/sbin/nginx`)
				p.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`)
				p.WaitShape(twoMasters)
				newPid := p.newMaster(old)
				p.wantPidFiles(newPid, old)
				p.Sh(`kill -WINCH $(cat $P/logs/nginx.pid.oldbin)`)
				p.WaitShape(newWorkersOnly)

				if err := os.WriteFile(p.ConfFile(), []byte("broken {"), 0o644); err != nil {
					p.t.Fatal(err)
				}
				p.Sh(`kill -HUP $(cat $P/logs/nginx.pid.oldbin)`)
				p.WaitShape(twoMasters)
				p.wantAnswers(map[int]build{old: p.old, newPid: p.new})
				if end == "QUIT" {
					p.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
				} else {
					// TERM and KILL cut what the new workers have: no client may
					// be there to lose it. That is what they are a last resort for.
					p.stopLoad()
					p.Sh(`kill -` + end + ` $(cat $P/logs/nginx.pid)`)
				}
				p.WaitShape(oneMaster)
				p.wantPidFiles(old, 0)
				p.wantAnswers(map[int]build{old: p.old})
				if end == "QUIT" {
					p.stopLoad()
				}

				// As it was: another upgrade works.
				p.configure()
				p.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`)
				p.WaitShape(twoMasters)
				p.wantPidFiles(p.newMaster(old), old)
				p.Sh(`kill -TERM $(cat $P/logs/nginx.pid.oldbin) $(cat $P/logs/nginx.pid)`)
				p.WaitShape("")
			})
		})
	}
}

// Procedure 3: the master was started with a relative path.
func TestRelativePath(t *testing.T) {
	forEachPair(t, func(p *play) {
		p.Sh(`cd $P/sbin && ./nginx $OPTIONS -c $P/conf/nginx.conf`)
		p.WaitShape(oneMaster)
		old := p.Pid()
		if title := p.Process(old).Title; !strings.HasPrefix(title, "nginx: master process ./nginx ") {
			p.t.Errorf("title of the master is %q", title)
		}
		p.startLoad()
		p.Sh(`cd $P/sbin && cp nginx nginx_old && cp -f $NEW nginx`)
		p.Sh(fmt.Sprintf(`kill -USR2 %d`, old))
		p.WaitShape(twoMasters)
		newPid := p.newMaster(old)
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, old))
		p.WaitShape(newWorkersOnly)
		p.wantAnswers(map[int]build{newPid: p.new})

		p.Sh(fmt.Sprintf(`kill -HUP %d`, old))
		p.WaitShape(twoMasters)
		p.Sh(fmt.Sprintf(`kill -QUIT %d`, newPid))
		p.WaitShape(oneMaster)
		p.wantAnswers(map[int]build{old: p.old})
		p.wantPidFiles(old, 0)
		p.stopLoad()
		p.Sh(fmt.Sprintf(`kill -QUIT %d`, old))
		p.WaitShape("")
	})
}

// Unix sockets are handed on like others: the file stays for as long as
// anybody serves it, through roll-back and commit, and the last one removes it.
func TestUnixSocketSurvives(t *testing.T) {
	forEachPair(t, func(p *play) {
		socket := p.Path("logs", "site.sock")
		p.Configure(testbed.Conf{User: testbed.PackageUser(), Listen: []string{p.Addr, "unix:" + socket}})
		p.Sh(`$P/sbin/nginx $OPTIONS`)
		p.WaitShape(oneMaster)
		old := p.Pid()
		l := p.Load(load.Group{Name: "unix", Addr: socket, Clients: 4, MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond})
		p.WaitAnswers(l, 50)
		p.Sh(`cp -f $NEW $P/sbin/nginx`)
		for _, leaves := range []string{"new", "old"} {
			p.Sh(fmt.Sprintf(`kill -USR2 %d`, old))
			p.WaitShape(twoMasters)
			newPid := p.newMaster(old)
			p.wantPidFiles(newPid, old)
			p.WaitAnswers(l, 50)
			if leaves == "new" {
				p.Sh(fmt.Sprintf(`kill -QUIT %d`, newPid))
			} else {
				p.Sh(fmt.Sprintf(`kill -QUIT %d`, old))
			}
			p.WaitShape(oneMaster)
			p.WaitAnswers(l, 50)
		}
		if got := l.Stop().Group("unix"); got.Failed() > 0 || got.Check() != nil {
			p.t.Errorf("%d failures\n%v%v", got.Failed(), l.Report(), l.Report().Trouble())
		}
		p.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
		p.WaitShape("")
		if _, err := os.Stat(socket); !os.IsNotExist(err) {
			p.t.Errorf("the socket's file after the end: %v", err)
		}
	})
}
