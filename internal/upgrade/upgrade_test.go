package upgrade_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/upgrade"
)

// quick is for servers that do not crash.
var quick = upgrade.Pace{Settle: 100 * time.Millisecond}

// upgrade runs an upgrade to the binary at to, or as o says.
func (s *site) upgrade(to string, change func(o *upgrade.Options)) (upgrade.Outcome, error) {
	s.t.Helper()
	o := upgrade.Options{
		PidFile: s.PIDFile(), To: to, Retry: true,
		ReadyTimeout: 20 * time.Second, DrainTimeout: 20 * time.Second, Pace: quick,
		Tell: func(e upgrade.Event) {
			if e.Event != "progress" {
				s.t.Logf("%s %s %s%s", e.Event, e.Step, e.Text, e.Error)
			}
		},
	}
	if change != nil {
		change(&o)
	}
	return upgrade.Run(s.t.Context(), o)
}

// inode names a file whatever it is called.
func inode(t *testing.T, path string) uint64 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Ino
}

const oneMaster = `
	nginx: master process
	  nginx: worker process
	  nginx: worker process`

// A state is what a failed upgrade must leave as it was.
type state struct {
	master int
	binary uint64
}

func (s *site) remember(master int) state { return state{master, inode(s.t, s.Binary())} }

// wantAsBefore checks that the old version serves, and that binary and pid file are
// the old ones.
func (s *site) wantAsBefore(was state) {
	s.t.Helper()
	s.WaitShape(oneMaster)
	if pid := s.Pid(); pid != was.master {
		s.t.Errorf("pid file names %d, want %d", pid, was.master)
	}
	if got := inode(s.t, s.Binary()); got != was.binary {
		s.t.Errorf("%s is another file now", s.Binary())
	}
	left, _ := filepath.Glob(s.Path("sbin", ".*"))
	more, _ := filepath.Glob(s.Path("sbin", "*.new"))
	if left = append(left, more...); len(left) > 0 {
		s.t.Errorf("left behind: %q", left)
	}
	if a := s.Get("/"); a.Status != 200 || s.Process(a.PID).PPID != was.master {
		s.t.Errorf("answer %d from process %d, want 200 from a worker of %d", a.Status, a.PID, was.master)
	}
}

func (s *site) stop() {
	s.t.Helper()
	s.Sh("kill -TERM $(cat $P/logs/nginx.pid)")
	s.WaitShape("")
}

func TestUpgradeUnderLoad(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		old := s.start("./nginx")
		was := inode(t, s.Binary())
		groups := []load.Group{{Name: "new", Clients: 4, MinPause: time.Millisecond, MaxPause: 10 * time.Millisecond}}
		if s.kind.name == "baton" { // nginx cuts kept connections
			groups = append(groups, load.Group{Name: "kept", Clients: 4, KeepAlive: true, Blind: true, MaxPause: 10 * time.Millisecond})
		}
		l := s.Load(groups...)
		s.WaitAnswers(l, 50)
		outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
			o.Probes, o.Soak = []string{"http://" + s.Addr + "/"}, time.Second
		})
		if outcome != upgrade.Done || err != nil {
			t.Fatalf("upgrade: %s, %v", outcome, err)
		}
		s.WaitAnswers(l, 50)
		for _, got := range l.Stop().Groups {
			if got.Failed() != 0 || got.Check() != nil || got.Name == "kept" && got.Noticed() != 0 {
				t.Errorf("%s connections failed:\n%v%v", got.Name, l.Report(), l.Report().Trouble())
			}
		}
		st := s.waitPhase(upgrade.Serving)
		g := st.Generations[0]
		if g.Master == old || !strings.HasPrefix(g.Version, s.kind.versions[1]) || g.File != "same" {
			t.Errorf("generation = %+v, want a new one of %s", g, s.kind.versions[1])
		}
		backups, _ := filepath.Glob(s.Binary() + ".*")
		if len(backups) != 1 || inode(t, backups[0]) != was {
			t.Errorf("backups = %q, want one, the old file", backups)
		}
		s.stop()
	})
}

