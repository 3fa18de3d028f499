package report_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/baton-deploy/baton/internal/report"
)

// serve listens beside a pid file for the length of the test.
func serve(t *testing.T, pidFile string, ask func() (report.Report, bool)) *report.Listener {
	t.Helper()
	l, err := report.Listen(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { l.Serve(ask) })
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	return l
}

// The whole report arrives, from a folder whose name is too long for a socket, also
// when the pid file was renamed, and nobody else may open the socket.
func TestAsk(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), strings.Repeat("long", 40), "nginx.pid")
	if err := os.Mkdir(filepath.Dir(pidFile), 0o755); err != nil {
		t.Fatal(err)
	}
	want := report.Report{
		Schema: report.Schema, Version: "1.0.0", Pid: 7, Phase: report.Serving, Upgraded: true,
		Successor:   &report.Successor{Pid: 8, Ready: true, Moves: true},
		Generations: []report.Generation{{ID: 1, State: "serving", Workers: []report.Worker{{Pid: 9, Ready: true}}}},
		Retired:     report.Retired{Workers: 1, Moved: 2, Drained: 3, Closed: 4, Millis: 5},
		Counters:    report.Counters{Accepted: 1, Handled: 2, Requests: 3, Reading: 4, Writing: 5, Waiting: 6, Answered: 7, Failed: 8},
	}
	l := serve(t, pidFile, func() (report.Report, bool) { return want, true })
	check := func(pidFile string) {
		t.Helper()
		got, err := report.Ask(t.Context(), pidFile, os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	check(pidFile)
	fi, err := os.Lstat(report.Path(pidFile))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", fi.Mode(), err)
	}
	if err := l.Follow(pidFile + ".oldbin"); err != nil {
		t.Fatal(err)
	}
	check(pidFile + ".oldbin")
	if _, err := report.Ask(t.Context(), pidFile, os.Getpid()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("under the name before: %v, want that it does not exist", err)
	}
}

// Only the process that is meant is listened to, and a socket that is not ours any more
// is left where it is.
func TestStrangersAreToldApart(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "nginx.pid")
	first := serve(t, pidFile, func() (report.Report, bool) { return report.Report{Schema: report.Schema}, true })
	if _, err := report.Ask(t.Context(), pidFile, os.Getpid()+1); !errors.Is(err, report.ErrStranger) {
		t.Errorf("%v, want that another process has the socket", err)
	}
	serve(t, pidFile, func() (report.Report, bool) { return report.Report{Schema: report.Schema + 1}, true })
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := report.Ask(t.Context(), pidFile, os.Getpid()); err == nil || !strings.Contains(err.Error(), "by schema 2") {
		t.Errorf("%v, want the second one's answer, which is not understood", err)
	}
}

// A master that is gone says nothing.
func TestNothingToSay(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "nginx.pid")
	serve(t, pidFile, func() (report.Report, bool) { return report.Report{}, false })
	if r, err := report.Ask(t.Context(), pidFile, os.Getpid()); err == nil {
		t.Errorf("report = %+v, want an error", r)
	}
}

// What is in the place of the socket and is no socket is left alone.
func TestFileInItsPlace(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "nginx.pid")
	if err := os.WriteFile(report.Path(pidFile), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if l, err := report.Listen(pidFile); err == nil {
		l.Close()
		t.Error("it listens in the place of a file")
	}
	if text, err := os.ReadFile(report.Path(pidFile)); err != nil || string(text) != "mine" {
		t.Errorf("the file has %q, %v", text, err)
	}
}
