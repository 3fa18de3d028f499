package master_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/testbed"
)

// A notice is what a process told systemd.
type notice struct {
	pid  int
	text string // assignments, separated by spaces, without the time
}

// hearSystemd plays the receiving end of NOTIFY_SOCKET.
func hearSystemd(t *testing.T, s *server) <-chan notice {
	t.Helper()
	addr := &net.UnixAddr{Name: s.Path("notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var serr error
	if err := rc.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}); err != nil || serr != nil {
		t.Fatal(err, serr)
	}
	notices := make(chan notice, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf, oob := make([]byte, 4096), make([]byte, 4096); ; {
			n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
			if err != nil {
				return
			}
			notices <- notice{sender(oob[:oobn]), words(string(buf[:n]))}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	s.Setenv("NOTIFY_SOCKET", addr.Name)
	return notices
}

func sender(oob []byte) int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return 0
	}
	cred, err := unix.ParseUnixCredentials(&msgs[0])
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}

// words drops the time, which differs.
func words(text string) string {
	var kept []string
	for _, w := range strings.Fields(text) {
		if !strings.HasPrefix(w, "MONOTONIC_USEC=") || len(w) < len("MONOTONIC_USEC=")+3 {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

// wantNotice waits for the next notice.
func wantNotice(t *testing.T, notices <-chan notice, pid int, text string) {
	t.Helper()
	select {
	case got := <-notices:
		if want := (notice{pid, text}); got != want {
			t.Errorf("systemd hears %+v, want %+v", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("systemd does not hear %q from %d", text, pid)
	}
}

// TestSystemd: what systemd hears, in order, over a reload, an upgrade and a
// roll-back. It must follow the process that serves, and never one that may
// still be ended.
func TestSystemd(t *testing.T) {
	t.Parallel()
	s := site(t, testbed.Conf{Main: "daemon off;"})
	notices := hearSystemd(t, s)
	s.Start(s.Binary())
	s.WaitShape(oneMaster)
	first := s.Pid()
	s.master = first
	wantNotice(t, notices, first, fmt.Sprintf("READY=1 MAINPID=%d", first))

	s.Signal(first, syscall.SIGHUP)
	wantNotice(t, notices, first, "RELOADING=1")
	wantNotice(t, notices, first, "READY=1")
	s.WaitShape(oneMaster)

	second := s.upgrade()
	s.Signal(first, syscall.SIGQUIT)
	// The old one first: systemd must know the new main process before the old
	// one is gone.
	wantNotice(t, notices, first, fmt.Sprintf("MAINPID=%d", second))
	wantNotice(t, notices, second, fmt.Sprintf("MAINPID=%d READY=1", second))
	s.WaitShape(oneMaster)

	s.master = second
	third := s.upgrade()
	s.Signal(second, syscall.SIGWINCH)
	s.WaitShape(oldMasterAlone)
	s.Signal(second, syscall.SIGHUP)
	s.WaitShape(twoMasters)
	wantNotice(t, notices, second, "READY=1") // its workers are back
	s.Signal(third, syscall.SIGQUIT)
	wantNotice(t, notices, second, fmt.Sprintf("MAINPID=%d READY=1", second))
	s.WaitShape(oneMaster)

	for _, w := range s.Workers(second) {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w.PID))
		if err != nil || strings.Contains(string(env), "NOTIFY_SOCKET") {
			t.Errorf("a worker can speak to systemd: %q, %v", env, err)
		}
	}

	s.quit()
	wantNotice(t, notices, second, "STOPPING=1")
	if len(notices) > 0 {
		t.Errorf("systemd hears also %+v", <-notices)
	}
}

func TestWatchdog(t *testing.T) {
	t.Parallel()
	s := site(t, testbed.Conf{Main: "daemon off;"})
	notices := hearSystemd(t, s)
	s.Setenv("WATCHDOG_USEC", "100000")
	p := s.Start(s.Binary())
	s.WaitShape(oneMaster)
	wantNotice(t, notices, p.PID, fmt.Sprintf("READY=1 MAINPID=%d", p.PID))
	for range 3 {
		wantNotice(t, notices, p.PID, "WATCHDOG=1")
	}
	s.quit()
}

// TestSocketActivation: the address is systemd's, so binding it would fail.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Fatalf("this test needs systemd-socket-activate (apt-get install systemd): %v", err)
	}
	for _, daemon := range []string{"on", "off"} {
		t.Run("daemon "+daemon, func(t *testing.T) {
			t.Parallel()
			s := site(t, testbed.Conf{Main: "daemon " + daemon + ";"})
			s.Start(activate, "-l", s.Addr, s.Binary())
			// It listens for us, and executes us for the first connection.
			s.WaitFor("an answer", func() bool {
				a, err := testbed.Ask(t.Context(), nil, s.Addr, "/")
				return err == nil && a.Status == 200
			})
			s.WaitShape(oneMaster)
			// The sockets go on to the next master like any other.
			s.master = s.Pid()
			s.upgrade()
			s.Signal(s.master, syscall.SIGQUIT)
			s.WaitShape(map[string]string{"on": oneMaster, "off": kept}[daemon])
			if a := s.Get("/"); a.Server != "baton/"+newVersion {
				t.Errorf("%q answers", a.Server)
			}
			s.quit()
		})
	}
}

// TestUnitFile: systemd finds nothing wrong with the unit file that we ship.
func TestUnitFile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/baton.service")
	if err != nil {
		t.Fatal(err)
	}
	// The executable it names must exist for the check.
	dir := t.TempDir()
	unit := strings.ReplaceAll(string(text), "/usr/local/nginx/sbin/nginx", testbed.BuildFor(t, oldVersion))
	path := filepath.Join(dir, "baton.service")
	if err := os.WriteFile(path, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze verify: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "baton.service") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
}
