package acceptance

import (
	"fmt"
	"math"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// failedUpgrade is what the old master logs when a new one is gone or was
// never there.
var failedUpgrade = regexp.MustCompile(`new binary process \d+ exited (with code|on signal)|execve\(\) failed while executing new binary process`)

// waitFailedUpgrades waits until n upgrades have failed and been undone.
func (p *play) waitFailedUpgrades(n int) {
	p.t.Helper()
	p.WaitFor(fmt.Sprintf("%d failed upgrades in the error log", n), func() bool {
		return len(failedUpgrade.FindAllString(p.Log(), -1)) >= n
	})
}

// wantAsBefore checks invariant 4: the old master and its workers, and nobody
// else, serve as before the upgrade, and the next upgrade works.
func (p *play) wantAsBefore(old int) {
	p.t.Helper()
	p.WaitShape(oneMaster)
	p.wantPidFiles(old, 0)
	p.wantAnswers(map[int]build{old: p.old})
	p.upgradeAndStop(old)
}

// upgradeAndStop upgrades the master old to the new binary, checks that
// clients lost nothing on the way, and ends the server.
func (p *play) upgradeAndStop(old int) {
	p.t.Helper()
	p.Sh(`rm -f $P/sbin/nginx && cp $NEW $P/sbin/nginx`)
	p.Sh(fmt.Sprintf(`kill -USR2 %d`, old))
	p.WaitShape(twoMasters)
	newPid := p.newMaster(old)
	p.wantPidFiles(newPid, old)
	p.Sh(fmt.Sprintf(`kill -QUIT %d`, old))
	p.WaitShape(oneMaster)
	p.wantAnswers(map[int]build{newPid: p.new})
	p.stopLoad()
	p.Sh(fmt.Sprintf(`kill -QUIT %d`, newPid))
	p.WaitShape("")
}

// batons starts the old Baton under load and runs test; main are more
// directives for the top level. It runs beside others.
func batons(t *testing.T, main string, test func(p *play, old int)) {
	t.Helper()
	t.Parallel()
	pr := pair{name: "baton to baton", old: plain(oldVersion), new: plain(newVersion), gentle: true}
	p := newPlay(t, pr)
	p.Configure(testbed.Conf{Main: main})
	p.Sh(`$P/sbin/nginx`)
	p.WaitShape(oneMaster)
	p.startLoad()
	test(p, p.Pid())
}

// A new binary that is broken in whatever way leaves the old generation
// serving exactly as before.
func TestBrokenNewBinary(t *testing.T) {
	for _, tc := range []struct {
		name    string
		install func(p *play) (path string) // "" when it installed itself
	}{
		{"missing", func(p *play) string { p.Sh(`rm $P/sbin/nginx`); return "" }},
		{"not executable", func(p *play) string { return testbed.NotExecutable(p.t, p.new.path) }},
		{"of another architecture", func(p *play) string { return testbed.WrongArchitecture(p.t) }},
		{"exits at once", func(p *play) string { return testbed.Fixture(p.t, testbed.ExitsAtOnce) }},
		{"exits after binding", func(p *play) string {
			return testbed.Fixture(p.t, testbed.ExitsAfterBinding, p.TakePort().Addr())
		}},
		{"exits when it looks ready", func(p *play) string {
			return testbed.Fixture(p.t, testbed.ExitsWhenReady, p.PIDFile())
		}},
		{"is never ready", func(p *play) string { return testbed.Fixture(p.t, testbed.NeverReady) }},
		{"is never ready and cannot be ended", func(p *play) string { return testbed.Fixture(p.t, testbed.NeverReadyNorGone) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			batons(t, "upgrade_timeout 4s;", func(p *play, old int) {
				if path := tc.install(p); path != "" {
					if err := p.Install(path); err != nil {
						t.Fatal(err)
					}
				}
				p.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`)
				p.waitFailedUpgrades(1)
				p.WaitShape(oneMaster)
				p.wantPidFiles(old, 0)
				p.wantAnswers(map[int]build{old: p.old})
				// What is short for a binary that never gets ready may be short for a good one, too.
				p.Configure(testbed.Conf{})
				p.Sh(p.old.path + ` -p $P -s reload`)
				p.wantAsBefore(old)
			})
		})
	}
}

// A new version that cannot use the configuration, as it is on disk by then,
// or cannot get its sockets, changes nothing either.
func TestUnusableConfigurationForTheNewBinary(t *testing.T) {
	port := func(p *play) string {
		ln, err := net.Listen("tcp", p.TakePort().Addr())
		if err != nil {
			t.Fatal(err)
		}
		p.t.Cleanup(func() { ln.Close() })
		return ln.Addr().String()
	}
	for _, tc := range []struct {
		name string
		conf func(p *play) string
		want string // in the error log
	}{
		{"syntax error", func(*play) string { return "nonsense here;" }, `unknown directive "nonsense"`},
		{"taken port", func(p *play) string {
			return testbed.Conf{Listen: []string{p.Addr, port(p)}}.String()
		}, "bind() to "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			batons(t, "", func(p *play, old int) {
				good, err := os.ReadFile(p.ConfFile())
				if err != nil {
					t.Fatal(err)
				}
				writeFile(t, p.ConfFile(), tc.conf(p))
				p.Sh(`kill -USR2 $(cat $P/logs/nginx.pid)`)
				p.waitFailedUpgrades(1)
				if !strings.Contains(p.Log(), tc.want) {
					t.Errorf("no %q in the error log:\n%s", tc.want, p.Log())
				}
				writeFile(t, p.ConfFile(), string(good))
				p.wantAsBefore(old)
			})
		})
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The stages of an upgrade and of its roll-back at which something is killed.
var stages = []struct {
	name  string
	reach func(p *play, old int)
}{
	{"starting", func(p *play, old int) {
		p.WaitFor("start of a new master", func() bool { return findNewMaster(p.Processes(), old) > 0 })
	}},
	{"both serve", func(p *play, old int) { p.WaitShape(twoMasters) }},
	{"old retired", func(p *play, old int) {
		p.WaitShape(twoMasters)
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, old))
		p.WaitShape(newWorkersOnly)
	}},
	{"old retiring", func(p *play, old int) {
		p.WaitShape(twoMasters)
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, old))
	}},
	{"rolled back, both serve", func(p *play, old int) {
		p.WaitShape(twoMasters)
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, old))
		p.WaitShape(newWorkersOnly)
		p.Sh(fmt.Sprintf(`kill -HUP %d`, old))
		p.WaitShape(twoMasters)
	}},
	{"rolled back, new retired", func(p *play, old int) {
		p.WaitShape(twoMasters)
		newPid := p.newMaster(old)
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, old))
		p.WaitShape(newWorkersOnly)
		p.Sh(fmt.Sprintf(`kill -HUP %d`, old))
		p.WaitShape(twoMasters)
		p.Sh(fmt.Sprintf(`kill -WINCH %d`, newPid))
		p.WaitShape(oldWorkersOnly)
	}},
}

// findNewMaster returns the child of old that is no worker, or 0. It may not call
// itself a master yet; a process without a title is one that is just ending.
func findNewMaster(found []tree.Process, old int) int {
	for _, m := range found {
		if m.PPID == old && m.Title != "" && !testbed.IsWorker(m) && !m.Zombie() {
			return m.PID
		}
	}
	return 0
}

// kill -9 of the new master at any stage brings the old generation back.
func TestNewMasterIsKilled(t *testing.T) {
	for _, stage := range stages {
		t.Run(stage.name, func(t *testing.T) {
			batons(t, "", func(p *play, old int) {
				p.Sh(`cp -f $NEW $P/sbin/nginx && kill -USR2 $(cat $P/logs/nginx.pid)`)
				stage.reach(p, old)
				p.Sh(fmt.Sprintf(`kill -9 %d`, findNewMaster(p.Processes(), old)))
				p.waitFailedUpgrades(1)
				p.wantAsBefore(old)
			})
		})
	}
}

// kill -9 of the old master at any stage leaves the new one on its own, and
// serving, also if its workers had been sent away by a roll-back.
func TestOldMasterIsKilled(t *testing.T) {
	for _, stage := range stages {
		t.Run(stage.name, func(t *testing.T) {
			batons(t, "", func(p *play, old int) {
				p.Sh(`cp -f $NEW $P/sbin/nginx && kill -USR2 $(cat $P/logs/nginx.pid)`)
				stage.reach(p, old)
				newPid := findNewMaster(p.Processes(), old)
				p.Sh(fmt.Sprintf(`kill -9 %d`, old))
				p.WaitShape(oneMaster)
				p.WaitFor("pid file of the new master", func() bool { pid, err := p.PID(); return err == nil && pid == newPid })
				p.wantAnswers(map[int]build{newPid: p.new})
				p.old = p.new
				p.upgradeAndStop(newPid)
			})
		})
	}
}

// A worker that is killed is replaced, also while its master is an old one.
func TestWorkerIsKilled(t *testing.T) {
	batons(t, "", func(p *play, old int) {
		p.load.Stop() // clients of the killed worker lose what it had
		for _, before := range p.Workers(old) {
			p.Signal(before.PID, syscall.SIGKILL)
			p.WaitFor("end of the worker", func() bool { return p.parent(before.PID) == 0 })
			p.WaitShape(oneMaster)
		}
		p.startLoad()
		p.wantAsBefore(old)
	})
}

// USR2 twice makes one new master; USR2 to the new one makes none.
func TestUpgradeTwice(t *testing.T) {
	batons(t, "", func(p *play, old int) {
		p.Sh(`cp -f $NEW $P/sbin/nginx`)
		p.Sh(fmt.Sprintf(`kill -USR2 %d; kill -USR2 %d`, old, old))
		p.WaitShape(twoMasters)
		p.Sh(fmt.Sprintf(`kill -USR2 %d; kill -USR2 %d`, p.newMaster(old), old))
		p.letLoadRun()
		p.WaitShape(twoMasters)
		p.Sh(fmt.Sprintf(`kill -TERM %d`, p.newMaster(old)))
		p.WaitShape(oneMaster)
		p.load.Stop() // TERM cuts what the new workers had
		p.startLoad()
		p.wantAsBefore(old)
	})
}

// HUP with a bad configuration changes nothing; a good one then works.
func TestReloadBadThenGood(t *testing.T) {
	batons(t, "", func(p *play, old int) {
		before := p.Workers(old)
		writeFile(t, p.ConfFile(), "events {")
		p.Sh(fmt.Sprintf(`kill -HUP %d`, old))
		p.WaitFor("complaint in the error log", func() bool { return strings.Contains(p.Log(), `unexpected end of file`) })
		p.letLoadRun()
		if after := p.Workers(old); len(after) != len(before) || after[0].PID != before[0].PID {
			t.Errorf("workers are %+v, were %+v", after, before)
		}
		p.Configure(testbed.Conf{Server: "add_header X-Loaded again;"})
		p.Sh(fmt.Sprintf(`kill -HUP %d`, old))
		p.WaitFor("answer of the new configuration", func() bool { return p.Get("/").Header.Get("X-Loaded") == "again" })
		p.wantAsBefore(old)
	})
}

// After many upgrades nothing has piled up: descriptors, processes, files.
func TestManyUpgradesLeaveNothingBehind(t *testing.T) {
	batons(t, "", func(p *play, master int) {
		const rounds, settled = 20, 5
		fewest := math.MaxInt // descriptors of a master, of the first few
		for round := 1; round <= rounds; round++ {
			p.Sh(fmt.Sprintf(`cp -f $NEW $P/sbin/nginx && kill -USR2 %d`, master))
			p.WaitShape(twoMasters)
			newPid := p.newMaster(master)
			p.wantPidFiles(newPid, master)
			p.Sh(fmt.Sprintf(`kill -QUIT %d`, master))
			p.WaitShape(oneMaster)
			master = newPid
			if round <= settled {
				fewest = min(fewest, p.descriptors(master))
				continue
			}
			// The new master may not have noticed yet that the old one is gone.
			p.WaitFor(fmt.Sprintf("at most %d open descriptors after %d upgrades", fewest, round), func() bool {
				return p.descriptors(master) <= fewest
			})
		}
		p.wantPidFiles(master, 0)
		p.stopLoad()
		p.Sh(fmt.Sprintf(`kill -QUIT %d`, master))
		p.WaitShape("")
	})
}

// descriptors returns how many descriptors a process has open.
func (p *play) descriptors(pid int) int {
	p.t.Helper()
	open, err := p.Process(pid).Descriptors()
	if err != nil {
		p.t.Fatal(err)
	}
	return len(open)
}
