package conf

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
)

var randomTexts = flag.Int("random", 150, "how many random texts nginx and Load judge")

// TestRandomTextIsJudgedAsNginxJudgesIt puts pieces that mean something to the lexer
// together at random. The seed is fixed: a failure comes again.
func TestRandomTextIsJudgedAsNginxJudgesIt(t *testing.T) {
	t.Parallel()
	pieces := []string{
		" ", " ", "\n", "\t", "\r", ";", ";", "{", "}", `"`, "'", `\`, "#", "$", "${", "(", ")", "a", "env", "events", "daemon", "on",
		"env A;", "events {}", "env \"x y\";", "include a.conf;", "include *.conf;", "http { types { a b; } }", "\x80", "worker_processes 2;",
	}
	random := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		var b strings.Builder
		for range 1 + random.IntN(n) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		return b.String()
	}
	for range *randomTexts {
		main, other := text(12), text(5)
		if strings.Contains(other, "include") || strings.Contains(main, "include *") {
			other = "env B;" // nginx would go on until it has no descriptors left
			main = strings.ReplaceAll(main, "include *", "include a*")
		}
		prefix := newPrefix(t, main, map[string]string{"a.conf": other})
		want, got := askNginx(t, prefix, "pid logs/pid;"), askUs(t, prefix, "pid logs/pid;")
		if got != want {
			t.Errorf("%q with a.conf %q\n got %q\nwant %q", main, other, got, want)
		}
	}
}
