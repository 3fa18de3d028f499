package errorlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// logged returns what f makes a logger at debug write, without the head.
func logged(f func(*slog.Logger)) string {
	var b bytes.Buffer
	f(New(NewOutput(&b, Debug)))
	_, rest, _ := strings.Cut(b.String(), fmt.Sprintf(" %d#%[1]d: ", os.Getpid()))
	return rest
}

func TestLineHasNginxForm(t *testing.T) {
	var b bytes.Buffer
	New(NewOutput(&b, Debug)).Log(context.Background(), Notice, "start worker processes")
	want := regexp.MustCompile(fmt.Sprintf(
		`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[notice\] %d#%[1]d: start worker processes\n$`, os.Getpid()))
	if !want.Match(b.Bytes()) {
		t.Errorf("line = %q, want a match of %s", b.String(), want)
	}
}

func TestTimeIsLocal(t *testing.T) {
	var b bytes.Buffer
	at := time.Date(2026, 11, 20, 21, 0, 0, 999, time.Local)
	r := slog.NewRecord(at, Error, "m", 0)
	if err := New(NewOutput(&b, Debug)).Handler().Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if want := "2026/11/20 21:00:00 [error] "; !strings.HasPrefix(b.String(), want) {
		t.Errorf("line = %q, want it to begin with %q", b.String(), want)
	}
}

func TestAttributes(t *testing.T) {
	tests := []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"as nginx", func(l *slog.Logger) {
			l.With("conn", 7, "client", "192.0.2.1", "server", "_").
				Error("connect() failed", "err", syscall.ECONNREFUSED, "request", "GET / HTTP/1.1",
					"upstream", "http://127.0.0.1:1/", "host", "example.com", "referrer", "r")
		}, `*7 connect() failed (111: Connection refused), client: 192.0.2.1, server: _, request: "GET / HTTP/1.1", ` +
			`upstream: "http://127.0.0.1:1/", host: "example.com", referrer: "r"`},
		{"err before the rest", func(l *slog.Logger) { l.Error("m", "pid", 3, "err", errors.New("why")) }, "m: why, pid: 3"},
		{"nil err", func(l *slog.Logger) { l.Error("m", "err", nil) }, "m"},
		{"err of With", func(l *slog.Logger) { l.With("err", io.EOF).Error("m") }, "m: EOF"},
		{"conn of the record", func(l *slog.Logger) { l.With("conn", 1).Info("m", "conn", uint64(1<<63)) }, "*9223372036854775808 m"},
		{"kinds", func(l *slog.Logger) {
			l.Info("m", "b", true, "d", 1500*time.Millisecond, "f", 0.5, "i", -1, "n", nil,
				"t", time.Unix(0, 0).UTC(), "x", []byte("y"))
		}, "m, b: true, d: 1.5s, f: 0.5, i: -1, n: <nil>, t: 1970-01-01T00:00:00Z, x: y"},
		{"groups", func(l *slog.Logger) {
			l.WithGroup("g").With("a", 1).WithGroup("").Info("m", slog.Group("h", "request", 2), slog.Group("", "c", 3))
		}, "m, g.a: 1, g.h.request: 2, g.c: 3"},
		{"empty", func(l *slog.Logger) { l.Info("m", slog.Attr{}) }, "m"},
		{"valuer", func(l *slog.Logger) { l.Info("m", "v", valuer{}) }, "m, v: resolved"},
		{"With does not leak to its parent", func(l *slog.Logger) { l.With("a", 1); l.Info("m") }, "m"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := logged(tt.log); got != tt.want+"\n" {
				t.Errorf("got  %q\nwant %q", got, tt.want+"\n")
			}
		})
	}
}

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.StringValue("resolved") }

