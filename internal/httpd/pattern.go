package httpd

import (
	"fmt"
	"regexp"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// patternTimeout bounds one match of an expression that backtracks. Expressions
// that Go's own engine compiles take time linear in the input and need no bound.
const patternTimeout = 100 * time.Millisecond

// A Pattern is a regular expression of the configuration, in PCRE's syntax. Go's
// engine runs it where it can; look-around and back references go to regexp2.
type Pattern struct {
	text  string
	fast  *regexp.Regexp
	slow  *regexp2.Regexp
	names []string // by group; "" for a group without a name
}

// compilePattern compiles text; fold ignores case.
func compilePattern(text string, fold bool) (*Pattern, error) {
	p := &Pattern{text: text}
	prefix := ""
	if fold {
		prefix = "(?i)"
	}
	// PCRE without (?m) anchors $ also before a last line end; URIs have none, and
	// Go's $ is the end of the text.
	if re, err := regexp.Compile(prefix + text); err == nil {
		p.fast, p.names = re, re.SubexpNames()
		return p, nil
	}
	re, err := regexp2.Compile(prefix+text, regexp2.RE2)
	if err != nil {
		re, err = regexp2.Compile(prefix+text, regexp2.None)
	}
	if err != nil {
		return nil, fmt.Errorf("pcre_compile() failed: %w in %q", err, text)
	}
	re.MatchTimeout = patternTimeout
	p.slow = re
	for _, n := range re.GetGroupNumbers() {
		name := re.GroupNameFromNumber(n)
		if name != "" && name[0] >= '0' && name[0] <= '9' {
			name = ""
		}
		p.names = append(p.names, name)
	}
	return p, nil
}

// Match matches b. groups, by number, are parts of b or copies and are appended
// to dst when the expression has any; an error means that time ran out.
func (p *Pattern) Match(b []byte, dst [][]byte) (groups [][]byte, ok bool, err error) {
	if p.slow != nil {
		return p.matchSlow(b, dst)
	}
	if len(p.names) <= 1 {
		return dst, p.fast.Match(b), nil
	}
	at := p.fast.FindSubmatchIndex(b)
	if at == nil {
		return dst, false, nil
	}
	for i := 0; i+1 < len(at); i += 2 {
		if at[i] < 0 {
			dst = append(dst, nil)
			continue
		}
		// A copy: b is the request's URI, which an internal redirect overwrites.
		dst = append(dst, append([]byte(nil), b[at[i]:at[i+1]]...))
	}
	return dst, true, nil
}

func (p *Pattern) matchSlow(b []byte, dst [][]byte) ([][]byte, bool, error) {
	m, err := p.slow.FindStringMatch(string(b))
	if err != nil {
		// Time is what it runs out of, and its own message has all of b.
		return dst, false, fmt.Errorf("match %q on %d bytes: no result after %v", p.text, len(b), patternTimeout)
	}
	if m == nil {
		return dst, false, nil
	}
	for _, g := range m.Groups() {
		dst = append(dst, []byte(g.String()))
	}
	return dst, true, nil
}
