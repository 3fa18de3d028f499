package sidebyside

import (
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Program starts a program in folder dir, waits until ready reports true, and ends
// the program with SIGTERM when the test ends.
func Program(t testing.TB, ready func() bool, dir, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(waitLimit):
			t.Errorf("%s did not end", path)
			_ = cmd.Process.Kill()
			<-exited
		}
	})
	for deadline := time.Now().Add(waitLimit); !ready(); {
		select {
		case <-exited:
			t.Fatalf("%s ended: %s", path, out.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready", path)
		}
	}
}

// Listens is a fact to wait for: somebody listens there.
func Listens(network, addr string) func() bool {
	return func() bool {
		c, err := net.Dial(network, addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
}
