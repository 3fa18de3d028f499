package httpd

import (
	"sync/atomic"
	"unsafe"

	"github.com/baton-deploy/baton/internal/shm"
)

// StatsBytes is the size of one worker's counters in the memory that all workers
// of a master share: two cache lines of 64-bit numbers.
const StatsBytes = shm.RowBytes

// Stats are one worker's counters. They live in shared memory, so that any
// worker can answer for all, and outlive the worker.
type Stats struct{ n *[StatsBytes / 8]int64 }

// The numbers of stub_status, and how answers were, by place. A master and its
// successor, which is another release, share them: places keep their meaning.
const (
	statAccepted = iota
	statHandled
	statRequests
	statReading
	statWriting
	statWaiting
	statAnswered
	statFailed
	statStreams // that are served besides the first of their connection
	statHandshakes
)

// NewStats returns counters kept in b, at least [StatsBytes] long and aligned to
// 8 bytes. With nil they are private.
func NewStats(b []byte) Stats {
	if len(b) < StatsBytes {
		return Stats{new([StatsBytes / 8]int64)}
	}
	return Stats{(*[StatsBytes / 8]int64)(unsafe.Pointer(&b[0]))}
}

// bytes is the memory of counters that no other worker shares.
func (s Stats) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(s.n)), StatsBytes) }

func (s Stats) add(i int, n int64) { atomic.AddInt64(&s.n[i], n) }
func (s Stats) requests()          { s.add(statRequests, 1) }

// answered counts an answer of this status.
func (s Stats) answered(status int) {
	s.add(statAnswered, 1)
	if status >= 500 {
		s.add(statFailed, 1)
	}
}

// opened counts a connection that was accepted and waits for its first request.
func (s Stats) opened() {
	s.add(statAccepted, 1)
	s.add(statHandled, 1)
	s.add(statWaiting, 1)
}

// refused counts one that was accepted and closed for want of room.
func (s Stats) refused() { s.add(statAccepted, 1) }

// taken counts a connection that another process had accepted.
func (s Stats) taken() { s.add(statWaiting, 1) }

func (s Stats) move(from, to uint32) {
	s.add(statReading+int(from), -1)
	s.add(statReading+int(to), 1)
}

// handshakes counts a waiting connection as one that is in its TLS handshake, with 1, or
// as a waiting one again, with -1.
func (s Stats) handshakes(n int64) {
	s.add(statWaiting, -n)
	s.add(statHandshakes, n)
}

func (s Stats) closed(from uint32) { s.add(statReading+int(from), -1) }

// Totals are what all workers of a master counted.
type Totals struct {
	Accepted, Handled, Requests       int64
	Active, Reading, Writing, Waiting int64
	// Answered counts answers, Failed those of them with a status of 500 or above. They
	// are for operators; stub_status has no place for them.
	Answered, Failed int64
}

// ClearSeat clears in shared what the worker in a slot was doing, which is gone. Its
// totals stay.
func ClearSeat(shared []byte, slot int) {
	n := NewStats(shared[slot*StatsBytes:]).n
	for i := statReading; i <= statWaiting; i++ {
		atomic.StoreInt64(&n[i], 0)
	}
	atomic.StoreInt64(&n[statStreams], 0)
	atomic.StoreInt64(&n[statHandshakes], 0)
}

// Sum adds up the counters of all workers in shared. A worker that died leaves
// its totals; its master clears what it was doing at that moment.
func Sum(shared []byte) Totals {
	var t Totals
	var streams int64
	for ; len(shared) >= StatsBytes; shared = shared[StatsBytes:] {
		n := NewStats(shared).n
		t.Accepted += atomic.LoadInt64(&n[statAccepted])
		t.Handled += atomic.LoadInt64(&n[statHandled])
		t.Requests += atomic.LoadInt64(&n[statRequests])
		t.Reading += atomic.LoadInt64(&n[statReading])
		t.Writing += atomic.LoadInt64(&n[statWriting])
		t.Waiting += atomic.LoadInt64(&n[statWaiting])
		t.Answered += atomic.LoadInt64(&n[statAnswered])
		t.Failed += atomic.LoadInt64(&n[statFailed])
		t.Active += atomic.LoadInt64(&n[statHandshakes])
		streams += atomic.LoadInt64(&n[statStreams])
	}
	t.Active += t.Reading + t.Writing + t.Waiting
	t.Writing += max(streams, 0)
	return t
}
