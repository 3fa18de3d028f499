package tree_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/tree"
)

func TestMain(m *testing.M) {
	if status, wasRoot := tree.Main(); wasRoot {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func plant(t *testing.T) *tree.Tree {
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
	return tr
}

func start(t *testing.T, tr *tree.Tree, args ...string) *tree.Proc {
	t.Helper()
	p, err := tr.Start(tree.Command{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestWaitGivesStatusAndOutput(t *testing.T) {
	tr := plant(t)
	p := start(t, tr, "sh", "-c", "echo out; echo err >&2; exit 7")
	status, err := p.Wait(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if !status.Exited() || status.ExitStatus() != 7 {
		t.Errorf("status = %#x, want exit 7", uint32(status))
	}
	if p.Stdout() != "out\n" || p.Stderr() != "err\n" {
		t.Errorf("output = %q, %q", p.Stdout(), p.Stderr())
	}
}

// An orphan is adopted by the root, waited for, and its end can be asked for.
func TestOrphanIsAdoptedAndWaitedFor(t *testing.T) {
	tr := plant(t)
	p := start(t, tr, "sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!")
	if _, err := p.Wait(bounded(t)); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(p.Stdout()))
	if err != nil {
		t.Fatal(err)
	}
	found, err := tr.Processes()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].PID != pid || found[0].PPID != tr.Root() {
		t.Fatalf("processes = %+v, want only %d as a child of %d", found, pid, tr.Root())
	}
	if err := found[0].Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	status, err := tr.Wait(bounded(t), pid)
	if err != nil {
		t.Fatal(err)
	}
	if !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("status = %#x, want ended by SIGTERM", uint32(status))
	}
	if err := found[0].Signal(syscall.SIGTERM); !errors.Is(err, tree.ErrGone) {
		t.Errorf("signal to a process that is gone: %v, want ErrGone", err)
	}
}

// Uproot finds what hides: orphans in their own sessions, what ignores every
// signal that can be ignored, and what is stopped.
func TestUprootLeavesNothing(t *testing.T) {
	tr := plant(t)
	p := start(t, tr, "sh", "-c", `
		(trap "" TERM INT HUP QUIT; setsid sh -c 'sleep 61; true' >/dev/null 2>&1 &)
		sleep 62 >/dev/null & kill -STOP $!`)
	if _, err := p.Wait(bounded(t)); err != nil {
		t.Fatal(err)
	}
	waitForTitle(t, tr, "sleep 61")
	left, err := tr.Uproot()
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 3 { // the shell, its sleep, the stopped process
		t.Errorf("left = %+v, want three processes", left)
	}
	for _, p := range left {
		if now, err := tree.Look(p.PID); err == nil && now.Start == p.Start {
			t.Errorf("process %d (%s) is still there", p.PID, p.Title)
		}
	}
	if again, err := tr.Uproot(); err != nil || len(again) != 0 {
		t.Errorf("second Uproot = %v, %v", again, err)
	}
}

func TestStartSaysWhyItFailed(t *testing.T) {
	tr := plant(t)
	_, err := tr.Start(tree.Command{Args: []string{"/nonexistent/server"}})
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error = %v", err)
	}
}

func TestHoldersAreOfTheTreeOnly(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The other end is held by this process, which is not of the tree.
	tr := plant(t)
	holders, err := tr.Holders(conn)
	if err != nil {
		t.Fatal(err)
	}
	if len(holders) != 0 {
		t.Errorf("holders = %+v, want none of the tree", holders)
	}
}

// waitForTitle waits until a process of the tree has this title.
func waitForTitle(t *testing.T, tr *tree.Tree, title string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		found, err := tr.Processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			if p.Title == title {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("timed out: no process %q among %+v", title, found)
		}
	}
}
