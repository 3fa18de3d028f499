package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A told is what a program answered to its arguments.
type told struct {
	Status   int
	Out, Err string
	Log      string // logs/error.log of its prefix
}

// ask runs exe with args in the prefix dir, with its own pid and log files: an
// nginx with no such options would look at the system's own.
func ask(t *testing.T, exe, dir string, args []string) told {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GORACE="+quickRace)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "logs/error.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	// When and who differs between any two runs.
	head := regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(\w+)\] \d+#\d+: `)
	clean := func(s string) string { return head.ReplaceAllString(s, "TIME [$1] ") }
	return told{cmd.ProcessState.ExitCode(), stdout.String(), clean(stderr.String()), clean(string(log))}
}

// makePrefix makes dir a fresh prefix with exe in it, and returns exe's place.
func makePrefix(t *testing.T, dir, exe string, files map[string]string) string {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"conf", "logs", "sbin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "sbin/nginx")
	if err := os.Link(exe, path); err != nil {
		copyFile(t, exe, path)
	}
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCommandLineAnswersAsNginx gives the same arguments to Debian's nginx and
// to us, in the same place, and compares all that either tells.
func TestCommandLineAnswersAsNginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if nginx, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Fatalf("nginx is needed to compare with (make test installs it): %v", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	dir := filepath.Join(work, "P") // the same for both: it is in the messages
	own := filepath.Join(work, "self")
	copyFile(t, self, own)

	// Every case that could reach a process or a pid file names its prefix and
	// a configuration with a pid of its own.
	const here = "-p $P/ -c conf/nginx.conf -e logs/error.log "
	files := func(conf string, more ...string) map[string]string {
		m := map[string]string{"conf/nginx.conf": "pid logs/nginx.pid;\n" + conf}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	good := files("error_log logs/error.log;\nevents {}\n")
	pid := func(text string) map[string]string {
		return files("error_log logs/error.log;\nevents {}\n", "logs/nginx.pid", text)
	}
	tests := []struct {
		args  string
		files map[string]string
	}{
		{"x", good}, {"-x", good}, {"-tx", good}, {"--", good}, {"-sfoo", good}, {"-s foo", good},
		{"-c", good}, {"-tc", good}, {"-p", good}, {"-e", good}, {"-g", good}, {"-s", good},
		{"-q -g", good}, {here + "-v -x", good}, {here + "-h -s foo", good},
		{here + "-t", good}, {here + "-tq", good}, {here + "-T", good}, {here + "-Tq", good}, {here + "-t -t", good},
		{here + "-t -s stop", good},
		{here + "-s stop", good}, {here + "-s quit", good}, {here + "-sreopen", good}, {here + "-s reload", good},
		{here + "-s reload", pid("")}, {here + "-s stop", pid("junk\n")}, {here + "-s stop", pid("12 3\n")},
		{here + "-s quit", pid("-5\n")}, {here + "-s quit", pid("4194303\r\n")}, {here + "-sstop", pid("4194303")},
		{here + "-t", files("foo;")}, {here + "-tq", files("foo;")}, {here + "-T", files("foo;")},
		{here + "-s stop", files("foo;")},
		{here + "-t", files("events {}\nerror_log nodir/e.log;")},
		{here + "-t", files("events {}\nhttp { proxy_temp_path nodir/t; }")},
		{here + "-s stop", files("events {}\nerror_log nodir/e.log;")},
		{here + "-t", map[string]string{"conf/nginx.conf": "events {}\npid nodir/nginx.pid;"}},
		{here + "-t", files("events {}\nuser nobody-of-this-name;")},
		{here + "-t", files("events {}\nuser root group-of-no-name;")},
		{here + "-t -e nodir/e.log", good}, {here + "-t -e stderr", good}, {here + "-s stop -e nodir/e.log", good},
		{here + "-t -g foo;", good}, {here + "-t -g daemon", good}, {here + "-t -g daemon_off;", good},
		{here + "-t -c conf/none", good}, {here + "-t -c conf", good}, {here + "-t -c conf/../conf/nginx.conf", good},
		{here + "-tc $P/conf/nginx.conf", good}, {"-t -p $P -e logs/error.log -cconf/nginx.conf", good},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(tt.args, "$P", dir))
			want := ask(t, makePrefix(t, dir, nginx, tt.files), dir, args)
			got := ask(t, makePrefix(t, dir, own, tt.files), dir, args)
			for _, w := range []*told{&want, &got} {
				w.Err = regexp.MustCompile(`nginx version: \S+`).ReplaceAllString(w.Err, "nginx version: X")
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-nginx +us):\n%s", d)
			}
		})
	}
}
