package upgrade_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/upgrade"
)

// The test binary started with this variable is the command that upgrades: it kills
// itself at the point that the variable names.
const operatorVariable = "BATON_TEST_FAULT"

func TestMain(m *testing.M) {
	if exe, err := os.Executable(); err == nil && strings.Contains(filepath.Base(exe), evilName) {
		playEvil()
	}
	if point := os.Getenv(operatorVariable); point != "" {
		os.Exit(operate(point))
	}
	// These tests wait for other processes most of the time.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(testbed.Main(m))
}

func operate(point string) int {
	o := upgrade.Options{
		PidFile: os.Getenv("PIDFILE"), To: os.Getenv("TO"), Soak: 100 * time.Millisecond, Retry: true, Pace: quick,
		Fault: func(at string) {
			if file := os.Getenv("TOUCH"); file != "" && at == "begun soak" {
				_ = os.WriteFile(file, nil, 0o644) // without it nothing fails, and the test does
			}
			if at == point {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // it has not arrived yet
			}
		},
	}
	if url := os.Getenv("PROBE"); url != "" {
		o.Probes = []string{url}
	}
	if limit, err := time.ParseDuration(os.Getenv("DRAIN")); err == nil {
		o.DrainTimeout = limit
	}
	_, err := upgrade.Run(context.Background(), o)
	fmt.Fprintln(os.Stderr, "was not killed:", err)
	return 1
}

// killedAt runs an upgrade in a process of its own that is killed at point.
func (s *site) killedAt(point, probe string, env ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), operatorVariable+"="+point, "PIDFILE="+s.PIDFile(), "TO="+s.new, "PROBE="+probe)
	cmd.Env = append(cmd.Env, env...)
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		s.t.Fatalf("the command killed at %q: %v\n%s", point, err, out.String())
	}
}

// wantInterrupted checks that status tells what happened and how to go on.
func (s *site) wantInterrupted() {
	s.t.Helper()
	st := s.look()
	if st.Upgrade == nil || st.Upgrade.Operator != 0 || st.Upgrade.To != s.new {
		s.t.Errorf("status tells of %+v, want an interrupted upgrade to %s", st.Upgrade, s.new)
	}
	for i, want := range []string{"baton upgrade --resume ", "baton rollback "} {
		if len(st.Next) != 2 || !strings.HasPrefix(st.Next[i].Command, want) {
			s.t.Errorf("status offers %q, want %q", st.Next, want)
		}
	}
}

// wantVersion checks that one version serves alone, that its file is in place, and
// that the journal says how the last upgrade ended.
func (s *site) wantVersion(want string, ended upgrade.Outcome) {
	s.t.Helper()
	s.WaitShape(oneMaster)
	g := s.waitPhase(upgrade.Serving).Generations[0]
	if !strings.HasPrefix(g.Version, want) || g.File != "same" {
		s.t.Errorf("generation = %+v, want %s and its own file", g, want)
	}
	past, err := upgrade.History(s.PIDFile())
	if err != nil || len(past) == 0 || past[len(past)-1].Outcome != ended {
		s.t.Errorf("history = %v, %v; want the last one %s", past, err, ended)
	}
	if a := s.Get("/"); a.Status != 200 {
		s.t.Errorf("answer %d, want 200", a.Status)
	}
}

func (s *site) takeOver(how func(context.Context, upgrade.Options) (upgrade.Outcome, error)) (upgrade.Outcome, error) {
	s.t.Helper()
	return how(s.t.Context(), upgrade.Options{
		PidFile: s.PIDFile(), ReadyTimeout: 20 * time.Second, DrainTimeout: 20 * time.Second, Pace: quick,
		Tell: func(e upgrade.Event) {
			if e.Event != "progress" {
				s.t.Logf("%s %s %s%s", e.Event, e.Step, e.Text, e.Error)
			}
		},
	})
}

// Killed at any point, an upgrade is explained by status, and resume and rollback both
// bring it to a good end.
func TestCommandIsKilled(t *testing.T) {
	t.Parallel()
	points := []string{"backed up", "USR2", "WINCH", "QUIT", "did commit"}
	for _, step := range []string{"replace", "switch", "probe", "retire", "soak", "commit"} {
		points = append(points, "begun "+step)
	}
	for _, point := range points {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/back=%v", point, back), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, kinds()[1])
				old := s.start("./nginx")
				was := inode(t, s.Binary())
				s.killedAt(point, "")
				s.wantInterrupted()
				if !back {
					if outcome, err := s.takeOver(upgrade.Resume); outcome != upgrade.Done || err != nil {
						t.Errorf("resume: %s, %v", outcome, err)
					}
					s.wantVersion("baton/"+newVersion, upgrade.Done)
					s.stop()
					return
				}
				if outcome, err := s.takeOver(upgrade.Rollback); outcome != upgrade.Done || err != nil {
					t.Errorf("rollback: %s, %v", outcome, err)
				}
				if point == "QUIT" || point == "did commit" {
					// Too late for the old master: its binary was upgraded to.
					s.wantVersion("baton/"+oldVersion, upgrade.Done)
				} else {
					s.wantVersion("baton/"+oldVersion, upgrade.Failed)
					s.wantAsBefore(state{old, was})
				}
				s.stop()
			})
		}
	}
}

// With nginx as the target nobody else tidies up.
func TestCommandIsKilledOnNginx(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"did replace", "USR2", "WINCH", "did soak"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, kinds()[0])
			was := s.remember(s.start("./nginx"))
			s.killedAt(point, "")
			s.wantInterrupted()
			if outcome, err := s.takeOver(upgrade.Rollback); outcome != upgrade.Done || err != nil {
				t.Errorf("rollback: %s, %v", outcome, err)
			}
			s.wantAsBefore(was)
			s.killedAt(point, "")
			if outcome, err := s.takeOver(upgrade.Resume); outcome != upgrade.Done || err != nil {
				t.Errorf("resume: %s, %v", outcome, err)
			}
			s.wantVersion("nginx/", upgrade.Done)
			if s.Pid() == was.master {
				t.Error("the old master serves after resume")
			}
			s.stop()
		})
	}
}

