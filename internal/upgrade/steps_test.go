package upgrade

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Of a master that ends while it is looked into the command tells that, and not of files
// in /proc that are not there.
func TestMasterEndsWhileItIsLookedInto(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	masters := [2]*generation{}
	for i := range masters {
		// It is what it is called.
		cmd := exec.CommandContext(t.Context(), "/bin/sleep", "60")
		cmd.Args = []string{"nginx: master process sleep", "60"}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := look(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		masters[i] = &generation{process: p}
		name := []string{pidFile + oldBin, pidFile}[i]
		if err := os.WriteFile(name, []byte(strconv.Itoa(p.pid)), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // again, maybe
			_ = cmd.Wait()
		})
	}
	op := &operation{o: Options{PidFile: pidFile}, old: masters[0], new: masters[1]}
	unread := errors.New("no such file")
	if err := op.whoEnded(unread); !errors.Is(err, unread) {
		t.Errorf("while both live: %v, want %v", err, unread)
	}
	if err := op.whoEnded(nil); err != nil {
		t.Errorf("nothing failed, and it tells %v", err)
	}
	if err := masters[0].signal(9); err != nil {
		t.Fatal(err)
	}
	if err := until(t.Context(), killPatience, func() (bool, string, error) { return !masters[0].same(), "its end", nil }); err != nil {
		t.Fatal(err)
	}
	if got := text(op.whoEnded(unread)); !strings.HasPrefix(got, "the old master ") || !strings.HasSuffix(got, " is gone") {
		t.Errorf("when the old one is gone: %q", got)
	}
}

// A process that ends has no image a moment before it is a zombie: whoever looks at a
// master then has seen that it is gone, and not that it cannot be looked into.
func TestMasterWithoutImageIsGone(t *testing.T) {
	t.Parallel()
	for range 200 {
		cmd := exec.CommandContext(t.Context(), "/bin/sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := look(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		s := &sight{new: &generation{process: p}}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			err = s.new.study(t.Context())
		}
		if !s.changed() {
			t.Errorf("%v, and the master is said to be there", err)
		}
		_ = cmd.Wait() // it was killed
	}
}
