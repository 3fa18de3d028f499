package logfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/rawcall"
)

func openedLog(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// Lines of many writers are each written whole, also such as are longer than what one
// raw call copies: with a large buffer access_log writes many at once.
func TestLogLinesAreWrittenWhole(t *testing.T) {
	t.Parallel()
	const each = 50
	path := filepath.Join(t.TempDir(), "log")
	var l File
	l.Set(openedLog(t, path, os.O_WRONLY|os.O_CREATE|os.O_APPEND))
	var wg sync.WaitGroup
	written := map[string]int{}
	for w, size := range []int{0, 1, 100, 500, rawcall.MaxBytes - 1, rawcall.MaxBytes, 2*rawcall.MaxBytes + 1, 2*rawcall.MaxBytes + 1, 2*rawcall.MaxBytes + 1, 2*rawcall.MaxBytes + 1} {
		text := strings.Repeat(string(rune('a'+w)), size)
		written[text] = each
		wg.Go(func() {
			for range each {
				if n, err := l.Write([]byte(text + "\n")); n != size+1 || err != nil {
					t.Errorf("Write = %d, %v; want %d", n, err, size+1)
				}
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(got)) {
		count[strings.TrimSuffix(line, "\n")]++
	}
	for text, n := range written {
		if count[text] != n {
			t.Errorf("%d lines of %d bytes are whole, want %d", count[text], len(text), n)
		}
	}
}

// What is wrong with a file is told as for any other.
func TestLogTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	var l File
	l.Set(openedLog(t, path, os.O_RDONLY|os.O_CREATE))
	if n, err := l.Write([]byte("x\n")); n != 0 || !errors.Is(err, syscall.EBADF) {
		t.Errorf("Write to what cannot be written = %d, %v", n, err)
	}
	f := openedLog(t, path, os.O_WRONLY)
	l.Set(f)
	_ = f.Close()
	if n, err := l.Write([]byte("x\n")); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write to what is closed = %d, %v", n, err)
	}
}

// A reader of a pipe may take any time: the scheduler is told of each write to one. And
// so it is for a while when the disk was slow.
func TestOnlyWritesThatDoNotWaitAreRaw(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	var l File
	l.Set(openedLog(t, pipe, os.O_RDWR))
	if l.f.Load().raw != nil {
		t.Error("a pipe is written to as if it could not wait")
	}
	l.Set(openedLog(t, filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND))
	if l.f.Load().raw == nil {
		t.Error("a file is not written to at once")
	}
	large := make([]byte, rawcall.MaxBytes+1) // it would take two calls, and another's line between them
	raw := l.f.Load().raw
	l.f.Load().raw = brokenRaw{t, raw}
	if n, err := l.Write(large); n != len(large) || err != nil {
		t.Errorf("Write of much = %d, %v", n, err)
	}
	l.f.Load().raw = raw
	if err := os.Truncate(filepath.Join(dir, "log"), 0); err != nil {
		t.Fatal(err)
	}
	l.slow.Store(time.Now().Add(time.Hour).UnixNano())
	line := []byte("slowly\n")
	if n, err := l.Write(line); n != len(line) || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || !bytes.Equal(got, line) {
		t.Errorf("the log is %q, %v", got, err)
	}
}

// A brokenRaw is none to write to.
type brokenRaw struct {
	t *testing.T
	syscall.RawConn
}

func (b brokenRaw) Write(func(fd uintptr) bool) error {
	b.t.Error("what takes more than one raw call is written by raw calls")
	return nil
}
