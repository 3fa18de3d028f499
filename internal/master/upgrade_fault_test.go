package master_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
)

// TestBadNewBinary: whatever is wrong with the new binary, the old generation
// serves as before, and the next upgrade works. Invariant 4.
func TestBadNewBinary(t *testing.T) {
	t.Parallel()
	fixture := func(r testbed.Role, args ...string) func(*server) string {
		return func(s *server) string { return testbed.Fixture(s.t, r, args...) }
	}
	tests := []struct {
		name string
		path func(s *server) string // "" removes the binary
		main string                 // directives
		log  string
	}{
		{name: "missing", path: func(*server) string { return "" },
			log: `execve() failed while executing new binary process "%P/sbin/nginx" (2: No such file or directory)`},
		{name: "not executable", path: func(s *server) string { return testbed.NotExecutable(s.t, s.Binary()) },
			log: `execve() failed while executing new binary process "%P/sbin/nginx" (13: Permission denied)`},
		{name: "wrong architecture", path: func(s *server) string { return testbed.WrongArchitecture(s.t) },
			log: `execve() failed while executing new binary process "%P/sbin/nginx" (8: Exec format error)`},
		{name: "exits at once", path: fixture(testbed.ExitsAtOnce), log: "exited with code 3"},
		{name: "exits after binding", path: fixture(testbed.ExitsAfterBinding, "127.0.0.1:0"), log: "exited with code 4"},
		{name: "never ready", path: fixture(testbed.NeverReady), main: "upgrade_timeout 3s;",
			log: "is not ready after 3s, ending it"},
		{name: "never ready nor gone", path: fixture(testbed.NeverReadyNorGone), main: "upgrade_timeout 3s;",
			log: "exited on signal 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testbed.Conf{Main: tt.main})
			l := s.clients()
			if path := tt.path(s); path == "" {
				s.Sh(`rm $P/sbin/nginx`)
			} else {
				s.install(path)
			}
			s.Signal(s.master, syscall.SIGUSR2)
			s.waitLog(strings.ReplaceAll(tt.log, "%P", s.Dir))
			s.asBefore()
			s.stop(l)
			if tt.main != "" { // what is short for such a binary may be short for a good one, too
				s.Configure(testbed.Conf{})
				s.Sh(testbed.BuildFor(t, oldVersion) + ` -p $P -s reload`)
			}
			s.again()
		})
	}
}

// again proves that an upgrade works now, and ends the server.
func (s *server) again() {
	s.t.Helper()
	if err := os.Remove(s.Binary()); err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	l := s.clients()
	pid := s.upgrade()
	s.Signal(s.master, syscall.SIGQUIT)
	s.WaitShape(oneMaster)
	if a := s.Get("/"); a.Server != "baton/"+newVersion {
		s.t.Errorf("%s answers after the upgrade", a.Server)
	}
	if now := s.Pid(); now != pid {
		s.t.Errorf("the pid file names %d, want %d", now, pid)
	}
	s.stop(l)
	s.quit()
}

// TestReadyAndGone: the new binary says that it is ready, as nginx says it, and
// is gone the next moment.
func TestReadyAndGone(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	l := s.clients()
	s.install(testbed.Fixture(t, testbed.ExitsWhenReady, s.PIDFile()))
	s.Signal(s.master, syscall.SIGUSR2)
	s.waitLog("exited with code 5")
	s.asBefore()
	s.stop(l)
	s.again()
}

// TestNewVersionRefuses: the new version cannot use the configuration that is on
// disk now, or not get an address it names.
func TestNewVersionRefuses(t *testing.T) {
	t.Parallel()
	t.Run("configuration", func(t *testing.T) {
		t.Parallel()
		s := start(t, testbed.Conf{})
		l := s.clients()
		s.Configure(testbed.Conf{HTTP: "nonsense on;"})
		s.Sh(`cp -f $NEW $P/sbin/nginx`)
		s.Signal(s.master, syscall.SIGUSR2)
		s.waitLog(`failed: config: unknown directive "nonsense"`)
		s.waitLog("exited with code 1")
		s.asBefore()
		s.stop(l)
		s.Configure(testbed.Conf{})
		s.again()
	})
	t.Run("address", func(t *testing.T) {
		t.Parallel()
		s := start(t, testbed.Conf{})
		l := s.clients()
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		s.Configure(testbed.Conf{Listen: []string{s.Addr, taken.Addr().String()}})
		s.Sh(`cp -f $NEW $P/sbin/nginx`)
		s.Signal(s.master, syscall.SIGUSR2)
		s.waitLog(fmt.Sprintf("failed: listen: bind() to %s failed (98: Address already in use)", taken.Addr()))
		s.waitLog("exited with code 1")
		s.asBefore()
		s.stop(l)
		s.Configure(testbed.Conf{})
		s.again()
	})
	t.Run("pid file", func(t *testing.T) {
		t.Parallel()
		s := start(t, testbed.Conf{})
		l := s.clients()
		s.Sh(`cp $P/conf/nginx.conf $P/conf/good && sed -i 's,^pid .*,pid logs/none/nginx.pid;,' $P/conf/nginx.conf`)
		s.Sh(`cp -f $NEW $P/sbin/nginx`)
		s.Signal(s.master, syscall.SIGUSR2)
		s.waitLog(`failed: pid: open() "` + s.Dir + `/logs/none/nginx.pid" failed (2: No such file or directory)`)
		s.waitLog("exited with code 1")
		s.asBefore()
		s.stop(l)
		s.Sh(`cp $P/conf/good $P/conf/nginx.conf`)
		s.again()
	})
	t.Run("workers", func(t *testing.T) {
		t.Parallel()
		s := start(t, testbed.Conf{})
		l := s.clients()
		// Workers of the new master cannot live with so few descriptors.
		s.Configure(testbed.Conf{Main: "worker_rlimit_nofile 4;"})
		s.Sh(`cp -f $NEW $P/sbin/nginx`)
		s.Signal(s.master, syscall.SIGUSR2)
		s.waitLog("failed: ")
		s.waitLog("exited with code 1")
		s.asBefore()
		s.stop(l)
		s.Configure(testbed.Conf{})
		s.again()
	})
}