// Killed after an old master was told to go that has a request left, it is too late for
// the one, and soon enough for an upgrade to its binary.
func TestCommandIsKilledWhileTheOldMasterStays(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[0])
	old := s.start("./nginx")
	c := s.open("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
	s.WaitFor("the connection", func() bool { return s.look().Generations[0].Connections == 1 })
	s.killedAt("QUIT", "", "DRAIN=100ms")
	s.waitPhase(upgrade.Committed)
	outcome, err := upgrade.Rollback(t.Context(), upgrade.Options{PidFile: s.PIDFile(), DrainTimeout: 300 * time.Millisecond})
	if upgrade.ExitStatus(outcome, err) != 4 || !strings.Contains(err.Error(), "which cannot come back") {
		t.Errorf("rollback meanwhile: %s, %v; want exit status 4, and why", outcome, err)
	}
	s.Sh(fmt.Sprintf("kill -TERM %d", old)) // as it says
	c.Close()
	if outcome, err := s.takeOver(upgrade.Rollback); outcome != upgrade.Done || err != nil {
		t.Errorf("rollback after it: %s, %v", outcome, err)
	}
	s.wantVersion("nginx/", upgrade.Done)
	s.stop()
}

// Killed on its way back, it goes on back, whatever it is asked for.
func TestCommandIsKilledOnItsWayBack(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"begun restore", "did restore", "begun end", "did end", "begun verify", "did verify"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, kinds()[1])
			c := testbed.Conf{User: testbed.PackageUser(), Server: "location = /probe { return 200; }"}
			s.Configure(c)
			was := s.remember(s.start("./nginx"))
			c.Server = "location = /probe { return 503; }"
			s.Configure(c)
			s.killedAt(point, "http://"+s.Addr+"/probe")
			s.wantInterrupted()
			how, want := upgrade.Resume, upgrade.Failed
			if strings.HasPrefix(point, "did") {
				how, want = upgrade.Rollback, upgrade.Done
			}
			if outcome, err := s.takeOver(how); outcome != want {
				t.Errorf("%s, %v; want %s", outcome, err, want)
			}
			s.wantVersion("baton/"+oldVersion, upgrade.Failed)
			s.wantAsBefore(was)
			s.stop()
		})
	}
}

// Killed while it has the old workers start again, or just before or after.
func TestCommandIsKilledInRevive(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"did restore", "begun revive", "HUP", "did revive"} {
		for _, k := range kinds() {
			t.Run(point+"/"+k.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, k)
				s.Configure(testbed.Conf{User: testbed.PackageUser(),
					Server: "location = /probe { if (-f $document_root/broken) { return 503; } return 200; }"})
				was := s.remember(s.start("./nginx"))
				s.killedAt(point, "http://"+s.Addr+"/probe", "TOUCH="+s.Path("html", "broken"))
				s.wantInterrupted()
				s.Sh("rm html/broken") // verify asks the old version the same
				if outcome, err := s.takeOver(upgrade.Rollback); outcome != upgrade.Done || err != nil {
					t.Errorf("rollback: %s, %v", outcome, err)
				}
				s.wantVersion(k.versions[0], upgrade.Failed)
				s.wantAsBefore(was)
				s.stop()
			})
		}
	}
}

// What was begun by hand is brought to an end, either way, by the verbs.
func TestUpgradeByHandIsTakenOver(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		old := s.start("./nginx")
		byHand := func() {
			if err := s.Install(s.new); err != nil {
				t.Fatal(err)
			}
			s.Sh("kill -USR2 $(cat $P/logs/nginx.pid)")
			s.do(s.waitPhase(upgrade.Both), "kill -WINCH")
			s.waitPhase(upgrade.Soaking)
		}
		byHand()
		if outcome, err := s.takeOver(upgrade.Rollback); outcome != upgrade.Done || err != nil {
			t.Errorf("rollback: %s, %v", outcome, err)
		}
		s.WaitShape(oneMaster)
		if s.Pid() != old {
			t.Errorf("master %d, want %d", s.Pid(), old)
		}
		if out := s.Sh("cmp sbin/nginx /proc/$(cat logs/nginx.pid)/exe && echo same"); out != "same" {
			t.Errorf("the file is not what runs: %s", out)
		}
		byHand()
		if outcome, err := s.takeOver(upgrade.Finish); outcome != upgrade.Done || err != nil {
			t.Errorf("commit: %s, %v", outcome, err)
		}
		s.wantVersion(s.kind.versions[1], upgrade.Done)
		s.stop()
	})
}

// Back after a commit, back again is nothing, and forth again works.
func TestBackAndForth(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.start("./nginx")
		if _, err := s.takeOver(upgrade.Rollback); !errors.Is(err, upgrade.ErrNothingToDo) {
			t.Errorf("rollback of nothing: %v", err)
		}
		for range 2 {
			if outcome, err := s.upgrade(s.new, nil); outcome != upgrade.Done || err != nil {
				t.Fatalf("upgrade: %s, %v", outcome, err)
			}
			s.wantVersion(s.kind.versions[1], upgrade.Done)
			if outcome, err := s.takeOver(upgrade.Rollback); outcome != upgrade.Done || err != nil {
				t.Fatalf("rollback: %s, %v", outcome, err)
			}
			s.wantVersion(s.kind.versions[0], upgrade.Done)
		}
		s.stop()
	})
}
