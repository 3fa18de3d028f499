package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// askPatience is how long a binary may take to tell its version.
const askPatience = 10 * time.Second

// A run is one way to call a binary to its end.
type run struct {
	path string   // of the file to execute
	argv []string // argv[0] too
	dir  string   // "" for ours
	env  []string
}

// ask runs a binary and returns what it wrote, on both streams.
func ask(ctx context.Context, r run) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.path)
	cmd.Args, cmd.Dir, cmd.Env = r.argv, r.dir, r.env
	cmd.WaitDelay = time.Second
	// A binary that is not what it should be may leave children behind: end all.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("no end within %v", askPatience)
	}
	return out.String(), err
}

var versionLine = regexp.MustCompile(`(?m)^\S+ version: (\S+)`)

// askVersion returns what the binary at path says to -v: "nginx/1.22.1",
// "baton/1.0.0", "openresty/1.25.3.1".
func askVersion(ctx context.Context, path, argv0 string) (string, error) {
	out, err := ask(ctx, run{path: path, argv: []string{argv0, "-v"}, env: plainEnv(os.Environ())})
	if err != nil {
		return "", fmt.Errorf("run %s -v: %w%s", path, err, quoted(out))
	}
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("run %s -v: no version in what it says%s", path, quoted(out))
	}
	return m[1], nil
}

// isBaton reports whether version is one of ours.
func isBaton(version string) bool { return strings.HasPrefix(version, "baton/") }

// quoted returns the first line of a program's words as the end of an error.
func quoted(out string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if line == "" {
		return ""
	}
	return ": " + line
}

// plainEnv returns env without what tells a server that it inherits something.
func plainEnv(env []string) []string {
	var plain []string
	for _, kv := range env {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" || name == "NGINX" || name == "NGINX_VAR" || strings.HasPrefix(name, "BATON_") || name == "NOTIFY_SOCKET" {
			continue
		}
		plain = append(plain, kv)
	}
	return plain
}

// environment returns the environment of a process. nginx writes its title over it,
// and nil says that nothing is left.
func environment(pid int) ([]string, error) {
	text, err := os.ReadFile(procPath(pid, "environ"))
	if err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	var env []string
	for kv := range bytes.SplitSeq(text, []byte{0}) {
		name, _, ok := strings.Cut(string(kv), "=")
		if ok && name != "" && !strings.ContainsAny(name, " ;:") {
			env = append(env, string(kv))
		}
	}
	return env, nil
}

func lookupEnv(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// isMissing reports whether err says that a file is not there.
func isMissing(err error) bool { return errors.Is(err, os.ErrNotExist) }
