package proc

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary stand in for a worker: it takes its title,
// changes it, and shows what the kernel shows.
func TestMain(m *testing.M) {
	if os.Getenv("PROC_TEST") == "worker" {
		os.Exit(playWorker())
	}
	os.Exit(m.Run())
}

func playWorker() int {
	show := func() {
		b, err := os.ReadFile("/proc/self/cmdline")
		if err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString(strings.TrimRight(string(b), "\x00") + "\n")
	}
	title, err := WorkerTitle()
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	show()
	title.ShuttingDown()
	show()
	if err := SetComm(title.Word()); err != nil {
		return 1
	}
	b, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return 1
	}
	os.Stdout.Write(b)
	return 0
}

func TestWorkerTitle(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: exe, Args: WorkerArgv("nginx"), Env: []string{"PROC_TEST=worker"}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "nginx: worker process\nnginx: worker process is shutting down\nnginx\n"
	if string(out) != want {
		t.Errorf("titles are\n%swant\n%s", out, want)
	}
}

func TestMasterTitle(t *testing.T) {
	for _, argv := range [][]string{
		{"nginx"},
		{"/p/sbin/nginx", "-c", "conf/nginx.conf"},
		{"./baton", "-g", "daemon off; # : master process x"},
		{"a: b"},
	} {
		titled := MasterArgv(argv)
		if !strings.HasPrefix(titled[0], filepath.Base(argv[0])+": master process ") {
			t.Errorf("title of %q is %q", argv, titled)
		}
		back, ok := OriginalArgv(titled)
		if !ok {
			t.Errorf("%q is not taken for a title", titled)
		}
		if diff := cmp.Diff(argv, back); diff != "" {
			t.Error(diff)
		}
		if same, ok := OriginalArgv(argv); ok {
			t.Errorf("%q is taken for a title of %q", argv, same)
		}
	}
}

func TestStartAndReap(t *testing.T) {
	sh := func(script string) Spec {
		return Spec{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, FDs: []int{0, 1, 2}}
	}
	tests := []struct {
		script, want string
	}{
		{"exit 0", "exited with code 0"},
		{"exit 7", "exited with code 7"},
		{"kill -9 $$", "exited on signal 9"},
	}
	for _, tt := range tests {
		pid, err := Start(sh(tt.script))
		if err != nil {
			t.Fatal(err)
		}
		if err := Await(pid); err != nil {
			t.Fatal(err)
		}
		// Still ours: the number cannot be a stranger's before Reap.
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("the pid is free before it was reaped: %v", err)
		}
		exit, err := Reap(pid)
		if err != nil || exit.String() != tt.want {
			t.Errorf("%s: %v, %v; want %s", tt.script, exit, err, tt.want)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the pid is taken after it was reaped: %v", err)
		}
	}
	for path, want := range map[string]string{
		"/nonexistent": "2: No such file or directory",
		"/etc/passwd":  "13: Permission denied",
	} {
		_, err := Start(Spec{Path: path, Argv: []string{"x"}})
		if err == nil || Errno(err).Error() != want {
			t.Errorf("start %s: %v, want %s", path, err, want)
		}
	}
}

