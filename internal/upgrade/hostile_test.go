package upgrade_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// stranger is the user whose server root looks at.
const stranger = 65534

// evilName is what the program of that user is called: it notes who executed it, with what
// in its environment, and claims to be a server.
const evilName = "evil-server"

// playEvil is that program: a master, its worker, or what is asked for its version.
func playEvil() {
	title := os.Args[0]
	exe, err := os.Executable()
	if err != nil {
		os.Exit(1)
	}
	switch {
	case strings.Contains(title, ": master process"):
		w := exec.Command("/proc/self/exe")
		w.Args = []string{"nginx: worker process"}
		in, err := w.StdinPipe()
		if err != nil || w.Start() != nil {
			os.Exit(1)
		}
		fmt.Println("started")
		_, _ = os.Stdin.Read(make([]byte, 1)) // its end is ours
		in.Close()
	case strings.Contains(title, ": worker process"):
		_, _ = os.Stdin.Read(make([]byte, 1))
	default:
		session, _ := unix.Getsid(0)
		f, err := os.OpenFile(filepath.Join(filepath.Dir(exe), "calls"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
		if err != nil {
			os.Exit(1)
		}
		n, _ := unix.Getxattr(exe, "security.capability", nil)
		fmt.Fprintf(f, "uid %d of %s, own session %v, root's secret %q, %q, capabilities %v\n",
			os.Geteuid(), filepath.Base(exe), session == os.Getpid(), os.Getenv("ROOTS_SECRET"), os.Args[1:], n > 0)
		f.Close()
		fmt.Println("nginx version: nginx/9.9.9")
		if os.Args[len(os.Args)-1] == "-t" {
			os.Exit(1) // and all is undone
		}
	}
	os.Exit(0)
}

// An evil is a server of another user, who waits for root.
type evil struct {
	t       *testing.T
	dir     string // the user's
	pidFile string
	safe    string // a folder of root's, with a file "target" in it
	master  int
}

func newEvil(t *testing.T) *evil {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be attacked")
	}
	e := &evil{t: t}
	for _, dir := range []struct {
		path  *string
		owner int
	}{{&e.dir, stranger}, {&e.safe, 0}} {
		path, err := os.MkdirTemp("", "evil")
		if err == nil {
			err = os.Chmod(path, 0o755)
		}
		if err == nil {
			err = os.Chown(path, dir.owner, dir.owner)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(path) })
		*dir.path = path
	}
	e.pidFile = filepath.Join(e.dir, "pid")
	e.copyTo(filepath.Join(e.dir, evilName), stranger, 0o755, "")
	for _, name := range []string{"target", "target.old"} {
		if err := os.WriteFile(filepath.Join(e.safe, name), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// copyTo copies the program, which is this test.
func (e *evil) copyTo(path string, owner int, mode os.FileMode, end string) {
	e.t.Helper()
	text, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(path, append(text, end...), 0o700)
	}
	if err == nil {
		err = os.Chown(path, owner, owner)
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// start starts the master as the user, under the name argv0.
func (e *evil) start(argv0 string) {
	e.t.Helper()
	cmd := exec.CommandContext(e.t.Context(), filepath.Join(e.dir, evilName))
	cmd.Args = []string{"nginx: master process " + argv0}
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+filepath.Join(e.dir, "evil.so"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	cmd.Dir = e.dir
	in, err := cmd.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 8)); err != nil {
		e.t.Fatalf("start the master: %v", err)
	}
	e.master = cmd.Process.Pid
	e.write(e.pidFile, strconv.Itoa(e.master)+"\n")
}

// write writes a file as the user's.
func (e *evil) write(path, text string) {
	e.t.Helper()
	err := os.WriteFile(path, []byte(text), 0o600)
	if err == nil {
		err = os.Chown(path, stranger, stranger)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// writeJournal writes a journal that tells of an upgrade that was begun.
func (e *evil) writeJournal(record, open map[string]any) {
	e.t.Helper()
	open["schema"], open["id"], open["event"], open["time"], open["record"] = 1, "x", "open", time.Now(), record
	var b strings.Builder
	for _, entry := range []map[string]any{open, {"schema": 1, "id": "x", "event": "begin", "step": "replace", "time": time.Now()}} {
		if err := json.NewEncoder(&b).Encode(entry); err != nil {
			e.t.Fatal(err)
		}
	}
	e.write(e.pidFile+".upgrades", b.String())
}

// calls returns how the user's programs were executed, and checks that it was with no more
// than the user has.
func (e *evil) calls() string {
	e.t.Helper()
	text, err := os.ReadFile(filepath.Join(e.dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, fmt.Sprintf("uid %d of ", stranger)) || !strings.Contains(line, `own session true, root's secret ""`) {
			e.t.Errorf("the user's program was executed as %s", line)
		}
	}
	return string(text)
}

// wantSafe checks that nothing in root's folder has changed.
func (e *evil) wantSafe() {
	e.t.Helper()
	files, err := os.ReadDir(e.safe)
	if err != nil || len(files) != 2 {
		e.t.Errorf("in root's folder are %v, %v", files, err)
	}
	for _, f := range files {
		path := filepath.Join(e.safe, f.Name())
		text, err := os.ReadFile(path)
		if err != nil || string(text) != f.Name() {
			e.t.Errorf("%s has %q, %v", path, text, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Uid != 0 || st.Mode&0o7777 != 0o755 {
			e.t.Errorf("%s: %v, user %d, mode %o", path, err, st.Uid, st.Mode)
		}
	}
}

func (e *evil) options() upgrade.Options {
	return upgrade.Options{
		PidFile: e.pidFile, Pace: quick, ReadyTimeout: 10 * time.Second, DrainTimeout: time.Second,
		Tell: func(ev upgrade.Event) { e.t.Log(ev.Event, ev.Step, ev.Text, ev.Error) },
	}
}

// What another user's server has root execute, on status and on upgrade, runs as that user,
// and so does the new binary that root has named and that only root can read.
func TestRootExecutesNothingOfAnotherUser(t *testing.T) {
	e := newEvil(t)
	e.start(filepath.Join(e.dir, evilName))
	t.Setenv("ROOTS_SECRET", "1")
	st, err := upgrade.Look(t.Context(), e.pidFile)
	if err != nil || st.Phase != upgrade.Serving || st.Generations[0].Version != "nginx/9.9.9" {
		t.Fatalf("status: %+v, %v", st, err)
	}
	home, err := os.MkdirTemp(e.safe, "home") // of mode 700
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	o := e.options()
	o.To = filepath.Join(home, "new")
	e.copyTo(o.To, 0, 0o700, "another build")
	outcome, err := upgrade.Run(t.Context(), o)
	if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), "does not take the configuration") {
		t.Errorf("upgrade: %s, %v; want failed by -t", outcome, err)
	}
	calls := e.calls()
	for _, want := range []string{evilName + ", own session true, root's secret \"\", [\"-v\"]", "." + evilName + ".new, own", `["-t"]`} {
		if !strings.Contains(calls, want) {
			t.Errorf("the calls are\n%swithout %q", calls, want)
		}
	}
	left, err := os.ReadDir(e.dir)
	for _, f := range left {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(e.dir, f.Name()), &st); err != nil || st.Uid != stranger {
			t.Errorf("%s: %v, user %d", f.Name(), err, st.Uid)
		}
	}
	if err != nil || len(left) != 3 { // program, pid file, calls
		t.Errorf("left in the user's folder: %v, %v", left, err)
	}
}

// A master whose file has capabilities can be looked into by root alone, and the new file
// gets them, in that user's folder and only from that user's file.
func TestRootKeepsFileCapabilities(t *testing.T) {
	e := newEvil(t)
	program := filepath.Join(e.dir, evilName)
	// cap_net_bind_service, effective and permitted, as capabilities(7) has it in a file
	bind := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if err := unix.Setxattr(program, "security.capability", bind, 0); err != nil {
		t.Fatal(err)
	}
	e.start(program)
	o := e.options()
	o.To = filepath.Join(e.dir, "new")
	e.copyTo(o.To, stranger, 0o755, "another build")
	outcome, err := upgrade.Run(t.Context(), o)
	if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), "does not take the configuration") {
		t.Errorf("upgrade: %s, %v; want failed by -t", outcome, err)
	}
	if calls, want := e.calls(), `["-t"], capabilities true`; !strings.Contains(calls, want) {
		t.Errorf("the calls are\n%swithout %s", calls, want)
	}
	// What is not the user's own file gives nothing to the user.
	if err := os.Chown(program, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(program, "security.capability", bind, 0); err != nil {
		t.Fatal(err)
	}
	outcome, err = upgrade.Run(t.Context(), o)
	if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), "only root can give it the file capabilities") {
		t.Errorf("upgrade of root's file: %s, %v; want failed for want of rights", outcome, err)
	}
}

// A binary that is a link into a folder of root's is not replaced for its user.
func TestRootReplacesNothingForAnotherUser(t *testing.T) {
	e := newEvil(t)
	link := filepath.Join(e.dir, "link")
	if err := os.Symlink(filepath.Join(e.safe, "target"), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(e.safe, "target"), filepath.Join(e.dir, ".link.new")); err != nil {
		t.Fatal(err)
	}
	e.start(link)
	o := e.options()
	home, err := os.MkdirTemp("", "evil")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	o.To = filepath.Join(home, "new")
	e.copyTo(o.To, 0, 0o755, "another build")
	outcome, err := upgrade.Run(t.Context(), o)
	if outcome != upgrade.Failed || err == nil || !strings.Contains(err.Error(), "may not write to "+e.safe) {
		t.Errorf("upgrade: %s, %v; want failed for want of rights", outcome, err)
	}
	e.calls()
	e.wantSafe()
}

// Paths and processes that another user's journal names are that user's at most, whether or
// not the server runs.
func TestRootBelievesNoJournalOfAnotherUser(t *testing.T) {
	e := newEvil(t)
	innocent := exec.CommandContext(t.Context(), "sleep", "60") // of root
	if err := innocent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = innocent.Process.Kill()
		_ = innocent.Wait()
	}()
	target, old := filepath.Join(e.safe, "target"), filepath.Join(e.safe, "target.old")
	sum := strings.TrimSpace(strings.Fields(output(t, "sha256sum", target))[0])
	for _, record := range []map[string]any{
		{"binary": target, "backup": old, "checksum": sum},
		{"binary": target, "backup": filepath.Join(e.dir, "calls"), "checksum": sum},
		{"binary": filepath.Join(e.dir, evilName), "backup": target, "checksum": sum},
		{"binary": target, "backup": old, "checksum": sum, "as_is": true},
		{"binary": target, "backup": old, "link": target, "link_from": "/", "link_to": "x"},
	} {
		for _, runs := range []bool{false, true} {
			if runs && e.master == 0 {
				e.start(filepath.Join(e.dir, evilName))
			}
			if !runs {
				e.write(e.pidFile, "4194304\n")
			} else {
				e.write(e.pidFile, strconv.Itoa(e.master)+"\n")
			}
			e.writeJournal(record, map[string]any{})
			for name, do := range map[string]func(context.Context, upgrade.Options) (upgrade.Outcome, error){
				"rollback": upgrade.Rollback, "resume": upgrade.Resume, "commit": upgrade.Finish,
			} {
				if outcome, err := do(t.Context(), e.options()); err == nil {
					t.Errorf("%s of %v: %s", name, record, outcome)
				}
			}
			_, _ = upgrade.Look(t.Context(), e.pidFile) // whatever it tells
			e.wantSafe()
		}
	}
	// The operator that the journal names holds its lock.
	e.writeJournal(map[string]any{}, map[string]any{"operator": innocent.Process.Pid, "operator_start": startOf(t, innocent.Process.Pid)})
	lock, err := os.Open(e.pidFile + ".upgrades")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for _, do := range []func(context.Context, upgrade.Options) (upgrade.Outcome, error){upgrade.Rollback, upgrade.Finish} {
		if _, err := do(t.Context(), e.options()); err == nil || !strings.Contains(err.Error(), "operation not permitted") {
			t.Errorf("with root's process for the operator: %v; want that it may not be signalled", err)
		}
	}
	var ws syscall.WaitStatus
	if pid, err := syscall.Wait4(innocent.Process.Pid, &ws, syscall.WNOHANG, nil); err != nil || pid != 0 {
		t.Errorf("root's process has ended: %d, %v", ws, err)
	}
	e.calls()
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// startOf returns when a process was started, as the kernel counts it.
func startOf(t *testing.T, pid int) (start uint64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		start, err = strconv.ParseUint(strings.Fields(string(text))[21], 10, 64)
	}
	if err != nil {
		t.Fatal(err)
	}
	return start
}