func TestInputCannotForgeALine(t *testing.T) {
	tests := []struct{ in, unquoted, quoted string }{
		{"a\nb\r\x00\x7f", `a\x0Ab\x0D\x00\x7F`, `a\x0Ab\x0D\x00\x7F`},
		{`say "x\y"`, `say "x\y"`, `say \x22x\x5Cy\x22`},
		{"\x1b[31m", `\x1B[31m`, `\x1B[31m`},
		{"zażółć \u00a0", "zażółć \u00a0", "zażółć \u00a0"},
		{"\u009b2J", `\xC2\x9B2J`, `\xC2\x9B2J`},
		{"\xff\xc3(", `\xFF\xC3(`, `\xFF\xC3(`},
		{"\ufffd", "\ufffd", "\ufffd"},
		{"", "", ""},
	}
	for _, tt := range tests {
		got := logged(func(l *slog.Logger) { l.Info(tt.in, "err", errors.New(tt.in), "k", tt.in, "request", tt.in) })
		want := fmt.Sprintf("%s: %[1]s, k: %[1]s, request: \"%s\"\n", tt.unquoted, tt.quoted)
		if got != want {
			t.Errorf("%q:\ngot  %q\nwant %q", tt.in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\n\"\\\xff\u009b")
	f.Fuzz(func(t *testing.T, s string) {
		got := logged(func(l *slog.Logger) { l.Info("m", "request", s) })
		body, ok := strings.CutPrefix(got, `m, request: "`)
		body, ok2 := strings.CutSuffix(body, "\"\n")
		if !ok || !ok2 || strings.ContainsFunc(body, func(r rune) bool {
			return r < 0x20 || r == '"' || r >= 0x7f && r < 0xa0
		}) {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestEachOutputHasItsLevelAndForm(t *testing.T) {
	var all, few, console bytes.Buffer
	l := New(NewOutput(&all, Info), NewOutput(&few, Crit), NewConsole(&console, "nginx", Emerg))
	ctx := context.Background()
	l.Log(ctx, Debug, "d")
	l.Log(ctx, Warn, "w")
	l.Log(ctx, Crit, "c")
	l.Log(ctx, Emerg, "e", "err", syscall.ENOENT)
	for _, tt := range []struct {
		name string
		got  *bytes.Buffer
		want []string
	}{{"all", &all, []string{": w", ": c", ": e (2: "}}, {"few", &few, []string{": c", ": e (2: "}}} {
		lines := strings.SplitAfter(strings.TrimSuffix(tt.got.String(), "\n"), "\n")
		if len(lines) != len(tt.want) {
			t.Fatalf("%s = %q, want %d lines", tt.name, lines, len(tt.want))
		}
		for i, w := range tt.want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("%s line %d = %q, want it to have %q", tt.name, i, lines[i], w)
			}
		}
	}
	if want := "nginx: [emerg] e (2: No such file or directory)\n"; console.String() != want {
		t.Errorf("console = %q, want %q", console.String(), want)
	}
}

func TestOneRecordIsOneWrite(t *testing.T) {
	var w countingWriter
	l := New(NewOutput(&w, Debug))
	l.Error(strings.Repeat("long ", 10_000), "k", strings.Repeat("v", 100_000))
	if w != 1 {
		t.Errorf("writes = %d, want 1", w)
	}
}

type countingWriter int

func (w *countingWriter) Write(b []byte) (int, error) { *w++; return len(b), nil }

func TestWriteErrorIsReturnedAndOtherOutputsWritten(t *testing.T) {
	closed, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	var b bytes.Buffer
	h := New(NewOutput(closed, Debug), NewOutput(&b, Debug)).Handler()
	err = h.Handle(context.Background(), slog.NewRecord(time.Now(), Error, "m", 0))
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("err = %v, want os.ErrClosed", err)
	}
	if b.Len() == 0 {
		t.Error("nothing written to the output that works")
	}
}

// Rotating the log must lose no line and tear none, however many goroutines
// write meanwhile.
func TestReopenLosesNothing(t *testing.T) {
	const writers, each, files = 4, 500, 20
	dir := t.TempDir()
	open := func(i int) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	o := NewOutput(open(0), Debug)
	l := New(o)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r := slog.NewRecord(time.Now(), Info, "m", 0)
				r.AddAttrs(slog.Int("w", w), slog.Int("i", i))
				if err := l.Handler().Handle(context.Background(), r); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	for i := range files {
		if err := o.Reopen(open(i + 1)).(*os.File).Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	wg.Wait()
	o.Reopen(io.Discard).(*os.File).Close()

	seen := map[string]int{}
	line := regexp.MustCompile(`^\S+ \S+ \[info\] \S+ m, (w: \d+, i: \d+)$`)
	for i := range files + 1 {
		b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		for s := range strings.Lines(string(b)) {
			m := line.FindStringSubmatch(strings.TrimSuffix(s, "\n"))
			if m == nil {
				t.Fatalf("torn line %q", s)
			}
			seen[m[1]]++
		}
	}
	if len(seen) != writers*each {
		t.Errorf("distinct lines = %d, want %d", len(seen), writers*each)
	}
}

func TestLevels(t *testing.T) {
	for name, want := range map[string]slog.Level{
		"debug": -4, "info": 0, "notice": 2, "warn": 4, "error": 8, "crit": 12, "alert": 14, "emerg": 16, "": 8,
	} {
		got, err := ParseLevel(name)
		if err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v, want %v", name, got, err, want)
		}
		if back := LevelName(got); name != "" && back != name {
			t.Errorf("LevelName(%d) = %q, want %q", got, back, name)
		}
	}
	if _, err := ParseLevel("Error"); err == nil {
		t.Error(`ParseLevel("Error") succeeded, nginx refuses it`)
	}
	for l, want := range map[slog.Level]string{-8: "debug", 1: "info", 3: "notice", 99: "emerg"} {
		if got := LevelName(l); got != want {
			t.Errorf("LevelName(%d) = %q, want %q", l, got, want)
		}
	}
}

func TestLevelThatIsOffCostsNoAllocation(t *testing.T) {
	l := New(NewOutput(io.Discard, Error)).With("client", "192.0.2.1")
	n := testing.AllocsPerRun(1000, func() {
		l.LogAttrs(context.Background(), Info, "m", slog.String("request", "GET /"), slog.Int("n", 1<<20))
	})
	if n != 0 {
		t.Errorf("allocations = %v, want 0", n)
	}
}

func BenchmarkOff(b *testing.B) {
	l := New(NewOutput(io.Discard, Error))
	b.ReportAllocs()
	for b.Loop() {
		l.LogAttrs(context.Background(), Info, "m", slog.String("request", "GET /"))
	}
}

func BenchmarkLine(b *testing.B) {
	l := New(NewOutput(io.Discard, Error)).With("conn", 7, "client", "192.0.2.1", "server", "_")
	b.ReportAllocs()
	for b.Loop() {
		l.LogAttrs(context.Background(), Error, "connect() failed",
			slog.Any("err", syscall.ECONNREFUSED), slog.String("request", "GET / HTTP/1.1"))
	}
}
