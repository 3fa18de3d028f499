package upgrade_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
	"github.com/baton-deploy/baton/internal/upgrade"
)

const (
	oldVersion = "1.0.0"
	newVersion = "2.0.0"
)

// nginxPath returns the system's nginx.
func nginxPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("these tests need nginx (apt-get install nginx)")
	return ""
}

// anotherNginx returns another build of the same nginx.
func anotherNginx(t *testing.T) string { return testbed.AnotherBuild(t, nginxPath(t)) }

// A kind is a server, before and after an upgrade.
type kind struct {
	name     string
	old, new func(t *testing.T) string
	versions [2]string // beginnings of what status calls them
}

func kinds() []kind {
	// Without the race detector: what is tested is the operator, and that runs here.
	baton := func(version string) func(*testing.T) string {
		return func(t *testing.T) string { return testbed.PlainFor(t, version) }
	}
	return []kind{
		{"nginx", nginxPath, anotherNginx, [2]string{"nginx/1.", "nginx/1."}},
		{"baton", baton(oldVersion), baton(newVersion), [2]string{"baton/1.0.0", "baton/2.0.0"}},
	}
}

// A site is a server of one kind and what is looked at.
type site struct {
	*testbed.Site
	t    *testing.T
	kind kind
	new  string // path of the new binary
}

func newSite(t *testing.T, k kind) *site {
	t.Helper()
	s := &site{Site: testbed.NewSite(t, k.old(t)), t: t, kind: k, new: k.new(t)}
	s.Configure(testbed.Conf{User: testbed.PackageUser()})
	return s
}

// eachKind runs f on a site of each kind, all at the same time.
func eachKind(t *testing.T, f func(t *testing.T, s *site)) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			f(t, newSite(t, k))
		})
	}
}

// start starts the server by argv0, from the folder of its binary.
func (s *site) start(argv0 string) (master int) {
	s.t.Helper()
	s.Sh(fmt.Sprintf("cd $P/sbin && %s -p $P -c $P/conf/nginx.conf -e $P/logs/error.log", argv0))
	s.WaitFor("workers", func() bool { return len(s.Workers(s.Pid())) == 2 })
	return s.Pid()
}

func (s *site) look() *upgrade.Status {
	s.t.Helper()
	st, err := upgrade.Look(s.t.Context(), s.PIDFile())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// waitPhase waits until status tells phase, and returns that status.
func (s *site) waitPhase(phase upgrade.Phase) *upgrade.Status {
	s.t.Helper()
	var st *upgrade.Status
	s.WaitFor(fmt.Sprintf("phase %q", phase), func() bool {
		st = s.look()
		return st.Phase == phase
	})
	return st
}

// do types the command of st whose text begins with want.
func (s *site) do(st *upgrade.Status, want string) {
	s.t.Helper()
	i := slices.IndexFunc(st.Next, func(c upgrade.Command) bool { return strings.HasPrefix(c.Command, want) })
	if i < 0 {
		s.t.Fatalf("status offers %q, and no %s", st.Next, want)
	}
	s.Sh(st.Next[i].Command)
}

// Whoever types what status offers gets through an upgrade, back, and through
// again, and status tells at each stage what is so.
func TestStatusLeadsThroughAnUpgrade(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		old := s.start("./nginx")
		st := s.waitPhase(upgrade.Serving)
		g := st.Generations[0]
		if g.Master != old || !strings.HasPrefix(g.Version, s.kind.versions[0]) || len(g.Workers) != 2 || g.File != "same" {
			t.Errorf("generation = %+v, want master %d, %s, two workers, the file as it is", g, old, s.kind.versions[0])
		}
		if want := s.Binary(); g.Binary != want {
			t.Errorf("binary = %q, want %q, which ./nginx is where it was started", g.Binary, want)
		}

		// Who goes back by hand copies the old binary back.
		s.Sh("cp -p $P/sbin/nginx $P/sbin/copy && mv $P/sbin/copy $P/sbin/nginx")
		if st = s.waitPhase(upgrade.Serving); st.Generations[0].File != "same" {
			t.Errorf("generation = %+v, want the same file: it is a copy of what runs", st.Generations[0])
		}

		if s.kind.name == "nginx" {
			s.new = anotherNginx(t)
		}
		if err := s.Install(s.new); err != nil {
			t.Fatal(err)
		}
		st = s.waitPhase(upgrade.Serving)
		if st.Generations[0].File != "replaced" || !strings.HasPrefix(st.Generations[0].Version, s.kind.versions[0]) {
			t.Errorf("generation = %+v, want the old version and its file replaced", st.Generations[0])
		}
		s.do(st, "kill -USR2")
		st = s.waitPhase(upgrade.Both)
		if st.Generations[0].Master != old || st.Generations[1].File != "same" ||
			!strings.HasPrefix(st.Generations[1].Version, s.kind.versions[1]) {
			t.Errorf("generations = %+v, want %d first and then %s", st.Generations, old, s.kind.versions[1])
		}
		s.do(st, "kill -WINCH")
		st = s.waitPhase(upgrade.Soaking)
		s.do(st, "kill -HUP")
		st = s.waitPhase(upgrade.Both)
		s.do(st, "kill -QUIT")
		st = s.waitPhase(upgrade.Serving)
		if st.Generations[0].Master != old {
			t.Errorf("master = %d, want %d again", st.Generations[0].Master, old)
		}
		s.do(st, "kill -USR2")
		s.do(s.waitPhase(upgrade.Both), "kill -WINCH")
		s.do(s.waitPhase(upgrade.Soaking), "kill -QUIT")
		st = s.waitPhase(upgrade.Serving)
		if !strings.HasPrefix(st.Generations[0].Version, s.kind.versions[1]) {
			t.Errorf("version = %q, want %s", st.Generations[0].Version, s.kind.versions[1])
		}
		s.stop()
	})
}

