package proc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTempFolderIsTheWorkers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "temp")
	var id *Identity
	owner := os.Getuid()
	if Privileged() {
		owner = 12345
		id = &Identity{UID: owner}
	}
	for _, state := range []string{"new", "there", "of other rights"} {
		if state == "of other rights" {
			if err := os.Chmod(dir, 0o055); err != nil {
				t.Fatal(err)
			}
			if id == nil {
				break // without an identity it stays as it is
			}
		}
		if err := MakeTemp(dir, id); err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		if int(st.Uid) != owner || st.Mode&0o700 != 0o700 {
			t.Errorf("%s: it is %d's with mode %o", state, st.Uid, st.Mode&0o777)
		}
	}
	_ = os.Chmod(dir, 0o700)
}

func TestTempFolderThatCannotBeMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "temp")
	err := MakeTemp(path, nil)
	want := `mkdir() "` + path + `" failed (2: No such file or directory)`
	if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("error %v, want %s", err, want)
	}
}
