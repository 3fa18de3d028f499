package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

const (
	// waitLimit bounds every wait for a fact.
	waitLimit = time.Minute
	// waitStep is the time between two looks at a fact. A look at the process
	// tree reads all of /proc, so it is not shorter.
	waitStep = 15 * time.Millisecond
)

// BuildFor is [Build] for a test: it fails the test instead of returning an
// error.
func BuildFor(t testing.TB, version string) (path string) {
	t.Helper()
	path, err := Build(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// PlainFor is BuildFor for [BuildPlain].
func PlainFor(t testing.TB, version string) (path string) {
	t.Helper()
	path, err := BuildPlain(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// FaultyFor is BuildFor for [BuildFaulty].
func FaultyFor(t testing.TB, version string) (path string) {
	t.Helper()
	path, err := BuildFaulty(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// AnotherBuild returns another build of the program at path, as far as anybody can see who
// looks at the bytes. A child writes it: what this process had open for writing others may
// still hold when it is to be executed.
func AnotherBuild(t testing.TB, path string) string {
	t.Helper()
	another := filepath.Join(t.TempDir(), filepath.Base(path))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `cp "$0" "$1" && echo >>"$1"`, path, another)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", path, err, out)
	}
	return another
}

// A Site is a prefix, a process tree and an address, for the length of a test.
type Site struct {
	*Prefix
	Tree *tree.Tree
	Addr string // free address that the configuration listens on

	t   testing.TB
	env []string // set for every command, see Setenv
}

// NewSite lays out a prefix with a copy of binary as sbin/nginx and a
// configuration that listens on a free port. Nothing is started. When the test
// ends, processes that are left are killed and fail it, and so do reports of
// the race detector.
func NewSite(t testing.TB, binary string) *Site {
	t.Helper()
	// Not t.TempDir: workers of another user cannot enter it, and its name is
	// too long for the path of a unix socket.
	dir, err := os.MkdirTemp("", "site-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove site: %v", err)
		}
	})
	s := &Site{t: t}
	if s.Prefix, err = NewPrefix(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Install(binary); err != nil {
		t.Fatal(err)
	}
	s.Addr = s.TakePort().Addr()
	s.Configure(Conf{Listen: []string{s.Addr}})
	if err := os.Mkdir(s.Path("races"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.Path("races"), 0o777|os.ModeSticky); err != nil { // whatever the umask
		t.Fatal(err)
	}
	if s.Tree, err = tree.Plant(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// close ends the site; what is wrong then fails the test.
func (s *Site) close() {
	if s.t.Failed() {
		s.t.Logf("processes:\n%s", s.PS())
		s.t.Logf("error log:\n%s", s.Log())
	}
	// Killed right after a test had all workers leave, a master may still be
	// on its way out: that is not a left-over.
	for deadline := time.Now().Add(time.Second); !s.t.Failed() && len(s.Processes()) > 0 && time.Now().Before(deadline); {
		time.Sleep(waitStep)
	}
	ps := s.PS()
	left, err := s.Tree.Uproot()
	if err != nil {
		s.t.Error(err)
	}
	if len(left) > 0 && !s.t.Failed() {
		s.t.Errorf("%d processes left running:\n%s", len(left), ps)
	}
	races, _ := filepath.Glob(s.Path("races", "*"))
	for _, path := range races {
		text, _ := os.ReadFile(path)
		s.t.Errorf("data race in a server process:\n%s", text)
	}
}

// TakePort is [TakePort] for the length of the test.
func (s *Site) TakePort() *Port {
	s.t.Helper()
	port, err := TakePort()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(port.Release)
	return port
}

// Configure writes the configuration; no process is told. Listen defaults to
// the site's address.
func (s *Site) Configure(c Conf) {
	s.t.Helper()
	if len(c.Listen) == 0 {
		c.Listen = []string{s.Addr}
	}
	if raceEnabled {
		// nginx passes a new binary only the variables that it is told to pass,
		// and Baton as a new binary needs to know where its reports go.
		c.Main += "\nenv GORACE;"
	}
	if err := s.WriteConf(c); err != nil {
		s.t.Fatal(err)
	}
}

// Command returns args as a command that runs in the prefix, with P set to it
// in the environment, as the procedures call it.
func (s *Site) Command(args ...string) tree.Command {
	env := append(os.Environ(),
		"P="+s.Dir,
		// Reports of the race detector go where close finds them.
		"GORACE=atexit_sleep_ms=0 log_path="+s.Path("races", "race"))
	env = append(env, s.env...)
	return tree.Command{Args: args, Dir: s.Dir, Env: env}
}

// Setenv sets a variable for the commands that start from now on.
func (s *Site) Setenv(name, value string) { s.env = append(s.env, name+"="+value) }

// Start starts a process that is not waited for, such as a server in the
// foreground.
func (s *Site) Start(args ...string) *tree.Proc {
	s.t.Helper()
	p, err := s.Tree.Start(s.Command(args...))
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// A Result is what a finished command left.
type Result struct {
	Status         int // exit status; 128 + signal number when a signal ended it
	Stdout, Stderr string
}

// TrySh runs a shell script in the prefix, to its end.
func (s *Site) TrySh(script string) Result {
	s.t.Helper()
	p := s.Start("sh", "-c", script)
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	status, err := p.Wait(ctx)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, p.Stderr())
	}
	r := Result{Status: status.ExitStatus(), Stdout: p.Stdout(), Stderr: p.Stderr()}
	if status.Signaled() {
		r.Status = 128 + int(status.Signal())
	}
	return r
}

// Sh is TrySh for a script that must succeed. It returns its standard output
// without the last newline, as a shell's $() does.
func (s *Site) Sh(script string) string {
	s.t.Helper()
	r := s.TrySh(script)
	if r.Status != 0 {
		s.t.Fatalf("%s: exit status %d\n%s%s", script, r.Status, r.Stdout, r.Stderr)
	}
	return strings.TrimRight(r.Stdout, "\n")
}

// Processes returns every process of the site.
func (s *Site) Processes() []tree.Process {
	s.t.Helper()
	found, err := s.Tree.Processes()
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// Process returns one process, which must exist.
func (s *Site) Process(pid int) tree.Process {
	s.t.Helper()
	p, err := tree.Look(pid)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// Workers returns the workers of one master.
func (s *Site) Workers(master int) []tree.Process {
	s.t.Helper()
	return WorkersOf(s.Processes(), master)
}

// Signal sends sig to a process of the site.
func (s *Site) Signal(pid int, sig syscall.Signal) {
	s.t.Helper()
	for _, p := range s.Processes() {
		if p.PID == pid {
			if err := p.Signal(sig); err != nil {
				s.t.Fatal(err)
			}
			return
		}
	}
	s.t.Fatalf("send signal %d: no process %d in the site:\n%s", sig, pid, s.PS())
}

// Pid returns the process id in the pid file, waiting for the file if need be.
func (s *Site) Pid() (pid int) {
	s.t.Helper()
	s.WaitFor("pid file", func() (ok bool) {
		var err error
		pid, err = s.PID()
		return err == nil
	})
	return pid
}

// PS returns the site's processes as ps prints them.
func (s *Site) PS() string {
	found, err := s.Tree.Processes()
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	text, err := PS(ctx, found)
	if err != nil {
		return err.Error()
	}
	return text
}

// Log returns the error log so far.
func (s *Site) Log() string {
	text, err := os.ReadFile(s.ErrorLog())
	if err != nil {
		return fmt.Sprintf("(none: %v)", err)
	}
	return string(text)
}

// WaitFor calls ok until it reports true, and fails the test with what when
// that takes too long.
func (s *Site) WaitFor(what string, ok func() bool) {
	s.t.Helper()
	WaitFor(s.t, what, ok)
}

// WaitFor is [Site.WaitFor] for tests without a site.
func WaitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); !ok(); time.Sleep(waitStep) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// WaitShape waits until the site's processes look like want, see [Shape].
// Blank space around want and the indentation of its first line do not count.
func (s *Site) WaitShape(want string) {
	s.t.Helper()
	want = dedent(want)
	var got string
	for deadline := time.Now().Add(waitLimit); ; time.Sleep(waitStep) {
		if got = Shape(s.Tree.Root(), s.Processes()); got == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("timed out: processes are\n%swant\n%s", got, want)
		}
	}
}

// dedent removes the first line's indentation from every line, and blank lines
// at both ends.
func dedent(text string) string {
	text = strings.TrimRight(strings.TrimLeft(text, "\n"), " \t\n")
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	var b strings.Builder
	for line := range strings.Lines(text + "\n") {
		b.WriteString(strings.TrimPrefix(line, indent))
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// Get asks the site for path.
func (s *Site) Get(path string) Answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	a, err := Ask(ctx, s.Tree, s.Addr, path)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// Load puts clients on the site. They stop when the test ends, or before. A
// group without an address gets the site's.
func (s *Site) Load(groups ...load.Group) *load.Load {
	s.t.Helper()
	for i := range groups {
		groups[i].Addr = or(groups[i].Addr, s.Addr)
	}
	l, err := load.Start(context.Background(), groups...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Stop() })
	return l
}

// WaitAnswers waits until every group of l got at least n more answers than it
// had when the call began.
func (s *Site) WaitAnswers(l *load.Load, n int) {
	s.t.Helper()
	before := l.Report()
	s.WaitFor(fmt.Sprintf("%d more answers for each group", n), func() bool {
		for i, g := range l.Report().Groups {
			if g.Total() < before.Groups[i].Total()+n {
				return false
			}
		}
		return true
	})
}
