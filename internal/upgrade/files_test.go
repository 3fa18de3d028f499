package upgrade

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A staged file has the mode of the one whose place it is for, and its label.
func TestStagedFileIsDressed(t *testing.T) {
	dir := t.TempDir()
	place, from := filepath.Join(dir, "nginx"), filepath.Join(dir, "new")
	for path, mode := range map[string]os.FileMode{place: 0o750, from: 0o777} {
		if err := os.WriteFile(path, []byte(path), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode|os.ModeSetgid); err != nil {
			t.Fatal(err)
		}
	}
	const label = "system_u:object_r:httpd_exec_t:s0\x00"
	root := os.Geteuid() == 0 // only root may label files where nobody looks at labels
	if root {
		if err := unix.Setxattr(place, "security.selinux", []byte(label), 0); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := checksum(from)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	staged, err := stage(in, filepath.Join(dir, "gone"), place, sum)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(staged)
	if err != nil {
		t.Fatal(err)
	}
	if want := 0o750 | os.ModeSetgid; fi.Mode() != want {
		t.Errorf("mode %v, want %v", fi.Mode(), want)
	}
	if got, err := attribute(staged, "security.selinux"); root && (err != nil || string(got) != label) {
		t.Errorf("label %q, %v; want %q", got, err, label)
	}
	if _, err := stage(in, filepath.Join(dir, "gone"), place, "another"); err == nil {
		t.Error("a copy that is not what was checked is taken")
	}
	if exists(staged) {
		t.Errorf("%s is left behind", staged)
	}
}