// A new binary that is broken in whatever way leaves all as it was, and the cause is
// told.
func TestBrokenNewBinary(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		to   func(s *site) string
		want string // in the error
		late bool   // it is told by a time-out
	}{
		{"missing", func(s *site) string { return s.Path("none") }, "no such file", false},
		{"not executable", func(s *site) string { return testbed.NotExecutable(s.t, s.new) }, "is not executable: chmod +x it", false},
		{"of another architecture", func(s *site) string { return testbed.WrongArchitecture(s.t) }, "is for another machine", false},
		{"no server", func(*site) string { return "/bin/true" }, "no version in what it says", false},
		{"exits at once", func(s *site) string { return testbed.Pretender(s.t, s.new, testbed.ExitsAtOnce) },
			"did not come to serve and is gone", false},
		{"exits when it looks ready", func(s *site) string {
			return testbed.Pretender(s.t, s.new, testbed.ExitsWhenReady, s.PIDFile())
		}, "did not come to serve and is gone", false},
		{"never ready", func(s *site) string { return testbed.Pretender(s.t, s.new, testbed.NeverReady) },
			"not within 2s: the new master", true},
		{"never ready nor gone", func(s *site) string { return testbed.Pretender(s.t, s.new, testbed.NeverReadyNorGone) },
			"not within 2s: the new master", true},
		{"workers crash", func(s *site) string { return testbed.Pretender(s.t, s.new, testbed.LosesWorkers, s.PIDFile()) },
			"workers of the new master", false},
	} {
		for _, k := range kinds() {
			t.Run(tc.name+"/"+k.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, k)
				was := s.remember(s.start("$P/sbin/nginx"))
				outcome, err := s.upgrade(tc.to(s), func(o *upgrade.Options) {
					o.Pace.Settle = 10 * time.Second // none of them shall seem to live
					if tc.late {
						o.ReadyTimeout, o.Pace.Obey = 2*time.Second, 2*time.Second
					}
				})
				if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("upgrade: %s, %v; want failed, and %q", outcome, err, tc.want)
				}
				s.wantAsBefore(was)
				s.stop()
			})
		}
	}
}

