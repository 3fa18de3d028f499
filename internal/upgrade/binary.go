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

const (
	// askPatience is how long a binary may take to tell its version.
	askPatience = 10 * time.Second
	// maxWords is how much of what a binary says is kept.
	maxWords = 1 << 20
	// maxLine and maxLines are how much of it is told to people.
	maxLine, maxLines = 400, 20
)

// A run is one way to call a binary to its end.
type run struct {
	path     string   // of the file to execute
	argv     []string // argv[0] too
	dir      string   // "" for ours
	env      []string
	patience time.Duration // how long it may take
}

// words keeps the beginning of what is written to it.
type words struct{ kept []byte }

func (w *words) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p[:min(len(p), maxWords-len(w.kept))]...)
	return len(p), nil
}

// ask runs a binary and returns what it wrote, on both streams. Nothing that it started
// is left.
func ask(ctx context.Context, r run) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.path)
	cmd.Args, cmd.Dir, cmd.Env = r.argv, r.dir, r.env
	cmd.WaitDelay = time.Second
	// A binary that is not what it should be may leave children behind: end all.
	// And it may be somebody else's than whose terminal this is: in a session of its own
	// it cannot type there.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out words
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.Process != nil {
		_ = cmd.Cancel() // there is nobody left, or should be
	}
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("no end within %v", r.patience)
	case errors.Is(err, exec.ErrWaitDelay):
		err = errors.New("it left a process behind that held its output")
	}
	return string(out.kept), err
}

var versionLine = regexp.MustCompile(`(?m)^\S+ version: (\S+)`)

// askVersion returns what the binary at path, which is called name, says to -v:
// "nginx/1.22.1", "baton/1.0.0", "openresty/1.25.3.1".
func askVersion(ctx context.Context, path, name string) (string, error) {
	out, err := ask(ctx, run{path: path, argv: []string{name, "-v"}, dir: "/", env: cleanEnv(), patience: askPatience})
	if err != nil {
		return "", fmt.Errorf("run %s -v: %w%s", name, err, quoted(out))
	}
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("run %s -v: no version in what it says%s", name, quoted(out))
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
	return ": " + line[:min(len(line), maxLine)]
}

// lastWords returns the end of what a program said: the cause is there.
func lastWords(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	lines = lines[max(0, len(lines)-maxLines):]
	for i, line := range lines {
		lines[i] = line[:min(len(line), maxLine)]
	}
	return strings.Join(lines, "\n")
}

// cleanEnv is the environment of a binary that has none of a master: nothing of what
// whoever runs this has in his own.
func cleanEnv() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"LANG", "LC_ALL", "TZ", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
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
	var text []byte
	err := lookInto(pid, func(dir string) (err error) {
		text, err = os.ReadFile(dir + "/environ")
		return err
	})
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