func TestReapStrangers(t *testing.T) {
	start := func() int {
		t.Helper()
		pid, err := Start(Spec{Path: "/bin/true", Argv: []string{"true"}, FDs: []int{0, 1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		if err := Await(pid); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	ours, stranger := start(), start()
	ReapStrangers(func(pid int) bool { return pid != stranger })
	if err := syscall.Kill(stranger, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the stranger is still there: %v", err)
	}
	if exit, err := Reap(ours); err != nil || exit != (Exit{}) {
		t.Errorf("ours: %v, %v", exit, err)
	}
}

// TestStartPassesOnlyWhatIsNamed: a descriptor that leaks into a successor
// keeps a port open for ever.
func TestStartPassesOnlyWhatIsNamed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out, err := FD(w)
	if err != nil {
		t.Fatal(err)
	}
	in, err := FD(null)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := Start(Spec{Path: "/bin/sh", Argv: []string{"sh", "-c", "echo /proc/self/fd/*"}, FDs: []int{in, out, 2, in}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	b := make([]byte, 4096)
	n, err := r.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := Reap(pid); err != nil || exit != (Exit{}) {
		t.Fatal(exit, err)
	}
	got := strings.Fields(strings.ReplaceAll(string(b[:n]), "/proc/self/fd/", ""))
	slices.Sort(got)
	// The shell opens the folder to list it; that is its own.
	if len(got) != 5 || !slices.Equal(got[:4], []string{"0", "1", "2", "3"}) {
		t.Errorf("descriptors of the new process: %v", got)
	}
}

func TestWatchPid(t *testing.T) {
	cmd := exec.Command("/bin/cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w, err := WatchPid(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ended := make(chan error, 1)
	go func() { ended <- w.Wait() }()
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the end of the process is not noticed")
	}

	// Closing the watch ends the wait.
	self, err := WatchPid(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- self.Wait() }()
	self.Close()
	if err := <-ended; err == nil {
		t.Error("a closed watch says that we have ended")
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prog"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, tt := range []struct{ argv0, want string }{
		{"/abs/nginx", "/abs/nginx"},
		{"./nginx", "/start/nginx"},
		{"sbin/nginx", "/start/sbin/nginx"},
		{"prog", filepath.Join(dir, "prog")},
		{"nowhere", "/start/nowhere"},
	} {
		if got := Resolve(tt.argv0, "/start"); got != tt.want {
			t.Errorf("Resolve(%q) = %q, want %q", tt.argv0, got, tt.want)
		}
	}
}

func TestPidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nginx.pid")
	if err := CheckPidFile(path); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 0 {
		t.Errorf("the check leaves %v, %v", names, err)
	}
	for _, pid := range []int{123456, 7} {
		if err := WritePidFile(path, pid); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadPidFile(path); err != nil || got != pid {
			t.Errorf("the file holds %d, %v; want %d", got, err, pid)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "7\n" {
		t.Errorf("the file is %q, %v", b, err)
	}

	link := filepath.Join(t.TempDir(), "link.pid")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := WritePidFile(link, 8); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadPidFile(path); err != nil || got != 8 {
		t.Errorf("behind the link: %d, %v", got, err)
	}
	if fi, err := os.Lstat(link); err != nil || fi.Mode().IsRegular() {
		t.Errorf("the link was replaced: %v, %v", fi, err)
	}

	missing := filepath.Join(t.TempDir(), "no", "nginx.pid")
	want := `open() "` + missing + `" failed (2: No such file or directory)`
	for _, err := range []error{CheckPidFile(missing), WritePidFile(missing, 1)} {
		if err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestRemoveStalePidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nginx.pid.oldbin")
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		text string
		left bool
	}{
		{"1\n", true}, // somebody who lives
		{"not a pid", false},
		{strconv.Itoa(cmd.Process.Pid), false},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := RemoveStalePidFile(path); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); (err == nil) != tt.left {
			t.Errorf("%q: left %v, want %v", tt.text, err == nil, tt.left)
		}
	}
	if err := RemoveStalePidFile(path); err != nil {
		t.Errorf("no file: %v", err)
	}
}

func TestSealed(t *testing.T) {
	fd, err := Sealed("test", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	defer f.Close()
	for range 2 { // reading moves nothing
		if got, err := ReadSealed(f, 7); err != nil || string(got) != "content" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EPERM) {
		t.Errorf("writing to it: %v, want EPERM", err)
	}
	if err := f.Truncate(0); !errors.Is(err, syscall.EPERM) {
		t.Errorf("cutting it: %v, want EPERM", err)
	}
}

func TestShared(t *testing.T) {
	fd, err := Shared("test", 4096)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	defer f.Close()
	a, err := Map(f, 4096)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Map(f, 4096)
	if err != nil {
		t.Fatal(err)
	}
	a[100] = 7
	if b[100] != 7 {
		t.Error("the two views differ")
	}
	if err := errors.Join(unix.Munmap(a), unix.Munmap(b)); err != nil {
		t.Error(err)
	}
}

// TestReplace: every holder of the old *os.File writes to the new file from
// then on.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "access.log")
	old, err := OpenLog(log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	write := func(text string) {
		t.Helper()
		if _, err := old.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	write(" rotated")
	f, err := OpenLog(log, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Replace(old, f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	write("after")
	for path, want := range map[string]string{log: "after", log + ".1": "before rotated"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
}

func TestErrno(t *testing.T) {
	if got := Errno(&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}).Error(); got != "13: Permission denied" {
		t.Errorf("%q", got)
	}
	plain := errors.New("plain")
	if Errno(plain) != plain {
		t.Error("an error without a number changes")
	}
}

func TestLookup(t *testing.T) {
	id, err := Lookup("root", "")
	if err != nil || id.UID != 0 || id.GID != 0 || len(id.Groups) == 0 || id.Groups[0] != 0 {
		t.Errorf("root is %+v, %v", id, err)
	}
	if _, err := Lookup("no-such-user", ""); err == nil || err.Error() != `getpwnam("no-such-user") failed` {
		t.Errorf("unknown user: %v", err)
	}
	if _, err := Lookup("root", "no-such-group"); err == nil || err.Error() != `getgrnam("no-such-group") failed` {
		t.Errorf("unknown group: %v", err)
	}
}

// A group that is named stands in the place of the user's primary one, as with
// initgroups(3): whoever is told to run with another group keeps no right of the first.
func TestLookupOtherGroup(t *testing.T) {
	id, err := Lookup("root", "daemon")
	if err != nil {
		t.Fatal(err)
	}
	if id.GID == 0 || slices.Contains(id.Groups, 0) || !slices.Contains(id.Groups, id.GID) {
		t.Errorf("root of the group daemon is %+v", id)
	}
}

// The kernel's table of descriptors is as large as it was asked to be, and no larger
// than the limit allows.
func TestRoomForFiles(t *testing.T) {
	room := func() (n int) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "FDSize:")
		n, err = strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := room()
	if err := RoomForFiles(uint64(4 * before)); err != nil {
		t.Fatal(err)
	}
	if got := room(); got < 4*before {
		t.Errorf("room for %d descriptors, want %d", got, 4*before)
	}
	if err := RoomForFiles(1 << 40); err != nil {
		t.Errorf("more than the limit: %v", err)
	}
}
