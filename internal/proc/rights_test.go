package proc

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// On a full disk a pid file stays what it was, in its place or through a link, and nothing
// is left beside it.
func TestPidFileOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	path, link, left := filepath.Join(dir, "pid"), filepath.Join(dir, "link"), filepath.Join(dir, "pid.new")
	if err := WritePidFile(path, 4711); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("pid", link); err != nil {
		t.Fatal(err)
	}
	fill := filepath.Join(dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk has room")
	}
	if err := WritePidFile(path, 8); err == nil {
		t.Error("a pid file was written where there is no room")
	}
	if got, err := ReadPidFile(path); err != nil || got != 4711 {
		t.Errorf("it holds %d, %v; want 4711", got, err)
	}
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", left, err)
	}
	if err := WritePidFile(link, 8); err != nil { // over what is there it has room
		t.Error(err)
	}
	if got, err := ReadPidFile(path); err != nil || got != 8 {
		t.Errorf("through a link it holds %d, %v; want 8", got, err)
	}
	// What was left by who was killed, and a link that somebody has put there, are in
	// nobody's way.
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fill, left); err != nil {
		t.Fatal(err)
	}
	if err := WritePidFile(path, 9); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(fill); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link was followed: %v", err)
	}
}

// What is no regular file is not opened, and what is too large is not read.
func TestPidFileIsNone(t *testing.T) {
	dir := t.TempDir()
	pipe, huge := filepath.Join(dir, "pipe"), filepath.Join(dir, "huge")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(huge, bytes.Repeat([]byte("1"), maxPidFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{pipe: ErrNotRegular, dir: ErrNotRegular, "/dev/zero": ErrNotRegular, huge: ErrTooLarge} {
		if _, err := ReadPidFile(path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// A function has the rights of a user, for files, programs and signals, and nobody else.
func TestRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can take on the rights of somebody else")
	}
	const nobody = 65534
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var uid, aside int
	var opened, signalled error
	var id []byte
	if err := (Rights{nobody, nobody, []int{nobody}}).Use(func() {
		uid = os.Geteuid()
		_, opened = os.Open(secret)
		signalled = syscall.Kill(os.Getppid(), 0)
		id, _ = exec.Command("id").Output()
		Aside(func() { aside = os.Geteuid() })
	}); err != nil {
		t.Fatal(err)
	}
	if uid != nobody || !errors.Is(opened, fs.ErrPermission) || !errors.Is(signalled, syscall.EPERM) || aside != 0 {
		t.Errorf("user %d, open: %v, kill: %v, aside user %d", uid, opened, signalled, aside)
	}
	if want := "uid=65534"; !strings.HasPrefix(string(id), want) || strings.Contains(string(id), "root") {
		t.Errorf("a program has %q, want %s", id, want)
	}
	if os.Geteuid() != 0 {
		t.Error("the rights did not come back")
	}
	r, err := RightsOf(os.Getpid())
	if err != nil || r.UID != 0 {
		t.Errorf("our own are %+v, %v", r, err)
	}
}
