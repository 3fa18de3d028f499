package upgrade_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
	"github.com/baton-deploy/baton/internal/upgrade"
)

// commanded is a site for the command itself: $BATON is it, $NEW the new binary.
func commanded(t *testing.T, k kind) *site {
	t.Helper()
	s := newSite(t, k)
	s.Setenv("BATON", testbed.PlainFor(t, newVersion))
	s.Setenv("NEW", s.new)
	return s
}

// That whoever reads the output goes away is no reason to stop half way.
func TestNobodyReadsTheOutput(t *testing.T) {
	t.Parallel()
	s := commanded(t, kinds()[1])
	s.start("$P/sbin/nginx")
	for _, flags := range []string{"", " --json"} {
		r := s.TrySh("{ $BATON upgrade --prefix $P --to $NEW --soak 300ms" + flags + " 2>&1; echo $? >status; } | head -c 1")
		if r.Stdout == "" || s.Sh("cat status") != "0" {
			t.Errorf("it printed %q, exit status %s; want some of it, and 0", r.Stdout, s.Sh("cat status"))
		}
		s.wantVersion("baton/2.0.0", upgrade.Done)
	}
	s.stop()
}

// What a command was told not to hear, by nohup or by a shell that runs it in the
// background, does not stop it. A rollback does.
func TestCommandInTheBackground(t *testing.T) {
	t.Parallel()
	s := commanded(t, kinds()[1])
	s.start("$P/sbin/nginx")
	for _, end := range []struct {
		verb    string
		status  int
		version string
		outcome upgrade.Outcome
	}{
		{"rollback", 1, "baton/1.0.0", upgrade.Failed},
		{"commit", 0, "baton/2.0.0", upgrade.Done},
	} {
		p := s.Start("/bin/sh", "-c", "trap '' HUP INT; exec $BATON upgrade --prefix $P --to $NEW --soak 1h")
		s.WaitFor("the soak", func() bool { return strings.Contains(p.Stdout(), "retire") })
		s.Signal(p.PID, syscall.SIGHUP)
		s.Signal(p.PID, syscall.SIGINT)
		s.wantVerb("$BATON "+end.verb+" --prefix $P", 0, "", "^$")
		if got := s.exitOf(p); got != end.status {
			t.Errorf("%s: exit status %d, want %d\n%s%s", end.verb, got, end.status, p.Stdout(), p.Stderr())
		}
		s.wantVersion(end.version, end.outcome)
	}
	s.stop()
}

// exitOf returns the exit status of a command when it has ended.
func (s *site) exitOf(p *tree.Proc) int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	got, err := p.Wait(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return got.ExitStatus()
}

// A pid file that is a link leads to the one that the master renames, also while that
// is not there; two operators with two names for it are still two.
func TestPidFileIsALink(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.Setenv("BATON", testbed.PlainFor(t, newVersion))
		s.Setenv("NEW", s.new)
		s.start("$P/sbin/nginx")
		s.Sh("ln -s logs/nginx.pid link.pid && ln -s $P/link.pid logs/again.pid")
		s.wantVerb("$BATON upgrade --pid-file logs/again.pid --to $NEW --soak 0", 0, `commit   the old master \d+ is gone`, "^$")
		s.wantVerb("$BATON history --pid-file link.pid", 0, " done after ", "^$")
		s.wantVerb("ls logs | grep -c upgrades; ls logs/nginx.pid.upgrades", 0, "^1\nlogs/nginx.pid.upgrades$", "^$")
		s.Sh("ln -s x.pid x.pid")
		s.wantVerb("$BATON status --pid-file x.pid", 1, "^$", "x.pid is a link that leads to itself$")
		s.stop()
	})
}

// A pid file that names a master which has another one is found out, and of the upgrade
// nothing is left.
func TestPidFileOfAnother(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.Setenv("BATON", testbed.PlainFor(t, newVersion))
		s.Setenv("NEW", s.new)
		was := s.remember(s.start("$P/sbin/nginx"))
		s.Sh("cp logs/nginx.pid copy.pid")
		s.wantVerb("$BATON upgrade --pid-file copy.pid --to $NEW", 1, "end      the new master", `master \d+ has another pid file than \S+/copy.pid: its new master`)
		s.wantAsBefore(was)
		s.wantVerb("$BATON status --pid-file logs/nginx.pid", 0, "^phase   serving\n", "^$")
		s.stop()
	})
}

// What a new binary leaves behind, with the listening sockets, is told of.
func TestNewBinaryForksAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[0])
	was := s.remember(s.start("$P/sbin/nginx"))
	var notes []string
	outcome, err := s.upgrade(testbed.Pretender(t, s.new, testbed.ForksAway), func(o *upgrade.Options) {
		o.Tell = func(e upgrade.Event) { notes = append(notes, e.Text) }
	})
	if outcome != upgrade.Failed || err == nil {
		t.Errorf("upgrade: %s, %v; want failed", outcome, err)
	}
	i := slices.IndexFunc(s.Processes(), func(p tree.Process) bool { return p.Title == "left behind" })
	if i < 0 {
		t.Fatalf("nothing was left behind:\n%s", s.PS())
	}
	pid := s.Processes()[i].PID
	if want := fmt.Sprintf("process %d runs the new binary still: kill %d, unless it is another server's", pid, pid); !slices.Contains(notes, want) {
		t.Errorf("it said %q, want %q", notes, want)
	}
	s.Sh(fmt.Sprint("kill ", pid))
	s.wantAsBefore(was)
	s.stop()
}

// nginx in the foreground takes no USR2 while its parent lives. That shows long before a
// new version had to be ready.
func TestForegroundIgnoresTheUpgrade(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[0])
	p := s.Start(s.Binary(), "-p", s.Dir, "-c", s.Path("conf", "nginx.conf"), "-e", s.Path("logs", "error.log"), "-g", "daemon off;")
	s.WaitFor("workers", func() bool { return len(s.Workers(p.PID)) == 2 })
	was := s.remember(p.PID)
	outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
		o.ReadyTimeout, o.Pace.Obey = time.Hour, time.Second
	})
	if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), "ignores USR2: nginx does so in the foreground") {
		t.Errorf("upgrade: %s, %v; want failed, and why", outcome, err)
	}
	s.wantAsBefore(was)
	s.stop()
}

// The new master dies when the commit is about to begin: the old one was not told to go, so
// all is undone as at any step before.
func TestNewMasterDiesBeforeCommit(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		old := s.start("$P/sbin/nginx")
		outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
			o.Fault = func(at string) {
				if at != "begun commit" {
					return
				}
				workers := s.Workers(s.Pid())
				s.Signal(s.Pid(), syscall.SIGKILL)
				for _, w := range workers {
					_ = w.Signal(syscall.SIGKILL) // Baton's may be gone; nginx's would stay
				}
				s.WaitFor("the old workers", func() bool { return s.Pid() == old && len(s.Workers(old)) == 2 })
			}
		})
		if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("upgrade: %s, %v; want it undone", outcome, err)
		}
		if st := s.look(); st.Upgrade != nil || st.Generations[0].Master != old || st.Generations[0].File != "same" {
			t.Errorf("after it: %+v, want the old master and its file", st)
		}
		s.stop()
	})
}
