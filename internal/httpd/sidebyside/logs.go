package sidebyside

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// SameLogs compares a log of both servers, line by line and in any order, with what
// must differ replaced. keep, if not nil, says which lines count: there must be some.
func (p *Pair) SameLogs(name string, keep *regexp.Regexp) {
	t := p.t
	t.Helper()
	var n, b []string
	p.WaitLogs(name, func(nginx, baton string) bool {
		n, b = p.logLines(nginx, keep), p.logLines(baton, keep)
		return len(n) == len(b) && len(n) > 0
	})
	if len(n)+len(b) == 0 {
		t.Errorf("%s: neither server has a line to compare", name)
	}
	// A line is written when the answer is on its way: the next may overtake it.
	slices.Sort(n)
	slices.Sort(b)
	for i := range max(len(n), len(b)) {
		var nl, bl string
		if i < len(n) {
			nl = n[i]
		}
		if i < len(b) {
			bl = b[i]
		}
		if nl != bl {
			t.Errorf("%s line %d:\n  nginx %s\n  baton %s", name, i+1, nl, bl)
		}
	}
}

var logPrefix = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#\d+: (\*\d+ )?`)

func (p *Pair) logLines(text string, keep *regexp.Regexp) []string {
	var lines []string
	for l := range strings.Lines(strings.TrimSpace(text)) {
		l = strings.TrimSuffix(l, "\n")
		l = p.Neutral(Answer{Body: l}).Body
		l = logPrefix.ReplaceAllString(l, "$1 ")
		if keep == nil || keep.MatchString(l) {
			lines = append(lines, l)
		}
	}
	return lines
}

// WaitLogs waits until a log of the two servers, one that ok looks at, has what is waited
// for. It reports whether that came within a minute.
func (p *Pair) WaitLogs(name string, ok func(nginx, baton string) bool) bool {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(p.Logs(name)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
