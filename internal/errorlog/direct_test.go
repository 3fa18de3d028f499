package errorlog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A line composed directly is the one that slog's attributes come to.
func TestDirectLineIsTheSame(t *testing.T) {
	for _, text := range []string{"plain", "", "a\"b\\c", "new\nline", "é\u0085\xff", "end\""} {
		for _, err := range []error{nil, syscall.ENOENT, errors.New("why\n")} {
			direct := logged(func(l *slog.Logger) {
				e := NewDirect(l).Begin(Error)
				e.Conn(7)
				e.Text(text)
				e.Cause(err)
				e.Field("client", text)
				e.Quoted("host", []byte(text))
				e.Write()
			})
			slow := logged(func(l *slog.Logger) {
				l.Error(text, "conn", 7, "err", err, "client", text, "host", text)
			})
			if direct != slow {
				t.Errorf("%q, %v: %q, by slog %q", text, err, direct, slow)
			}
		}
	}
}

// Loggers that are not New's get the text.
func TestDirectWritesToAnyLogger(t *testing.T) {
	var b bytes.Buffer
	for _, l := range []*slog.Logger{
		slog.New(slog.NewTextHandler(&b, nil)),
		New(NewOutput(&b, Debug)).With("gen", 2),
	} {
		b.Reset()
		d := NewDirect(l)
		if !d.Enabled(Error) {
			t.Fatal("not enabled")
		}
		e := d.Begin(Error)
		e.Text("m")
		e.Field("client", "x")
		e.Write()
		if !strings.Contains(b.String(), "m, client: x") {
			t.Errorf("wrote %q", b.String())
		}
	}
}

// Lines that are written together are all there, whole, and none comes after a
// line that was logged behind it.
func TestGatheredLinesAreComplete(t *testing.T) {
	var b bytes.Buffer
	l := New(NewOutput(&b, Debug), NewConsole(new(bytes.Buffer), "w", Alert))
	d := NewDirect(l)
	const each, writers = 200, 8
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				e := d.Begin(Error)
				e.Text("0123456789")
				e.Write()
			}
		})
	}
	wg.Wait()
	l.Log(context.Background(), Notice, "last")
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != each*writers+1 {
		t.Fatalf("%d lines, want %d", len(lines), each*writers+1)
	}
	for i, line := range lines {
		want := ": 0123456789"
		if i == len(lines)-1 {
			want = ": last"
		}
		if !strings.HasSuffix(line, want) {
			t.Errorf("line %d is %q", i, line)
		}
	}
}