// What the new generation reads from disk differs from what the old one has: each
// way that shows is a way back.
func TestNewGenerationFails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		conf testbed.Conf // on disk when the upgrade begins
		// other: the configuration listens somewhere else.
		other bool
		only  string // kind of server; "" means each
		soak  time.Duration
		at    func(s *site, e upgrade.Event) // called with each event
		want  string
	}{
		{name: "configuration", conf: testbed.Conf{Main: "nonsense;"}, want: `unknown directive "nonsense"`},
		{name: "probe", conf: testbed.Conf{Server: "location = /probe { return 503; }"}, soak: time.Second,
			want: "/probe: answered with status 503"},
		{name: "probe in the soak", conf: testbed.Conf{Server: "location = /probe { if (-f $document_root/broken) { return 503; } return 200; }"},
			soak: 10 * time.Second, want: "soak: probe http",
			at: func(s *site, e upgrade.Event) {
				if e.Event == "begin" && e.Step == upgrade.Soak {
					s.Sh("touch $P/html/broken")
				}
			}},
		{name: "more 5xx in the soak", conf: testbed.Conf{Server: "location = /probe { return 500; }"}, soak: 10 * time.Second,
			want: "in the soak are 5xx, and 0% were before", at: func(s *site, e upgrade.Event) {
				if e.Event == "progress" && e.Step == upgrade.Soak && e.Count == 0 { // it has begun to look
					for range 40 {
						s.Get("/probe")
					}
				}
			}},
		{name: "a worker in the soak", soak: 10 * time.Second, want: "of the new master",
			at: func(s *site, e upgrade.Event) {
				if e.Event == "begin" && e.Step == upgrade.Soak {
					s.Sh(fmt.Sprintf("kill -9 %d", s.Workers(s.Pid())[0].PID))
				}
			}},
		{name: "new master in the soak", soak: 10 * time.Second, want: "the new master",
			at: func(s *site, e upgrade.Event) {
				if e.Event == "begin" && e.Step == upgrade.Soak {
					s.Sh("kill -TERM $(cat $P/logs/nginx.pid)")
				}
			}},
		{name: "more 5xx, not logged", conf: testbed.Conf{Server: "access_log off; location = /probe { return 500; }"}, soak: 10 * time.Second,
			only: "baton", want: "in the soak are 5xx, and 0% were before", at: func(s *site, e upgrade.Event) {
				if e.Event == "progress" && e.Step == upgrade.Soak && e.Count == 0 {
					for range 40 {
						s.Get("/probe")
					}
				}
			}},
		{name: "hung master in the soak", soak: 20 * time.Second, only: "baton", want: "it hangs", at: stopsAt(upgrade.Soak, false)},
		{name: "probe of hung workers", conf: testbed.Conf{Server: "location = /probe { return 200; }"}, soak: 20 * time.Second, want: "retire: ", at: stopsAt(upgrade.Retire, true)},
		{name: "lost socket", other: true, want: "does not have the old socket of 127.0.0.1:"},
	} {
		for _, k := range kinds() {
			if tc.only != "" && k.name != tc.only {
				continue
			}
			t.Run(tc.name+"/"+k.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, k)
				c := testbed.Conf{User: testbed.PackageUser(), Server: "location = /probe { return 200; }"}
				s.Configure(c)
				was := s.remember(s.start("$P/sbin/nginx"))
				conf := tc.conf
				conf.User = c.User
				if tc.other {
					conf.Listen = []string{s.TakePort().Addr()}
				}
				s.Configure(conf)
				outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
					o.Soak, o.Pace.Obey = tc.soak, 4*time.Second
					if strings.HasPrefix(tc.name, "probe") {
						o.Probes = []string{"http://" + s.Addr + "/probe"}
					}
					tell := o.Tell
					o.Tell = func(e upgrade.Event) {
						tell(e)
						if tc.at != nil {
							tc.at(s, e)
						}
					}
				})
				if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("upgrade: %s, %v; want failed, and %q", outcome, err, tc.want)
				}
				s.wantAsBefore(was)
				s.stop()
			})
		}
	}
}

// stopsAt makes the new master hang when a step begins, and its workers if they too.
func stopsAt(step upgrade.Step, workers bool) func(s *site, e upgrade.Event) {
	return func(s *site, e upgrade.Event) {
		if e.Event != "begin" || e.Step != step {
			return
		}
		master := s.Pid()
		s.Signal(master, syscall.SIGSTOP)
		for _, w := range s.Workers(master) {
			if workers {
				s.Signal(w.PID, syscall.SIGSTOP)
			}
		}
	}
}

// What the new version answers is seen before the old one is gone for good, also
// without a soak, and when all answers before came from the old workers.
func TestProbesReachTheNewVersion(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run("binary/"+k.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, k)
			was := s.remember(s.start("./nginx"))
			outcome, err := s.upgrade(testbed.Pretender(t, s.new, testbed.AnswersErrors, s.PIDFile()), func(o *upgrade.Options) {
				o.Probes = []string{"http://" + s.Addr + "/"}
			})
			if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), "answered with status 500") {
				t.Errorf("upgrade: %s, %v; want failed, and status 500", outcome, err)
			}
			s.wantAsBefore(was)
			s.stop()
		})
		t.Run("late/"+k.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, k)
			c := testbed.Conf{User: testbed.PackageUser(), Server: "location = /probe { return 200; }"}
			s.Configure(c)
			was := s.remember(s.start("./nginx"))
			c.Server = "location = /probe { if (-f $document_root/broken) { return 500; } return 200; }"
			s.Configure(c)
			outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
				o.Probes = []string{"http://" + s.Addr + "/probe"}
				o.Tell = func(e upgrade.Event) {
					if e.Event == "begin" && e.Step == upgrade.Retire {
						s.Sh("touch $P/html/broken")
					}
				}
			})
			if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), "retire: probe http") {
				t.Errorf("upgrade: %s, %v; want failed by a probe in retire", outcome, err)
			}
			s.wantAsBefore(was)
			s.stop()
		})
	}
}