// An open connection keeps an old worker of nginx alive; status tells where it is.
func TestStatusCountsConnections(t *testing.T) {
	eachKind(t, func(_ *testing.T, s *site) {
		s.start("$P/sbin/nginx")
		c := s.open("GET / HT") // a request that has begun
		s.WaitFor("one connection in status", func() bool { return s.look().Generations[0].Connections == 1 })
		c.Close()
		s.WaitFor("no connection in status", func() bool { return s.look().Generations[0].Connections == 0 })
		s.stop()
	})
}

func TestStatusOfNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "there is no pid file"},
		{file("empty", ""), "invalid PID number"},
		{file("dead", "4194303\n"), "names process 4194303, which does not exist"},
		{file("stranger", fmt.Sprintln(os.Getpid())), "which is no master"},
	} {
		_, err := upgrade.Look(t.Context(), tt.path)
		if !errors.Is(err, upgrade.ErrNothingRuns) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want nothing is running and %q", filepath.Base(tt.path), err, tt.want)
		}
	}
}

// Whoever may not look into the master is told whose it is.
func TestStatusOfSomebodyElse(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 { // and cannot become somebody else: process 1 is somebody else's
		path := filepath.Join(t.TempDir(), "pid")
		if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := upgrade.Look(t.Context(), path); err == nil {
			t.Error("process 1 is taken for a master of ours")
		}
		return
	}
	s := newSite(t, kinds()[0])
	s.start("$P/sbin/nginx")
	exe := filepath.Join(s.Dir, "looker")
	if out, err := exec.Command("cp", testbed.PlainFor(t, oldVersion), exe).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, args := range [][]string{{"status"}, {"upgrade", "--to", s.new}, {"upgrade", "--to", s.new, "--dry-run"}, {"rollback"}, {"commit"}} {
		cmd := exec.CommandContext(t.Context(), exe, append(args, "--pid-file", s.PIDFile())...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = s.Dir
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "belongs to user 0 and you are user 65534; do it as that user or as root") {
			t.Errorf("%q: %v, %s, want exit status 1 and to be told whose process it is", args, err, out)
		}
	}
	s.stop()
}

// Watching tells each change, once, also that the server goes, until it is interrupted.
func TestStatusWatches(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.Setenv("BATON", testbed.PlainFor(t, newVersion))
		master := s.start("$P/sbin/nginx")
		p := s.Start("sh", "-c", "exec $BATON status --prefix $P --watch")
		j := s.Start("sh", "-c", "exec $BATON status --prefix $P --watch --json")
		s.WaitFor("the first status", func() bool {
			return strings.HasPrefix(p.Stdout(), "phase   serving\n") && strings.Contains(j.Stdout(), `"phase":"serving"`)
		})
		s.Sh(fmt.Sprintf("kill -WINCH %d", master))
		s.WaitFor("a status without workers", func() bool {
			return strings.Contains(p.Stdout(), "\n\nphase   stopped\n") && strings.Contains(j.Stdout(), `"phase":"stopped"`)
		})
		s.Sh(fmt.Sprintf("kill -TERM %d", master))
		s.WaitFor("the end", func() bool {
			return strings.Contains(p.Stdout(), "\nnothing is running there: ") && strings.Contains(j.Stdout(), `"error":"nothing is running there: `)
		})
		for _, w := range []*tree.Proc{p, j} {
			s.Signal(w.PID, syscall.SIGINT)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if status, err := w.Wait(ctx); err != nil || status.ExitStatus() != 0 {
				t.Errorf("status --watch: %v, %v; want exit status 0\n%s", status, err, w.Stderr())
			}
		}
		told := strings.Split(regexp.MustCompile(`\d+s old`).ReplaceAllString(p.Stdout(), ""), "\n\n")
		if whole := len(told); len(slices.Compact(told)) != whole {
			t.Errorf("it told the same twice:\n%s", p.Stdout())
		}
		s.WaitShape("")
	})
}

// open opens a connection to the site and sends text on it.
func (s *site) open(text string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if _, err := c.Write([]byte(text)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// While the old master gives its pid file the first name back there is always one that
// names it, and whoever looks then finds it.
func TestLookWhileThePidFileIsRenamed(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[0])
	master := s.start("./nginx")
	write := func(name string, pid int) {
		if err := os.WriteFile(name+".next", fmt.Appendln(nil, pid), 0o644); err != nil {
			t.Error(err)
		}
		if err := os.Rename(name+".next", name); err != nil {
			t.Error(err)
		}
	}
	over := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for gone := 1 << 22; ; gone++ { // no pid is as high
			write(s.PIDFile()+".oldbin", master)
			write(s.PIDFile(), gone)
			if err := os.Rename(s.PIDFile()+".oldbin", s.PIDFile()); err != nil {
				t.Error(err)
			}
			select {
			case <-over:
				return
			default:
			}
		}
	}()
	for range 100 {
		if _, err := upgrade.Look(t.Context(), s.PIDFile()); err != nil {
			t.Error(err)
			break
		}
	}
	close(over)
	<-ended
	s.stop()
}
