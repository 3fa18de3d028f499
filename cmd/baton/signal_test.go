package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// Each word reaches the process of the pid file, as the signal it stands for.
func TestSignalReachesTheMaster(t *testing.T) {
	for word, want := range map[string]syscall.Signal{
		"stop": syscall.SIGTERM, "quit": syscall.SIGQUIT, "reopen": syscall.SIGUSR1, "reload": syscall.SIGHUP,
	} {
		t.Run(word, func(t *testing.T) {
			dir := t.TempDir()
			// A test that was started with the signal ignored (nohup) would hand that
			// down: what is caught here has its default action in a child.
			caught := make(chan os.Signal, 1)
			signal.Notify(caught, want)
			defer signal.Stop(caught)
			// It ends by any of these signals, and says by which.
			master := exec.CommandContext(t.Context(), "sleep", "60")
			if err := master.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = master.Process.Kill() }()
			for name, text := range map[string]string{
				"nginx.conf": "pid nginx.pid;\nevents {}\n",
				"nginx.pid":  fmt.Sprintf("%d\n", master.Process.Pid),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var out, errs bytes.Buffer
			args := []string{"/x/nginx", "-s", word, "-p", dir, "-c", "nginx.conf", "-e", "error.log"}
			if got := run(args, &out, &errs); got != 0 {
				t.Fatalf("status = %d, stderr %q", got, &errs)
			}
			if out.Len()+errs.Len() != 0 {
				t.Errorf("told %q and %q, want nothing", &out, &errs)
			}
			var exit *exec.ExitError
			if err := master.Wait(); !errors.As(err, &exit) {
				t.Fatalf("the process ended with %v, want a signal", err)
			}
			if got := exit.Sys().(syscall.WaitStatus).Signal(); got != want {
				t.Errorf("signal = %v, want %v", got, want)
			}
		})
	}
}