// A build that has another configuration built in is not for this server.
func TestAnotherConfigurationIsBuiltIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[1])
	s.Sh("$P/sbin/nginx") // it takes what is beside it
	s.WaitShape(oneMaster)
	was := s.remember(s.Pid())
	outcome, err := s.upgrade(nginxPath(t), func(o *upgrade.Options) { o.AllowMissingModules = true })
	if want := "and the running one has read " + s.Path("conf", "nginx.conf"); outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("upgrade: %s, %v; want failed, and %q", outcome, err, want)
	}
	s.wantAsBefore(was)
	s.stop()
}

// Modules that the new binary lacks are named and refused, unless that is accepted.
func TestMissingModules(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[0])
	was := s.remember(s.start("./nginx"))
	baton := testbed.PlainFor(t, newVersion)
	outcome, err := s.upgrade(baton, nil)
	if outcome != upgrade.Failed || err == nil || !regexp.MustCompile(`the new binary lacks .*http_\w+_module.*, which the running one has`).MatchString(err.Error()) {
		t.Errorf("upgrade: %s, %v; want it refused", outcome, err)
	}
	s.wantAsBefore(was)
	if outcome, err := s.upgrade(baton, func(o *upgrade.Options) { o.AllowMissingModules = true }); outcome != upgrade.Done || err != nil {
		t.Errorf("upgrade that may lack modules: %s, %v", outcome, err)
	}
	s.wantVersion("baton/"+newVersion, upgrade.Done)
	s.stop()
}

// While one upgrade is under way another one is refused, and touches nothing.
func TestTwoOperators(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[1])
	s.start("$P/sbin/nginx")
	var second error
	var status int
	outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
		o.Tell = func(e upgrade.Event) {
			if e.Event == "begin" && e.Step == upgrade.Probe {
				var out upgrade.Outcome
				out, second = s.upgrade(s.new, nil)
				status = upgrade.ExitStatus(out, second)
			}
		}
	})
	if outcome != upgrade.Done || err != nil {
		t.Errorf("first upgrade: %s, %v", outcome, err)
	}
	if status != 4 || second == nil {
		t.Errorf("second upgrade: status %d, %v; want 4", status, second)
	}
	s.stop()
}

// A build that failed is refused until somebody insists; one that went well is not.
func TestFailedBuildIsRemembered(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[0])
	was := s.remember(s.start("$P/sbin/nginx"))
	bad := testbed.Pretender(t, s.new, testbed.ExitsAtOnce)
	noRetry := func(o *upgrade.Options) { o.Retry = false }
	if _, err := s.upgrade(bad, noRetry); err == nil || strings.Contains(err.Error(), "--retry") {
		t.Errorf("first: %v, want a failure that is new", err)
	}
	if _, err := s.upgrade(bad, noRetry); err == nil || !strings.Contains(err.Error(), "this build failed here on") {
		t.Errorf("second: %v, want it refused", err)
	}
	if _, err := s.upgrade(bad, nil); err == nil || strings.Contains(err.Error(), "this build failed here") {
		t.Errorf("with retry: %v, want it tried", err)
	}
	s.wantAsBefore(was)
	if _, err := s.upgrade(s.new, noRetry); err != nil {
		t.Errorf("a good one after it: %v", err)
	}
	s.stop()
}

