package testbed_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// run starts a program in a tree of its own and returns how it ended.
func run(t *testing.T, path string) (syscall.WaitStatus, *tree.Proc) {
	t.Helper()
	p := start(t, path)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	status, err := p.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return status, p
}

// start starts a program in a tree of its own; it is killed with the test.
func start(t *testing.T, path string) *tree.Proc {
	t.Helper()
	tr, err := tree.Plant()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := tr.Uproot(); err != nil {
			t.Error(err)
		}
	})
	p, err := tr.Start(tree.Command{Args: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFixturesPlayTheirRoles(t *testing.T) {
	port, err := testbed.TakePort()
	if err != nil {
		t.Fatal(err)
	}
	defer port.Release()
	if status, _ := run(t, testbed.Fixture(t, testbed.ExitsAtOnce)); status.ExitStatus() != 3 {
		t.Errorf("exits at once: status %d", status.ExitStatus())
	}
	if status, p := run(t, testbed.Fixture(t, testbed.ExitsAfterBinding, port.Addr())); status.ExitStatus() != 4 {
		t.Errorf("exits after binding: status %d: %s", status.ExitStatus(), p.Stderr())
	}
	file := t.TempDir() + "/pid"
	status, p := run(t, testbed.Fixture(t, testbed.ExitsWhenReady, file))
	if text, err := os.ReadFile(file); status.ExitStatus() != 5 || string(text) != strconv.Itoa(p.PID)+"\n" {
		t.Errorf("exits when ready: status %d, pid file %q, %v", status.ExitStatus(), text, err)
	}
}

func TestNeverReadyFixturesLiveUntilTheirSignal(t *testing.T) {
	for role, signals := range map[testbed.Role][]syscall.Signal{
		testbed.NeverReady:        {syscall.SIGTERM},
		testbed.NeverReadyNorGone: {syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGKILL},
	} {
		p := start(t, testbed.Fixture(t, role))
		waitUntilRunning(t, p)
		for _, sig := range signals {
			if err := look(t, p.PID).Signal(sig); err != nil {
				t.Errorf("%s: %v", role, err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		status, err := p.Wait(ctx)
		cancel()
		last := signals[len(signals)-1]
		if err != nil || (status.Signaled() && status.Signal() != last) || (last == syscall.SIGKILL && !status.Signaled()) {
			t.Errorf("%s: status %#x, %v; want ended by %v", role, uint32(status), err, last)
		}
	}
}

// waitUntilRunning waits until a fixture has said that its signals are set up.
func waitUntilRunning(t *testing.T, p *tree.Proc) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); p.Stdout() != "running\n"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: process %d is not running: %s", p.PID, p.Stderr())
		}
	}
}

func look(t *testing.T, pid int) tree.Process {
	t.Helper()
	p, err := tree.Look(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUnstartableFixturesCannotBeStarted(t *testing.T) {
	tr, err := tree.Plant()
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Uproot()
	for path, want := range map[string]error{
		testbed.WrongArchitecture(t):          syscall.ENOEXEC,
		testbed.NotExecutable(t, "/bin/true"): syscall.EACCES,
	} {
		_, err := tr.Start(tree.Command{Args: []string{path}})
		if err == nil || !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

func TestTakenPortIsFreeAndGivenOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port, err := testbed.TakePort()
		if err != nil {
			t.Fatal(err)
		}
		defer port.Release()
		if seen[port.Number] {
			t.Fatalf("port %d was given twice", port.Number)
		}
		seen[port.Number] = true
		ln, err := net.Listen("tcp", port.Addr())
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
}

func TestInstallReplacesABinaryThatRuns(t *testing.T) {
	p, err := testbed.NewPrefix(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Install("/bin/sleep"); err != nil {
		t.Fatal(err)
	}
	tr, err := tree.Plant()
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Uproot()
	if _, err := tr.Start(tree.Command{Args: []string{p.Binary(), "60"}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Install("/bin/true"); err != nil {
		t.Error(err)
	}
	if _, err := p.PID(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pid of a prefix where nothing runs: %v", err)
	}
}

func TestShapeDrawsProcesses(t *testing.T) {
	got := testbed.Shape(1, []tree.Process{
		{PID: 10, PPID: 1, Title: "nginx: master process /p/sbin/nginx -c x"},
		{PID: 11, PPID: 10, Title: "nginx: worker process is shutting down"},
		{PID: 12, PPID: 10, Title: "nginx: master process /p/sbin/nginx -c x"},
		{PID: 13, PPID: 12, Title: "nginx: worker process"},
		{PID: 14, PPID: 12, State: 'Z', Comm: "nginx"},
	})
	want := `nginx: master process
  nginx: worker process is shutting down
  nginx: master process
    nginx: worker process
    [nginx] <defunct>
`
	if got != want {
		t.Errorf("shape is\n%swant\n%s", got, want)
	}
}

// A recorder is a test whose failures are looked at instead of reported.
type recorder struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}
func (r *recorder) Failed() bool     { return len(r.failures) > 0 }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) runCleanups() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

// A test that leaves a process running, or whose server had a data race, fails.
func TestSiteFailsTestsThatLeaveSomething(t *testing.T) {
	for name, script := range map[string]string{
		"1 processes left running":      "setsid sleep 60 >/dev/null 2>&1 &",
		"data race in a server process": `echo WARNING: DATA RACE > "${GORACE##*log_path=}".1`,
		"":                              "true",
	} {
		r := &recorder{TB: t}
		s := testbed.NewSite(r, "/bin/true")
		s.Sh(script)
		left := s.Processes()
		r.runCleanups()
		if name == "" {
			if r.Failed() {
				t.Errorf("clean test failed: %q", r.failures)
			}
			continue
		}
		if len(r.failures) != 1 || !strings.Contains(r.failures[0], name) {
			t.Errorf("failures = %q, want %q", r.failures, name)
		}
		for _, p := range left {
			if now, err := tree.Look(p.PID); err == nil && now.Start == p.Start {
				t.Errorf("process %d is still there", p.PID)
			}
		}
		if _, err := os.Stat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the prefix is still there: %v", err)
		}
	}
}
