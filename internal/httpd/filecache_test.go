package httpd

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func cachePath(name string) []byte { return append([]byte(name), 0) }

// contentOf reads an open File.
func contentOf(t *testing.T, f File) string {
	t.Helper()
	b := make([]byte, f.Size)
	n, err := unix.Pread(f.FD, b, 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// openFDs is how many descriptors below dir this process has open.
func openFDs(t *testing.T, dir string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	// As deployments do it: another file takes the name.
	if err := os.WriteFile(name+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func newTestCache(max int, inactive time.Duration) *fileCache {
	return &fileCache{max: max, inactive: inactive, files: map[string]*cachedFile{}}
}

// While an entry is valid it is believed, also that there is no such file; then it
// is looked at again.
func TestCacheValidity(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	writeFile(t, name, "one")
	c := newTestCache(10, time.Minute)
	long := &fileSettings{cache: c, valid: time.Hour, minUses: 1, errors: true}
	short := &fileSettings{cache: c, valid: 0, minUses: 1, errors: true}
	look := func(s *fileSettings, want string) {
		t.Helper()
		f, fault := c.open(s, cachePath(name))
		if fault.Errno != 0 {
			t.Fatalf("open: %v", fault.Errno)
		}
		defer f.Close()
		if got := contentOf(t, f); got != want {
			t.Errorf("content = %q, want %q", got, want)
		}
	}
	look(long, "one")
	writeFile(t, name, "second")
	look(long, "one")
	look(short, "second")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	look(long, "second")
	for _, s := range []*fileSettings{short, long} {
		if _, fault := c.open(s, cachePath(name)); fault.Errno != unix.ENOENT {
			t.Errorf("fault of a removed file = %v", fault.Errno)
		}
	}
	writeFile(t, name, "third")
	if _, fault := c.open(long, cachePath(name)); fault.Errno != unix.ENOENT {
		t.Errorf("a cached fault was not believed: %v", fault.Errno)
	}
	look(short, "third")
	c.Close()
	if n := openFDs(t, dir); n != 0 {
		t.Errorf("%d files stay open", n)
	}
}

// An open file outlives its entry until its user is done with it, and no longer.
func TestCacheEviction(t *testing.T) {
	dir := t.TempDir()
	c := newTestCache(2, time.Hour)
	s := &fileSettings{cache: c, valid: time.Hour, minUses: 1}
	var held []File
	for _, name := range []string{"a", "b", "c", "d"} {
		writeFile(t, filepath.Join(dir, name), "text of "+name)
		f, fault := c.open(s, cachePath(filepath.Join(dir, name)))
		if fault.Errno != 0 {
			t.Fatal(fault.Errno)
		}
		held = append(held, f)
	}
	if len(c.files) != 2 {
		t.Errorf("the cache holds %d files, want 2", len(c.files))
	}
	if got := contentOf(t, held[0]); got != "text of a" {
		t.Errorf("content of an evicted file in use = %q", got)
	}
	for i := range held {
		held[i].Close()
	}
	if n := openFDs(t, dir); n != 2 {
		t.Errorf("%d files are open, want the 2 in the cache", n)
	}
	c.Close()
	if n := openFDs(t, dir); n != 0 {
		t.Errorf("%d files are open after Close", n)
	}
}

// A file is kept open only when it was asked for min_uses times.
func TestCacheMinUses(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	writeFile(t, name, "text")
	c := newTestCache(10, time.Hour)
	defer c.Close()
	s := &fileSettings{cache: c, valid: time.Hour, minUses: 3}
	for i, want := range []int{0, 0, 1, 1} {
		f, fault := c.open(s, cachePath(name))
		if fault.Errno != 0 {
			t.Fatal(fault.Errno)
		}
		f.Close()
		if n := openFDs(t, dir); n != want {
			t.Errorf("after use %d %d files are open, want %d", i+1, n, want)
		}
	}
}

// What nobody asks for goes away as others are asked for.
func TestCacheInactive(t *testing.T) {
	dir := t.TempDir()
	c := newTestCache(100, 0)
	defer c.Close()
	s := &fileSettings{cache: c, valid: time.Hour, minUses: 1}
	for i := range 20 {
		name := filepath.Join(dir, string(rune('a'+i)))
		writeFile(t, name, "text")
		f, _ := c.open(s, cachePath(name))
		f.Close()
	}
	if n := len(c.files); n > 2 {
		t.Errorf("%d entries stay with inactive=0", n)
	}
}

// Many users, files that change all the time, a cache that is too small: whoever
// has a file open reads that file, and nothing leaks.
func TestCacheTogether(t *testing.T) {
	dir := t.TempDir()
	c := newTestCache(3, 0)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			s := &fileSettings{cache: c, valid: time.Duration(g%2) * time.Hour, minUses: g, errors: g%2 == 0}
			for i := range 300 {
				name := filepath.Join(dir, string(rune('a'+i%5)))
				if i%7 == g {
					_ = os.WriteFile(name+string(rune('0'+g)), []byte(name), 0o644)
					_ = os.Rename(name+string(rune('0'+g)), name)
				}
				f, fault := c.open(s, cachePath(name))
				if fault.Errno != 0 {
					continue
				}
				b := make([]byte, 200)
				if n, err := unix.Pread(f.FD, b, 0); err != nil || string(b[:n]) != name {
					t.Errorf("content of %s = %q, %v", name, b[:max(n, 0)], err)
				}
				f.Close()
			}
		})
	}
	wg.Wait()
	c.Close()
	if n := openFDs(t, dir); n != 0 {
		t.Errorf("%d files stay open", n)
	}
}