// Owner, mode and capabilities stay, and what is executed is never written to.
func TestReplacedFileKeepsItsAttributes(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[1])
	s.Sh("chmod 0750 sbin/nginx")
	if os.Geteuid() == 0 { // only root may give files away
		s.Sh("chown 0:65534 sbin/nginx && setcap cap_net_bind_service=ep sbin/nginx")
	}
	const attributes = "stat -c '%u:%g %a' sbin/nginx; getcap sbin/nginx"
	want := s.Sh(attributes)
	s.start("$P/sbin/nginx")
	if outcome, err := s.upgrade(s.new, nil); outcome != upgrade.Done || err != nil {
		t.Fatalf("upgrade: %s, %v", outcome, err)
	}
	if got := s.Sh(attributes); got != want {
		t.Errorf("the new file has %q, want %q", got, want)
	}
	// A package that put another file there took them away.
	s.Setenv("OLD", s.kind.old(t))
	s.Sh("cp $OLD sbin/package && chmod 0755 sbin/package && mv sbin/package sbin/nginx")
	if outcome, err := s.upgrade(s.Binary(), nil); outcome != upgrade.Done || err != nil {
		t.Fatalf("upgrade to what a package has put there: %s, %v", outcome, err)
	}
	if got := s.Sh(attributes); got != want {
		t.Errorf("the file of the package has %q, want %q", got, want)
	}
	s.stop()
}

// The binary lies behind a link, as packages and releases have it.
func TestBinaryBehindALink(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.Sh("mkdir -p releases/1 && mv sbin/nginx releases/1/server && ln -s releases/1 current && ln -s ../current/server sbin/nginx")
		s.start("$P/sbin/nginx")
		var notes []string
		outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
			o.Tell = func(e upgrade.Event) {
				if e.Event == "note" {
					notes = append(notes, e.Text)
				}
			}
		})
		if outcome != upgrade.Done || err != nil {
			t.Fatalf("upgrade: %s, %v", outcome, err)
		}
		if want := s.Path("sbin/nginx") + " leads to " + s.Path("releases/1/server"); !slices.ContainsFunc(notes, func(n string) bool {
			return strings.HasPrefix(n, want)
		}) {
			t.Errorf("notes = %q, want %q", notes, want)
		}
		if to := s.Sh("readlink sbin/nginx current"); to != "../current/server\nreleases/1" {
			t.Errorf("links lead to %q now", to)
		}
		s.stop()
	})
}

// The configuration names the pid file, and the journal lies beside it.
func TestPidFileElsewhere(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, k)
			s.Setenv("BATON", testbed.PlainFor(t, newVersion))
			s.Setenv("NEW", s.new)
			s.Sh(`mkdir run && sed -i 's,pid logs/nginx.pid;,pid run/server.pid;,' conf/nginx.conf`)
			s.Sh("cd sbin && ./nginx -p $P -c $P/conf/nginx.conf -e $P/logs/error.log")
			s.WaitShape(oneMaster)
			s.wantVerb("$BATON upgrade --prefix $P --to $NEW --soak 0", 0, `commit   the old master \d+ is gone`, "^$")
			s.wantVerb("$BATON status --pid-file run/server.pid", 0, `^phase   serving\npid     /\S+/run/server.pid\n`, "^$")
			s.wantVerb("$BATON history --pid-file run/server.pid", 0, ` done after `, "^$")
			s.wantVerb("$BATON rollback --prefix $P", 0, `commit   the old master \d+ is gone`, "^$")
			s.Sh("kill -TERM $(cat run/server.pid)")
			s.WaitShape("")
		})
	}
}

// wantVerb runs a command and checks its exit status and what it writes.
func (s *site) wantVerb(command string, status int, stdout, stderr string) {
	s.t.Helper()
	r := s.TrySh(command)
	if r.Status != status {
		s.t.Errorf("%s: status %d, want %d", command, r.Status, status)
	}
	for _, w := range []struct{ name, got, want string }{{"stdout", r.Stdout, stdout}, {"stderr", r.Stderr, stderr}} {
		if got := strings.TrimRight(w.got, "\n"); !regexp.MustCompile(w.want).MatchString(got) {
			s.t.Errorf("%s: %s is\n%s\nwant it to match\n%s", command, w.name, got, w.want)
		}
	}
}

