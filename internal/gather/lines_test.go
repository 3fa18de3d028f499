package gather

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
)

// However many goroutines join, each line is written once, whole, and a goroutine's own
// lines stay in order.
func TestEachLineIsWrittenOnce(t *testing.T) {
	const writers, each = 50, 200
	var (
		mu      sync.Mutex
		lines   Lines
		written []byte
		wg      sync.WaitGroup
	)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				mu.Lock()
				if lines.Join(&mu, fmt.Appendf(nil, "%d %d\n", w, i)) {
					written = append(written, lines.Buf...)
					lines.Clear()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(lines.Buf) > 0 {
		t.Errorf("%d bytes are left that nobody writes", len(lines.Buf))
	}
	next := make([]int, writers)
	for line := range bytes.Lines(written) {
		var w, i int
		if _, err := fmt.Sscanf(string(line), "%d %d\n", &w, &i); err != nil || i != next[w] {
			t.Fatalf("line %q, want line %d of %d", line, next[w], w)
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("%d lines of %d, want %d", n, w, each)
		}
	}
}

// Memory that one burst needed is given back.
func TestClearGivesMuchBack(t *testing.T) {
	l := Lines{Buf: make([]byte, 1, 3*most)}
	if l.Clear(); cap(l.Buf) != 0 {
		t.Errorf("%d bytes are kept", cap(l.Buf))
	}
	l.Buf = append(l.Buf, "line\n"...)
	if l.Clear(); cap(l.Buf) == 0 || len(l.Buf) != 0 {
		t.Errorf("%d of %d bytes, want some that are empty", len(l.Buf), cap(l.Buf))
	}
}
