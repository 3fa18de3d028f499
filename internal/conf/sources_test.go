package conf

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What a configuration was made from is told from what lies there by now, file by file,
// also when nothing but the content differs.
func TestSourcesChanged(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Hour)
	for _, name := range []string{"a", "b", "c"} {
		write(name, "old")
		if err := os.Chtimes(path(name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	write("d1.conf", "")
	s := newSnapshot(Options{}, false)
	r := &reader{into: s}
	for _, name := range []string{"a", "b", "c"} {
		if _, err := r.read(path(name), true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.glob(path("d*.conf")); err != nil {
		t.Fatal(err)
	}
	src := s.Sources()
	want := func(names ...string) {
		t.Helper()
		if got := src.Changed(10); !slices.Equal(got, names) {
			t.Errorf("changed: %q, want %q", got, names)
		}
	}
	want()
	want() // by their stamps
	write("a", "new")
	if err := os.Chtimes(path("a"), long, long); err != nil { // a tool that keeps times
		t.Fatal(err)
	}
	want(path("a"))
	write("a", "old")
	want()
	if err := os.Remove(path("b")); err != nil {
		t.Fatal(err)
	}
	write("d2.conf", "")
	want(path("b"), path("d*.conf"))
	if got := src.Changed(1); len(got) != 1 {
		t.Errorf("changed, at most one: %q", got)
	}
	src.mu.Lock() // somebody looks, and the disk hangs
	defer src.mu.Unlock()
	if got := src.Changed(10); got != nil {
		t.Errorf("changed: %q, want nothing while another one looks", got)
	}
}