// An old worker of nginx that has a request left keeps nothing waiting for longer than
// it is told to wait, and finishes that request.
func TestOldWorkerThatStays(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[0])
	old := s.start("./nginx")
	c := s.open("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
	s.WaitFor("the connection", func() bool { return s.look().Generations[0].Connections == 1 })
	var said []string
	outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
		o.DrainTimeout = 300 * time.Millisecond
		o.Tell = func(e upgrade.Event) { said = append(said, e.Text) }
	})
	if outcome != upgrade.Done || err != nil {
		t.Fatalf("upgrade: %s, %v", outcome, err)
	}
	for _, want := range []string{
		"only the new workers take connections; old ones still have 1 and go on",
		fmt.Sprintf("the old master %d goes when its last connections end; kill -TERM %d ends them", old, old),
	} {
		if !slices.Contains(said, want) {
			t.Errorf("it said %q, want %q", said, want)
		}
	}
	if outcome, err := s.upgrade(s.new, nil); upgrade.ExitStatus(outcome, err) != 4 {
		t.Errorf("an upgrade meanwhile: %s, %v; want exit status 4", outcome, err)
	}
	// It was told to go and cannot come back.
	if st := s.waitPhase(upgrade.Committed); !strings.HasPrefix(st.Next[0].Command, "baton rollback ") || st.Next[1].Command != fmt.Sprint("kill -TERM ", old) {
		t.Errorf("status offers %q", st.Next)
	}
	if outcome, err := s.takeOver(upgrade.Finish); upgrade.ExitStatus(outcome, err) != 1 || !errors.Is(err, upgrade.ErrNothingToDo) {
		t.Errorf("commit meanwhile: %s, %v; want nothing to do", outcome, err)
	}
	outcome, err = upgrade.Rollback(t.Context(), upgrade.Options{PidFile: s.PIDFile(), DrainTimeout: 300 * time.Millisecond})
	if upgrade.ExitStatus(outcome, err) != 4 || !strings.Contains(err.Error(), "which cannot come back") {
		t.Errorf("rollback meanwhile: %s, %v; want exit status 4, and why", outcome, err)
	}
	if _, err := c.Write([]byte("\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("the request that was left was answered by %q, %v", answer, err)
	}
	s.WaitShape(oneMaster)
	if s.Pid() == old {
		t.Error("the old master serves")
	}
	if outcome, err := s.takeOver(upgrade.Rollback); outcome != upgrade.Done || err != nil {
		t.Errorf("rollback after it: %s, %v", outcome, err)
	}
	s.wantVersion("nginx/", upgrade.Done)
	s.stop()
}

func TestTenUpgradesInARow(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.start("./nginx")
		binaries := []string{s.new, s.kind.old(t)}
		for i := range 10 {
			if outcome, err := s.upgrade(binaries[i%2], nil); outcome != upgrade.Done || err != nil {
				t.Fatalf("upgrade %d: %s, %v", i+1, outcome, err)
			}
		}
		s.wantVersion(s.kind.versions[0], upgrade.Done)
		s.stop()
	})
}

// After a roll-back by hand the file is a copy of what runs: nobody's, to be kept or told of.
func TestUpgradeAfterRollBackByHand(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.start("$P/sbin/nginx")
		s.Sh("cp -p $P/sbin/nginx $P/sbin/copy && mv $P/sbin/copy $P/sbin/nginx")
		outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
			tell := o.Tell
			o.Tell = func(e upgrade.Event) {
				tell(e)
				if strings.Contains(e.Text, "is not what runs") {
					t.Errorf("told: %s", e.Text)
				}
			}
		})
		if outcome != upgrade.Done || err != nil {
			t.Errorf("upgrade: %s, %v", outcome, err)
		}
		files, err := os.ReadDir(filepath.Dir(s.Binary()))
		if err != nil || len(files) != 2 {
			t.Errorf("beside the binary are %v, %v; want it and the old one", files, err)
		}
		s.stop()
	})
}