// TestPidFileCannotBeMoved: without room for a second pid file nothing is executed.
func TestPidFileCannotBeMoved(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	l := s.clients()
	s.Sh(`cp -f $NEW $P/sbin/nginx && mkdir -p $P/logs/nginx.pid.oldbin/full`)
	s.Signal(s.master, syscall.SIGUSR2)
	s.waitLog(fmt.Sprintf(`rename() %q to %q failed before executing new binary process`, s.PIDFile(), s.OldbinFile()))
	s.Sh(`rm -r $P/logs/nginx.pid.oldbin`)
	s.asBefore()
	if strings.Contains(s.Log(), "start new binary process") {
		t.Error("the new binary was executed")
	}
	s.stop(l)
	s.again()
}

// TestNewWorkersCrash: the new version is ready, and then its workers die again
// and again. The old generation serves all the while, and takes over again.
func TestNewWorkersCrash(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	pid := s.upgrade()
	l := s.clients()
	for range 3 {
		for _, w := range s.Workers(pid) {
			s.Signal(w.PID, syscall.SIGKILL)
			s.waitLog(fmt.Sprintf("worker process %d exited on signal 9", w.PID))
		}
		s.WaitAnswers(l, 10)
	}
	if g := l.Stop().Group("new connections"); g.Refused > 0 {
		t.Errorf("%d connections were refused", g.Refused)
	}
	s.Signal(pid, syscall.SIGTERM)
	s.waitLog(fmt.Sprintf("new binary process %d exited with code 0", pid))
	s.asBefore()
	s.again()
}

// TestUpgradeTwice: USR2 while a new master lives changes nothing, whoever gets
// it.
func TestUpgradeTwice(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	l := s.clients()
	pid := s.upgrade()
	for _, p := range []int{s.master, pid} {
		s.Signal(p, syscall.SIGUSR2)
		s.waitLog(fmt.Sprintf("[crit] %d#%d: the changing binary signal is ignored", p, p))
	}
	s.WaitShape(twoMasters)
	s.Signal(s.master, syscall.SIGQUIT)
	s.WaitShape(oneMaster)
	s.stop(l)
	s.quit()
}

// TestNewMasterKilled: kill -9 of the new master at every step.
func TestNewMasterKilled(t *testing.T) {
	t.Parallel()
	t.Run("while it starts", func(t *testing.T) {
		t.Parallel()
		s := start(t, testbed.Conf{})
		l := s.clients()
		s.install(testbed.Fixture(t, testbed.NeverReadyNorGone))
		s.Signal(s.master, syscall.SIGUSR2)
		s.WaitFor("the new process", func() bool { return len(s.Processes()) == 4 })
		for _, p := range s.Processes() {
			if p.PPID == s.master && !testbed.IsWorker(p) {
				s.Signal(p.PID, syscall.SIGKILL)
			}
		}
		s.waitLog("exited on signal 9")
		s.asBefore()
		s.stop(l)
		s.again()
	})
	steps := []struct {
		name    string
		prepare func(s *server, pid int)
	}{
		{"when both serve", func(*server, int) {}},
		{"after WINCH", func(s *server, _ int) {
			s.Signal(s.master, syscall.SIGWINCH)
			s.WaitShape(oldMasterAlone)
		}},
		{"after roll-back", func(s *server, _ int) {
			s.Signal(s.master, syscall.SIGWINCH)
			s.WaitShape(oldMasterAlone)
			s.Signal(s.master, syscall.SIGHUP)
			s.WaitShape(twoMasters)
		}},
		{"while the old one waits to quit", func(s *server, _ int) {
			conn := idleConnection(s.t, s)
			// It waits for a body that does not come: an idle one would move at once.
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"); err != nil {
				s.t.Fatal(err)
			}
			if n, err := conn.Read(make([]byte, 4096)); err != nil || n == 0 {
				s.t.Fatalf("read answer: %d bytes, %v", n, err)
			}
			held, err := s.Tree.Holders(conn)
			if err != nil || len(held) != 1 || held[0].PPID != s.master {
				// The new generation took it: then there is nothing that the old
				// one waits for, and this is the step before.
				return
			}
			s.Signal(s.master, syscall.SIGQUIT)
			s.WaitFor("a retiring worker", func() bool { return testbed.IsRetiring(s.Process(held[0].PID)) })
			s.t.Cleanup(func() { conn.Close() })
		}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testbed.Conf{Main: "worker_shutdown_timeout 2s;"})
			pid := s.upgrade()
			step.prepare(s, pid)
			s.Signal(pid, syscall.SIGKILL)
			s.waitLog(fmt.Sprintf("new binary process %d exited on signal 9", pid))
			s.asBefore()
			s.again()
		})
	}
}

