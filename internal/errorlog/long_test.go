package errorlog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

// A line is as long as nginx's longest at most, whatever way it was made, and cut between
// characters.
func TestLinesAreBounded(t *testing.T) {
	for _, part := range []string{"x", "é", "€", "\x01"} {
		long := strings.Repeat(part, 3000)
		for name, write := range map[string]func(l *slog.Logger){
			"message":   func(l *slog.Logger) { l.Error(long) },
			"attribute": func(l *slog.Logger) { l.Error("m", "request", long) },
			"cause":     func(l *slog.Logger) { l.With("err", long).Error("m") },
			"direct": func(l *slog.Logger) {
				e := NewDirect(l).Begin(Error)
				e.Text("m")
				e.Quoted("request", []byte(long))
				e.Write()
			},
		} {
			var file, console bytes.Buffer
			write(New(NewOutput(&file, Debug), NewConsole(&console, "nginx", Debug)))
			for output, b := range map[string]*bytes.Buffer{"file": &file, "console": &console} {
				s := b.String()
				if strings.Count(s, "\n") != 1 || !strings.HasSuffix(s, "\n") || len(s) > maxLine || !utf8.ValidString(s) {
					t.Errorf("%s of %q in the %s: %d bytes, %q at its end", name, part, output, len(s), s[len(s)-8:])
				}
				if output == "file" && len(s) < maxLine-3 {
					t.Errorf("%s of %q: only %d bytes", name, part, len(s))
				}
			}
		}
	}
	exact := strings.Repeat("x", maxLine-1)
	if got := string(endLine([]byte(exact))); got != exact+"\n" {
		t.Error("a line that fits is cut")
	}
}
