package master

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/baton-deploy/baton/internal/proc"
)

// TestPidFileLife: written, moved for a new master, restored, moved elsewhere by
// a reload, removed.
func TestPidFileLife(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.pid"), filepath.Join(dir, "second.pid")
	holds := func(path string, want int) {
		t.Helper()
		got, err := proc.ReadPidFile(path)
		if err != nil {
			got = 0
		}
		if got != want {
			t.Errorf("%s names %d, want %d", filepath.Base(path), got, want)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	var p pidFile
	ok(p.write(first, 7))
	holds(first, 7)

	ok(p.move("nginx"))
	holds(first, 0)
	holds(first+proc.OldBin, 7)
	ok(proc.WritePidFile(first, 8)) // the new master's, which then is killed
	ok(p.restore("nginx"))
	holds(first, 7)
	holds(first+proc.OldBin, 0)
	ok(p.restore("nginx")) // nothing to restore

	ok(p.write(second, 7))
	holds(first, 0)
	holds(second, 7)

	ok(p.move("nginx"))
	ok(proc.WritePidFile(second, 8))
	ok(p.remove(7)) // the old master goes: only its own
	holds(second, 8)
	holds(second+proc.OldBin, 0)

	// Not ours any more: somebody else's stays.
	q := pidFile{path: second}
	ok(q.remove(7))
	holds(second, 8)
	if err := q.move("nginx"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(second + proc.OldBin); err != nil {
		t.Error(err)
	}
	want := `rename() "` + second + `" to "` + second + `.oldbin" failed before executing new binary process "nginx" (2: No such file or directory)`
	if err := q.move("nginx"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