// TestOldMasterKilled: kill -9 of the old master at every step commits the
// upgrade.
func TestOldMasterKilled(t *testing.T) {
	t.Parallel()
	steps := []struct {
		name    string
		prepare func(s *server, pid int)
	}{
		{"when both serve", func(*server, int) {}},
		{"after WINCH", func(s *server, _ int) {
			s.Signal(s.master, syscall.SIGWINCH)
			s.WaitShape(oldMasterAlone)
		}},
		{"in the middle of a roll-back", func(s *server, pid int) {
			s.Signal(s.master, syscall.SIGWINCH)
			s.WaitShape(oldMasterAlone)
			s.Signal(s.master, syscall.SIGHUP)
			s.WaitShape(twoMasters)
			s.Signal(pid, syscall.SIGWINCH)
			s.WaitFor("the new workers to go", func() bool { return len(s.Workers(pid)) == 0 })
		}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testbed.Conf{})
			l := s.clients()
			pid := s.upgrade()
			step.prepare(s, pid)
			s.WaitAnswers(l, 5)
			s.Signal(s.master, syscall.SIGKILL)
			s.WaitShape(oneMaster)
			s.waitLog(fmt.Sprintf("%d#%d: old binary process is gone", pid, pid))
			s.WaitFor("the stale pid file to go", func() bool {
				_, err := s.OldPID()
				return os.IsNotExist(err) || strings.Contains(fmt.Sprint(err), "no such file")
			})
			if now := s.Pid(); now != pid {
				t.Errorf("the pid file names %d, want %d", now, pid)
			}
			// A worker of a killed master drains: it lost nobody.
			s.stop(l)
			s.master = pid
			s.again()
		})
	}
	t.Run("while the new one starts", func(t *testing.T) {
		t.Parallel()
		s := start(t, testbed.Conf{})
		s.install(testbed.Fixture(t, testbed.NeverReady))
		s.Signal(s.master, syscall.SIGUSR2)
		s.WaitFor("the new process", func() bool { return len(s.Processes()) == 4 })
		s.Signal(s.master, syscall.SIGKILL)
		// The workers drain and go; what is left is the program that was started.
		s.WaitFor("the workers to go", func() bool { return len(s.Processes()) == 1 })
		s.Signal(s.Processes()[0].PID, syscall.SIGKILL)
		s.WaitShape("")
		s.install(testbed.BuildFor(t, oldVersion))
		s.Sh(`$P/sbin/nginx`)
		s.WaitShape(oneMaster)
		s.quit()
	})
}

// TestSignalsTooEarly: WINCH or QUIT right behind USR2, as a script that does
// not wait sends them. nginx then stops serving.
func TestSignalsTooEarly(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGWINCH, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := start(t, testbed.Conf{})
			l := s.clients()
			s.Sh(`cp -f $NEW $P/sbin/nginx`)
			s.Signal(s.master, syscall.SIGUSR2)
			s.waitLog("start new binary process")
			s.Signal(s.master, sig)
			pid := s.newMaster()
			if sig == syscall.SIGWINCH {
				s.WaitShape(oldMasterAlone)
				s.Signal(s.master, syscall.SIGQUIT)
			}
			s.WaitShape(oneMaster)
			s.stop(l)
			s.master = pid
			s.quit()
		})
	}
}

// TestManyUpgrades: nothing is left over from one upgrade to the next.
func TestManyUpgrades(t *testing.T) {
	t.Parallel()
	const upgrades = 20
	s := start(t, testbed.Conf{})
	l := s.clients()
	var first, last [2]int // descriptors of the master, of a worker
	count := func() [2]int {
		return [2]int{s.descriptors(s.Process(s.master)), s.descriptors(s.Workers(s.master)[0])}
	}
	for i := range upgrades {
		pid := s.upgrade()
		s.Signal(s.master, syscall.SIGQUIT)
		s.WaitShape(oneMaster)
		s.master = pid
		s.waitLog(fmt.Sprintf("%d#%d: old binary process is gone", pid, pid))
		if i == 1 {
			first = count()
		}
	}
	s.stop(l)
	s.WaitFor("the number of descriptors to be what it was", func() bool {
		last = count()
		return last[0] <= first[0] && last[1] <= first[1]
	})
	t.Logf("descriptors of master and worker: %v after 2 upgrades, %v after %d", first, last, upgrades)
	s.quit()
}
