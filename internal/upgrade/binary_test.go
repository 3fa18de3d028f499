package upgrade

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A binary that is not what it should be costs neither memory nor time nor processes.
func TestAskingABinaryThatIsNone(t *testing.T) {
	t.Parallel()
	left := filepath.Join(t.TempDir(), "pid")
	for _, tc := range []struct {
		name, script string
		patience     time.Duration
		want, err    string
	}{
		{"talks for ever", "exec yes", time.Second, "y\ny\n", "no end within 1s"},
		{"hangs", "trap '' TERM INT; echo here; sleep 300", time.Second, "here\n", "no end within 1s"},
		{"leaves a process", "sleep 300 & echo $! >" + left + "; echo here", askPatience, "here\n", "it left a process behind"},
		{"leaves a quiet process", "sleep 300 >/dev/null 2>&1 & echo $! >" + left + "; echo here", askPatience, "here\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := ask(t.Context(), run{path: "/bin/sh", argv: []string{"sh", "-c", tc.script}, env: os.Environ(), patience: tc.patience})
			if !strings.HasPrefix(out, tc.want) || len(out) > maxWords {
				t.Errorf("it said %d bytes, %.20q; want %q at the beginning, and at most %d", len(out), out, tc.want, maxWords)
			}
			if got := text(err); !strings.HasPrefix(got, tc.err) || tc.err == "" && err != nil {
				t.Errorf("error %q, want %q", got, tc.err)
			}
		})
	}
	written, err := os.ReadFile(left)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(written)))
	if err != nil {
		t.Fatal(err)
	}
	if err := until(t.Context(), 5*time.Second, func() (bool, string, error) {
		p, err := readStat(pid)
		gone := errors.Is(err, errGone) || p.zombie()
		return gone, "the end of what it left behind", nil
	}); err != nil {
		t.Error(err)
	}
}

// What people are shown of it is short, and has the cause, which is said last.
func TestLastWords(t *testing.T) {
	t.Parallel()
	out := strings.Repeat("warning\n", 1000) + "the cause" + strings.Repeat(".", 5000) + "\n"
	got := strings.Split(lastWords(out), "\n")
	if len(got) != maxLines || !strings.HasPrefix(got[maxLines-1], "the cause") || len(got[maxLines-1]) != maxLine {
		t.Errorf("last words = %q", got)
	}
	if got := lastWords("one\ntwo\n"); got != "one\ntwo" {
		t.Errorf("last words = %q, want both", got)
	}
}
