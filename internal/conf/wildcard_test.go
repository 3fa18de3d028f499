package conf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Names match as the C library has them match for nginx: a shell in the C locale uses the
// same rules.
func TestPatternsOfNames(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a", "b", "B", "9", "a.conf", "b.conf", "a b", "-", "]", "[", "[a", "^", "!", "é", "x-y", "_", "~", "a\\b", "ab", ".hid", "[x]"}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range []string{
		"*", "?", "??", "*.conf", "[ab]", "[!ab]", "[^ab]", "[a-z]", "[9-z]", "[[:alpha:]]", "[![:alpha:]]", "[[:alpha:][:digit:]]*",
		"[[:upper:]]", "[[:lower:]]", "[[:digit:]]", "[[:punct:]]", "[[:space:]]", "a[[:space:]]b", "[[:alnum:]_]", "[[:xdigit:]]",
		"[[:print:]]", "[[:graph:]]*", "[[:cntrl:]]", "[[:nothing:]]", "[]]", "[!]]", "[]a]", "[a-]", "[-a]", "[a", "[[]", "[[]a",
		"x[-]y", "[[.-.]]", "[[=a=]]", "*[b]*", "**", "a*b", "*a*b*", ".*", "[z-a]", "[[:alpha:]", "[[:alpha:]-z]",
	} {
		sh := exec.Command("bash", "-c", `cd "$1" && for f in $2; do [ -e "$f" ] && printf '%s\n' "$f"; done; :`, "sh", dir, pattern)
		sh.Env = []string{"LC_ALL=C", "PATH=/bin:/usr/bin"}
		out, err := sh.Output()
		if err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		short := func(names []string) (short []string) {
			for _, name := range names {
				if name = filepath.Base(name); name != "." && name != ".." {
					short = append(short, name)
				}
			}
			return short
		}
		have, want := short(matchDisk(dir+"/"+pattern)), short(strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"))
		if strings.Join(have, "/") != strings.Join(want, "/") {
			t.Errorf("%s matches %q, the shell says %q", pattern, have, want)
		}
	}
}

// What a shell has other rules for.
func TestEscapesInPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{`a\\b`, `a\b`, true}, {`\[a`, "[a", true}, {`\[x\]`, "[x]", true}, {`\*`, "*", true}, {`\*`, "a", false}, {`[\]]`, "]", true},
		{`[\]]`, `\`, false}, {`a\`, `a\`, true}, {"?", "é", false}, {"??", "é", true},
	} {
		if got := matches(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%s and %s: %v", tt.pattern, tt.name, got)
		}
	}
}

// A pattern with many stars ends in time.
func TestPatternOfManyStars(t *testing.T) {
	if matches(strings.Repeat("a*", 12)+"b", strings.Repeat("a", 60)) {
		t.Error("it matches")
	}
}
