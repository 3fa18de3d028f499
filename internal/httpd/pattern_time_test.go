package httpd

import (
	"strings"
	"testing"
)

// A match that finds no end within its time tells which expression it was, and of what a
// client has sent only how long it was.
func TestPatternWithoutAnEndIsToldShortly(t *testing.T) {
	p, err := compilePattern(`^(?=s)(s+)+$`, false)
	if err != nil {
		t.Fatal(err)
	}
	_, ok, err := p.Match([]byte(strings.Repeat("s", 6000)+"!"), nil)
	if want := `match "^(?=s)(s+)+$" on 6001 bytes: no result after 100ms`; ok || err == nil || err.Error() != want {
		t.Errorf("matched %v, %.300v; want %s", ok, err, want)
	}
}
