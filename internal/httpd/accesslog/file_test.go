package accesslog

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink takes what a log file would get, one string for each write.
type sink struct {
	mu     sync.Mutex
	writes []string
	err    error
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.writes = append(s.writes, string(p))
	return len(p), nil
}

func (s *sink) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.writes, "|")
}

func write(t *testing.T, f *file, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if err := f.write([]byte(l)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLinesWithoutBufferAreWrittenAtOnce(t *testing.T) {
	out := &sink{}
	write(t, &file{out: out}, "a\n", "b\n")
	if got := out.got(); got != "a\n|b\n" {
		t.Errorf("wrote %q", got)
	}
}

func TestBufferIsWrittenWhenFullAndKeepsOrder(t *testing.T) {
	out := &sink{}
	f := &file{out: out, size: 8}
	write(t, f, "aaa\n", "bbb\n")
	if got := out.got(); got != "" {
		t.Fatalf("wrote %q before the buffer was full", got)
	}
	write(t, f, "c\n", "longer than all\n", "d\n")
	if got := out.got(); got != "aaa\nbbb\n|c\n|longer than all\n" {
		t.Errorf("wrote %q", got)
	}
	f.Flush()
	f.Flush()
	if got := out.got(); got != "aaa\nbbb\n|c\n|longer than all\n|d\n" {
		t.Errorf("wrote %q after Flush", got)
	}
}

func TestBufferIsWrittenWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		f := &file{out: out, size: 100, flush: time.Minute}
		for round := range 2 {
			write(t, f, "a\n", "b\n")
			time.Sleep(59 * time.Second)
			synctest.Wait()
			if got, want := out.got(), strings.TrimSuffix(strings.Repeat("a\nb\n|", round), "|"); got != want {
				t.Fatalf("wrote %q too early", got)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got, want := out.got(), strings.TrimSuffix(strings.Repeat("a\nb\n|", round+1), "|"); got != want {
				t.Fatalf("wrote %q, want %q", got, want)
			}
		}
		write(t, f, "c\n")
		f.Flush()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := out.got(); got != "a\nb\n|a\nb\n|c\n" {
			t.Errorf("wrote %q", got)
		}
	})
}

// A full disk is reported once in a minute, also when a timer met it.
func TestFailureIsReportedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{err: errors.New("no space")}
		for _, f := range []*file{{out: out}, {out: out, size: 2}} {
			reported := 0
			for range 130 {
				if f.write([]byte("a\n")) != nil {
					reported++
				}
				time.Sleep(time.Second)
			}
			if reported != 3 {
				t.Errorf("buffer of %d: reported %d times in 130 seconds, want 3", f.size, reported)
			}
		}
	})
}

func TestConcurrentLinesStayWhole(t *testing.T) {
	out := &sink{}
	f := &file{out: out, size: 64, flush: time.Millisecond}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				_ = f.write([]byte("0123456789\n"))
			}
		})
	}
	wg.Wait()
	f.Flush()
	if got := strings.ReplaceAll(out.got(), "|", ""); got != strings.Repeat("0123456789\n", 1600) {
		t.Errorf("%d bytes, or torn lines", len(got))
	}
}

func TestEscapes(t *testing.T) {
	for _, x := range []struct{ value, def, json string }{
		{"plain", "plain", "plain"},
		{"", "", ""},
		{"a\"b\\c", `a\x22b\x5Cc`, `a\"b\\c`},
		{"\n\r\t\b\f\x01\x1f", `\x0A\x0D\x09\x08\x0C\x01\x1F`, `\n\r\t\b\f\u0001\u001F`},
		{"\x7fä", `\x7F\xC3\xA4`, "\x7fä"},
	} {
		if got := string(escapeDefault([]byte("pre"+x.value), 3, true)); got != "pre"+x.def {
			t.Errorf("default: %q is %q, want %q", x.value, got, "pre"+x.def)
		}
		if got := string(escapeJSON([]byte("pre"+x.value), 3, true)); got != "pre"+x.json {
			t.Errorf("json: %q is %q, want %q", x.value, got, "pre"+x.json)
		}
		if got := string(escapeNone([]byte("pre"+x.value), 3, true)); got != "pre"+x.value {
			t.Errorf("none: %q is %q", x.value, got)
		}
	}
	for i, e := range []escape{escapeDefault, escapeJSON, escapeNone} {
		if got, want := string(e([]byte("pre"), 3, false)), []string{"pre-", "pre", "pre"}[i]; got != want {
			t.Errorf("missing value %d is %q, want %q", i, got, want)
		}
	}
}

// FuzzEscape: whatever a client sends, it cannot end a line, nor a quoted field.
func FuzzEscape(f *testing.F) {
	f.Add([]byte("a\"b\nc\\\x00\xff"))
	f.Fuzz(func(t *testing.T, value []byte) {
		got := escapeDefault(append([]byte("p"), value...), 1, true)
		for _, c := range got {
			if c < ' ' || c > '~' || c == '"' {
				t.Fatalf("%q became %q", value, got)
			}
		}
		got = escapeJSON(append([]byte("p"), value...), 1, true)
		if bytes.ContainsFunc(got, func(r rune) bool { return r < ' ' }) || strings.Contains(strings.NewReplacer(`\\`, "", `\"`, "").Replace(string(got)), `"`) {
			t.Fatalf("%q became %q", value, got)
		}
	})
}
