package shm

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Clock tells a time that all processes of a machine agree on and that nobody sets: for
// moments that are kept in a zone.
type Clock struct {
	at   time.Time
	msec uint64 // of CLOCK_MONOTONIC at that moment
}

// NewClock returns a clock.
func NewClock() Clock {
	var ts unix.Timespec
	at := time.Now()
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return Clock{at: at}
	}
	return Clock{at, uint64(ts.Nano() / 1e6)}
}

// Milliseconds is the time since some moment before the machine was started.
func (c Clock) Milliseconds() uint64 { return c.msec + uint64(time.Since(c.at).Milliseconds()) }
