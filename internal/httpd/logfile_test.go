package httpd

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
// raw call copies.
func TestLogLinesAreWrittenWhole(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 50
	path := filepath.Join(t.TempDir(), "log")
	var l LogFile
	l.set(openedLog(t, path, os.O_WRONLY|os.O_CREATE|os.O_APPEND))
	var wg sync.WaitGroup
	for w := range writers {
		line := []byte(strings.Repeat(string(rune('a'+w)), 100*w) + "\n")
		wg.Go(func() {
			for range each {
				if n, err := l.Write(line); n != len(line) || err != nil {
					t.Errorf("Write = %d, %v; want %d", n, err, len(line))
				}
			}
		})
	}
	wg.Wait()
	long := bytes.Repeat([]byte("x"), 3*maxRaw+1)
	if n, err := l.Write(long); n != len(long) || err != nil {
		t.Errorf("Write of %d bytes = %d, %v", len(long), n, err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(got), "\n")
	if last := lines[len(lines)-1]; last != string(long) {
		t.Errorf("the long line has %d bytes, want %d", len(last), len(long))
	}
	count := map[string]int{}
	for _, line := range lines[:len(lines)-1] {
		count[line]++
	}
	for w := range writers {
		if n := count[strings.Repeat(string(rune('a'+w)), 100*w)]; n != each {
			t.Errorf("%d lines of writer %d are whole, want %d", n, w, each)
		}
	}
}

// What is wrong with a file is told as for any other.
func TestLogTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	var l LogFile
	l.set(openedLog(t, path, os.O_RDONLY|os.O_CREATE))
	if n, err := l.Write([]byte("x\n")); n != 0 || !errors.Is(err, syscall.EBADF) {
		t.Errorf("Write to what cannot be written = %d, %v", n, err)
	}
	f := openedLog(t, path, os.O_WRONLY)
	l.set(f)
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
	var l LogFile
	l.set(openedLog(t, pipe, os.O_RDWR))
	if l.f.Load().raw != nil {
		t.Error("a pipe is written to as if it could not wait")
	}
	l.set(openedLog(t, filepath.Join(dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND))
	if l.f.Load().raw == nil {
		t.Error("a file is not written to at once")
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
