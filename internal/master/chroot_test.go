package master_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
)

// TestChrootWithoutProc: a root without /proc is told to need one.
func TestChrootWithoutProc(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // nobody else may change the root
	}
	root := t.TempDir()
	for name, content := range map[string]string{
		"conf/nginx.conf": "daemon off; events {} http { server { listen 127.0.0.1:1; } }", "logs/error.log": "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	image, err := os.ReadFile(testbed.PlainFor(t, oldVersion)) // needs no library
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "nginx"), image, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "/nginx", "-p", "/")
	c.Dir, c.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root}
	out, err := c.CombinedOutput()
	if want := "/proc must be mounted (mount -t proc proc /proc)"; err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v, %s; want %q", err, out, want)
	}
}
