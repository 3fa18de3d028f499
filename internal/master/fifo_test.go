package master_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
)

// A start reads a FIFO once, whether the master goes into the background or not, and so
// does a reload: who writes a password into it writes once for each.
func TestPasswordFileIsFIFO(t *testing.T) {
	t.Parallel()
	for _, daemon := range []string{"on", "off"} {
		t.Run("daemon "+daemon, func(t *testing.T) {
			t.Parallel()
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			written := make(chan error, 1)
			write := func() { // returns when somebody reads
				f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
				if err == nil {
					_, err = f.WriteString("secret\n")
				}
				_ = f.Close()
				written <- err
			}
			go write()
			s := site(t, testbed.Conf{Main: "daemon " + daemon + ";", HTTP: "ssl_password_file " + fifo + ";"})
			s.Start(s.Binary())
			s.WaitFor("an answer", func() bool {
				a, err := testbed.Ask(t.Context(), nil, s.Addr, "/")
				return err == nil && a.Status == 200
			})
			s.WaitShape(oneMaster)
			s.master = s.Pid()
			if err := <-written; err != nil {
				t.Error(err)
			}
			go write()
			s.Signal(s.master, syscall.SIGHUP)
			if err := <-written; err != nil {
				t.Error(err)
			}
			s.WaitFor("the old workers to be gone", func() bool { return strings.Contains(s.Log(), "exited with code 0") })
			s.WaitShape(oneMaster)
			s.quit()
		})
	}
}
