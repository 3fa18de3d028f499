package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// nginx returns the path of the system's nginx, which plays both versions: the
// demo itself is what these tests are about.
func nginx(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("these tests need nginx (apt-get install nginx)")
	return ""
}

// emptyTemp makes the demo use a temporary folder of its own, and returns a
// check that it left nothing there and no process.
func emptyTemp(t *testing.T) (check func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // workers of another user go through it
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	return func() {
		t.Helper()
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range left {
			if !strings.HasPrefix(entry.Name(), "baton-testbed-") { // the cache that test programs share
				t.Errorf("left behind: %s", entry.Name())
			}
		}
		found, err := tree.Descendants(os.Getpid())
		if err != nil || len(found) > 0 {
			t.Errorf("left running: %+v, %v", found, err)
		}
	}
}

func TestDemoGoesThroughTheProcedure(t *testing.T) {
	check := emptyTemp(t)
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{"-by-hand", "-old", nginx(t), "-new", nginx(t)}, &stdout, &stderr)
	if status != 0 {
		t.Fatalf("status %d: %s\n%s", status, &stderr, &stdout)
	}
	out := stdout.String()
	for _, want := range []string{
		"kill -USR2 ", "kill -WINCH ", "kill -HUP ", "kill -QUIT ",
		" of 12 answers by nginx/", "answered by nginx/", "lost on new connections", "new connections: nothing lost",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b[") {
		t.Error("escape sequences in what is no terminal")
	}
	check()
}

// What "make demo" shows: no client notices anything.
func TestDemoReplacesBaton(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), nil, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s\n%s", status, &stderr, &stdout)
	}
	for _, want := range []string{
		"$ $BATON upgrade ", "$ $BATON rollback ", " serves as before\n", "phase   soaking\n",
		"  commit   the old master ", "the upgrade to baton/2.0.0 was committed: upgrading to the baton/1.0.0 that was kept",
		"answered by baton/1.0.0", "answered by baton/2.0.0",
		"new connections: nothing lost",
		"keep-alive GET: nothing lost, no connection opened again", "keep-alive POST: nothing lost, no connection opened again",
		"20 WebSockets: none dropped", "3 downloads, begun before the first step: whole",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
}

// The commands do the same for nginx. One that runs already is not upgraded to.
func TestDemoReplacesNginx(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-old", nginx(t), "-new", testbed.AnotherBuild(t, nginx(t))}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s\n%s", status, &stderr, &stdout)
	}
	for _, want := range []string{"$ $BATON upgrade ", " serves as before\n", "new connections: nothing lost"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
}

// A stopper ends a context when it sees a text go by.
type stopper struct {
	mu   sync.Mutex
	seen bytes.Buffer
	text string
	stop func()
}

func (s *stopper) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Write(b)
	if bytes.Contains(s.seen.Bytes(), []byte(s.text)) {
		s.stop()
	}
	return len(b), nil
}

// Ctrl-C in the middle of an upgrade, with two masters and load, leaves
// nothing.
func TestInterruptedDemoCleansUp(t *testing.T) {
	check := emptyTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stderr bytes.Buffer
	status := run(ctx, []string{"-by-hand", "-old", nginx(t), "-new", nginx(t)}, &stopper{text: "kill -WINCH ", stop: cancel}, &stderr)
	if status != 130 {
		t.Errorf("status %d, want 130: %s", status, &stderr)
	}
	check()
}

// A new binary that does not start makes the demo fail, with the reason.
func TestDemoFailsWithABrokenBinary(t *testing.T) {
	broken := testbed.Fixture(t, testbed.ExitsAtOnce)
	check := emptyTemp(t)
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{"-by-hand", "-old", broken, "-new", broken}, &stdout, &stderr)
	if status != 1 || !strings.Contains(stderr.String(), "exit status 3") {
		t.Errorf("status %d: %s", status, &stderr)
	}
	check()
}

// One request on a new connection that got no right answer is a failure, whoever
// serves; on kept connections it is one unless a foreign server takes part.
func TestVerdictOnWhatWasLost(t *testing.T) {
	bad := map[string]load.Count{
		"lost":     {Sent: 5, Answered: map[string]int{"a": 4}, Lost: 1, LostRST: 1, Connects: 5},
		"refused":  {Sent: 4, Answered: map[string]int{"a": 4}, Refused: 1, Connects: 4},
		"unopened": {Sent: 4, Answered: map[string]int{"a": 4}, Unopened: 1, Connects: 4},
		"wrong":    {Sent: 5, Answered: map[string]int{"a": 5}, Wrong: 1, Connects: 5},
	}
	good := load.Count{Sent: 5, Answered: map[string]int{"a": 5}, Connects: 5}
	for what, count := range bad {
		for _, foreign := range []bool{false, true} {
			onNew := &load.Report{Groups: []load.GroupReport{{Name: newConnections, Count: count}, {Name: "kept", Count: good}}}
			if err := verdict(newScreen(io.Discard), onNew, foreign); err == nil || !strings.Contains(err.Error(), newConnections) {
				t.Errorf("%s on a new connection, foreign %v: %v", what, foreign, err)
			}
		}
		onKept := &load.Report{Groups: []load.GroupReport{{Name: newConnections, Count: good}, {Name: "kept", Count: count}}}
		if err := verdict(newScreen(io.Discard), onKept, false); err == nil {
			t.Errorf("%s on a kept connection: no error", what)
		}
	}
	if err := verdict(newScreen(io.Discard), &load.Report{Groups: []load.GroupReport{{Name: newConnections, Count: good}}}, false); err != nil {
		t.Errorf("nothing lost: %v", err)
	}
}

func TestMisuseIsRefused(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"surplus"}, &stdout, &stderr); status != 2 {
		t.Errorf("status %d, want 2", status)
	}
}
