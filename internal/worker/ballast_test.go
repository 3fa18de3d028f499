package worker

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

// With its ballast a worker lets more garbage come together.
func TestBallastPutsCollectionOff(t *testing.T) {
	goal := func() uint64 {
		runtime.GC()
		s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	without := goal()
	ballast := newBallast()
	if with := goal(); with < without+ballastSize {
		t.Errorf("the heap may grow to %d bytes, without ballast to %d", with, without)
	}
	runtime.KeepAlive(ballast)
}
