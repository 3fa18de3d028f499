package conf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fifo makes one in a folder of its own.
func fifo(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A FIFO is read to its end, however late its writer comes and however slowly it writes;
// one that ends before there is anything in it is empty.
func TestFIFOIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	for _, parts := range [][]string{{"secret\n"}, {"sec", "ret\n"}, {strings.Repeat("x", 300_000)}, {}} {
		name := fifo(t)
		wrote := make(chan error, 1)
		go func() { wrote <- writeFIFO(name, parts) }()
		got, slow, err := readWithin(name, maxFile, time.Minute, time.Minute)
		if err != nil || string(got) != strings.Join(parts, "") || slow == 0 {
			t.Errorf("%.20q is read as %.20q, %v, in %v", parts, got, err, slow)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
}

func writeFIFO(name string, parts []string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range parts {
		if _, err := f.WriteString(p); err != nil {
			return err
		}
	}
	return nil
}

// Whatever is named as a file, reading it ends.
func TestReadingHasABound(t *testing.T) {
	t.Parallel()
	silent := fifo(t)
	open, err := os.OpenFile(silent, os.O_RDWR, 0) // somebody who may write, and does not
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for _, name := range []string{fifo(t), silent} {
		_, _, err := readWithin(name, maxFile, 20*time.Millisecond, time.Minute)
		if want := `read() "` + name + `" failed (110: Connection timed out)`; err == nil || err.Error() != want || !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("a FIFO without end: %v", err)
		}
	}
	if got, _, err := readWithin("/dev/zero", 1000, time.Minute, time.Minute); err != nil || len(got) != 1001 {
		t.Errorf("a device without end: %d bytes, %v", len(got), err)
	}
	if got, _, err := readWithin("/dev/null", 1000, time.Minute, time.Minute); err != nil || len(got) != 0 {
		t.Errorf("an empty device: %q, %v", got, err)
	}
	hangs := make(chan struct{})
	defer close(hangs)
	if _, ok := within(time.Millisecond, func() int { <-hangs; return 0 }); ok {
		t.Error("what hangs has returned")
	}
}

// No kind of file that a configuration names keeps a load waiting, and many of them do not
// wait longer than one.
func TestLoadDoesNotWaitForFiles(t *testing.T) {
	t.Parallel()
	table, err := NewTable(CoreGroup(), Group{Module: "m", Specs: []Spec{
		{Name: "http", In: Main, Block: true, Inner: HTTP},
		{Name: "types", In: HTTP, Block: true, Inner: Types, Free: true},
		{Name: "password_file", In: HTTP, Min: 1, Max: 1, Reads: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(text string) (*Config, error) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "a.conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Load(table, Options{Prefix: dir, File: "a.conf", Patience: 20 * time.Millisecond})
	}
	for _, text := range []string{
		"include fifo;", "events {}\ninclude f*o;", "events {} http { types { include fifo; } }", "events {} http { password_file fifo; }",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), `/fifo" failed (110: Connection timed out) in `+dir) {
			t.Errorf("%s: %v", text, err)
		}
	}
	c, err := load("events {}")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 1000 { // 20 s, if each waited
		if _, err := c.ReadFile("fifo"); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Fatalf("a FIFO without end: %v", err)
		}
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("a thousand reads took %v", took)
	}
}

// What is read late is bounded, too.
func TestLateReadsAreBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &Config{File: dir + "/a.conf"}
	for name, size := range map[string]int{"fits": maxLate, "large": maxLate + 1} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := c.ReadLate("fits"); err != nil || len(got) != maxLate {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := c.ReadLate("large"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file that is too large: %v", err)
	}
	if _, err := c.ReadLate("none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
