package main

import (
	"context"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runMake runs a target of the repository's Makefile; OUT keeps what it builds
// out of the repository.
func runMake(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", append([]string{"-C", "../.."}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %q: %v\n%s", args, err, out)
	}
}

// The linker says nothing of a variable that is not there, so the build is run.
func TestMakeBuildSetsVersionAndPaths(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "sbin", "nginx")
	runMake(t, "build", "OUT="+exe, "VERSION=2.0.0", "PREFIX=/p",
		"CONF_PATH=/etc/c", "PID_PATH=/run/i", "ERROR_LOG_PATH=stderr", "HTTP_LOG_PATH=/var/h")
	out, err := exec.CommandContext(t.Context(), exe, "-V").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nginx version: baton/2.0.0\n",
		"--prefix=/p --conf-path=/etc/c --pid-path=/run/i --error-log-path=stderr --http-log-path=/var/h "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("-V = %s\nwant it to have %q", out, want)
		}
	}
	file, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the executable needs %q of the system, %v", libraries, err)
	}
	// What such a build is told to be started with must reach the prefix that it made.
	dir := filepath.Join(t.TempDir(), "P")
	if out, err = exec.CommandContext(t.Context(), exe, "init", dir, "--listen", "127.0.0.1:1").Output(); err != nil {
		t.Fatal(err)
	}
	_, start, _ := strings.Cut(strings.TrimSpace(string(out)), "start it: ")
	out, err = exec.CommandContext(t.Context(), "sh", "-c", start+" -t").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "file "+dir+"/conf/nginx.conf test is successful") {
		t.Errorf("%s -t: %v\n%s", start, err, out)
	}
	if want := dir + "/sbin/nginx -p " + dir + " -c conf/nginx.conf -e logs/error.log -g 'pid logs/nginx.pid;'"; start != want {
		t.Errorf("start it: %s, want %s", start, want)
	}
}

func TestMakeInstall(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		files map[string]string // path: part of its content
	}{
		{"as it is", nil, map[string]string{
			"usr/local/bin/baton":                                  "ELF",
			"usr/local/share/man/man8/baton.8":                     ".TH BATON 8",
			"usr/local/share/bash-completion/completions/baton":    "complete ",
			"usr/local/share/zsh/site-functions/_baton":            "#compdef baton",
			"usr/local/share/fish/vendor_completions.d/baton.fish": "complete -c baton",
			"usr/local/lib/systemd/system/baton.service":           "ExecStart=/usr/local/nginx/sbin/nginx ",
		}},
		{"in nginx's place", []string{"PREFIX=/usr/share/nginx", "PID_PATH=/run/nginx.pid", "SBIN_PATH=/usr/sbin/nginx"}, map[string]string{
			"usr/sbin/nginx":                             "ELF",
			"usr/local/share/man/man8/nginx.8":           ".TH NGINX 8",
			"usr/local/lib/systemd/system/nginx.service": "PIDFile=/run/nginx.pid\nExecStartPre=/usr/sbin/nginx ",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dest := t.TempDir()
			runMake(t, append([]string{"install", "OUT=" + filepath.Join(t.TempDir(), "baton"), "DESTDIR=" + dest}, tt.args...)...)
			for name, part := range tt.files {
				b, err := os.ReadFile(filepath.Join(dest, name))
				if err != nil {
					t.Error(err)
				} else if !strings.Contains(string(b), part) {
					t.Errorf("%s does not have %q", name, part)
				}
			}
		})
	}
}
