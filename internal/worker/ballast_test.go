package worker

import (
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
)

// resident is how much memory this process has of the machine's.
func resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// With its ballast a worker lets more garbage come together, and has no more memory.
func TestBallastWeighsNothing(t *testing.T) {
	goal := func() uint64 {
		runtime.GC()
		s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	before, without := resident(t), goal()
	ballast := newBallast()
	if with := goal(); with < without+ballastSize {
		t.Errorf("the heap may grow to %d bytes, without ballast to %d", with, without)
	}
	if more := resident(t) - before; more > ballastSize/2 {
		t.Errorf("%d bytes of ballast take %d bytes of memory", ballastSize, more)
	}
	runtime.KeepAlive(ballast)
}
