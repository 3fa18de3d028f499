// Package bufpool lends byte slices of a few fixed sizes and takes them back, so that a
// connection holds one only while it reads or writes, and none while it waits.
//
// It knows nothing of what the bytes are. All of it may be called from any goroutine.
package bufpool

import "sync"

// The sizes, in bytes, that are kept for reuse.
const (
	Small = 1 << 10
	Page  = 4 << 10
	Large = 32 << 10
	// Largest has room for a Large buffer and what was pending before it.
	Largest = 64 << 10
)

var (
	poolSmall   = sync.Pool{New: func() any { return new([Small]byte) }}
	poolPage    = sync.Pool{New: func() any { return new([Page]byte) }}
	poolLarge   = sync.Pool{New: func() any { return new([Large]byte) }}
	poolLargest = sync.Pool{New: func() any { return new([Largest]byte) }}
)

// Get returns a buffer of at least n bytes, whose length is its capacity and whose bytes
// are what its last user left there. Its caller owns it until it is given to [Put]. One
// that is larger than Largest is made for this caller alone.
func Get(n int) []byte {
	switch {
	case n <= Small:
		return poolSmall.Get().(*[Small]byte)[:]
	case n <= Page:
		return poolPage.Get().(*[Page]byte)[:]
	case n <= Large:
		return poolLarge.Get().(*[Large]byte)[:]
	case n <= Largest:
		return poolLargest.Get().(*[Largest]byte)[:]
	}
	return make([]byte, n)
}

// Put takes back what [Get] returned, or a slice of it from its first byte on; the caller
// must not use it again. A buffer of another size is left to the garbage collector.
func Put(b []byte) {
	switch b = b[:cap(b)]; len(b) {
	case Small:
		poolSmall.Put((*[Small]byte)(b))
	case Page:
		poolPage.Put((*[Page]byte)(b))
	case Large:
		poolLarge.Put((*[Large]byte)(b))
	case Largest:
		poolLargest.Put((*[Largest]byte)(b))
	}
}