// What is no pid file is an error at once, and so is one that names somebody else's process.
func TestRootReadsNoStrangePidFile(t *testing.T) {
	e := newEvil(t)
	e.start(filepath.Join(e.dir, evilName))
	roots := exec.CommandContext(t.Context(), "sh", "-c", "echo; read x")
	roots.Args[0] = "nginx: master process " + filepath.Join(e.dir, evilName)
	in, err := roots.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := roots.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = roots.Wait()
	}()
	elsewhere := filepath.Join(e.dir, "elsewhere")
	if err := os.WriteFile(filepath.Join(e.safe, "pid"), []byte(strconv.Itoa(roots.Process.Pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(e.safe, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(elsewhere, stranger, stranger); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, want string
		make       func(path string) error
	}{
		{"pipe", "it is no regular file", func(path string) error { return unix.Mkfifo(path, 0o666) }},
		{"device", "it is no regular file", func(path string) error { return os.Symlink("/dev/zero", path) }},
		{"folder", "it is no regular file", func(path string) error { return os.Mkdir(path, 0o755) }},
		{"huge", "it is too large", func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o644) }},
		{"of another", "it is not believed", func(path string) error {
			e.write(path, strconv.Itoa(roots.Process.Pid))
			return nil
		}},
		{"pipe for a journal", "it is no regular file", func(path string) error {
			e.write(path, strconv.Itoa(e.master))
			return unix.Mkfifo(path+".upgrades", 0o666)
		}},
		{"huge journal", "it is too large", func(path string) error {
			e.write(path, strconv.Itoa(e.master))
			e.write(path+".upgrades", "")
			return os.Truncate(path+".upgrades", 1<<40)
		}},
		{"journal of a third", "it is not believed", func(path string) error {
			e.write(path, strconv.Itoa(e.master))
			e.write(path+".upgrades", "{}\n")
			return errors.Join(os.Chown(path+".upgrades", stranger-1, stranger-1), os.Chmod(path+".upgrades", 0o666))
		}},
	} {
		path := filepath.Join(e.dir, strings.ReplaceAll(tc.name, " ", "-"))
		if err := tc.make(path); err != nil {
			t.Fatal(err)
		}
		o := e.options()
		o.PidFile = path
		_, looked := upgrade.Look(t.Context(), path)
		_, rolled := upgrade.Rollback(t.Context(), o)
		for what, err := range map[string]error{"status": looked, "rollback": rolled} {
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %s: %v; want %q", tc.name, what, err, tc.want)
			}
		}
	}
	if _, err := upgrade.Look(t.Context(), filepath.Join(elsewhere, "pid")); err == nil || !strings.Contains(err.Error(), "it is not followed") {
		t.Errorf("by the user's link to root's server: %v", err)
	}
	e.calls()
}
