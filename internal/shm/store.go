package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/baton-deploy/baton/internal/proc"
)

// A store has cells of 64 bytes, numbered from 1; 0 stands for none. An entry has one cell
// and as many more as its key needs, all of them in a chain. How many cells there are
// follows from the size of the zone and is written nowhere: n = (size-192)/68.
//
//	offset        size
//	128           4    cells that have been used so far: later ones are zero
//	132           4    first free cell among those
//	136           4    newest entry
//	140           4    oldest entry
//	144           4    number of entries
//	148           44   zero
//	192           64   for each cell
//	192+64n       4    for each cell: first entry of a bucket
//
// The first cell of an entry, another cell of it, and a free cell:
//
//	0   4  1                        2            0
//	4   4  next entry in its bucket next cell    next free cell
//	8   4  its next cell            56 of key
//	12  4  hash
//	16  4  next newer entry
//	20  4  next older entry
//	24  4  length of key
//	28  4  zero
//	32  16 two numbers of its owner
//	48  16 bytes of key
const (
	storeVersion = 1

	storeUsed   = headBytes
	storeFree   = headBytes + 4
	storeNewest = headBytes + 8
	storeOldest = headBytes + 12
	storeCount  = headBytes + 16
	cellsAt     = headBytes + 64

	cellBytes   = 64
	bucketBytes = 4

	cellMark  = 0
	cellNext  = 4
	cellMore  = 8
	cellHash  = 12
	cellNewer = 16
	cellOlder = 20
	cellLen   = 24
	cellWords = 32
	cellKey   = 48
	moreKey   = 8

	markEntry = 1
	markMore  = 2

	// Words is how many numbers of 64 bits an entry has for its owner.
	Words = 2
	// MaxKey is the length of the longest key.
	MaxKey = 65535
	// MinSize is the size of the smallest zone that can be opened.
	MinSize = cellsAt + cellBytes + bucketBytes
)

// errDamaged is what an operation comes to that meets an offset that cannot be.
var errDamaged = errors.New("zone is damaged")

// An Entry is one of a [Store], named by its first cell; 0 is none. It is valid until the
// store is unlocked.
type Entry uint32

// A Store is a zone as a worker has it. Between Lock and Unlock it belongs to one
// goroutine of one process; all other methods are for that one.
type Store struct {
	mem    []byte
	cells  uint32
	secret secret
	lock   lock
	mu     sync.Mutex // keeps the goroutines of this process apart
}

// Open maps the zone f, which may be closed afterwards. It is the caller's master who has
// checked it.
func Open(f *os.File) (*Store, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open zone: %w", err)
	}
	mem, err := proc.Map(f, int(fi.Size()))
	if err != nil {
		return nil, fmt.Errorf("open zone: %w", err)
	}
	return newStore(mem)
}

// NewPrivate returns a store of at least size bytes that no other process has.
func NewPrivate(size int64) *Store {
	words := make([]uint64, pages(max(size, MinSize))/8)
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))
	// It is large enough, and the only kind of it fits.
	head, _ := newHead(len(mem), "")
	copy(mem, head)
	s, _ := newStore(mem)
	return s
}

// newStore makes a store of a zone in memory, whatever is written there.
func newStore(mem []byte) (*Store, error) {
	if len(mem) < MinSize {
		return nil, fmt.Errorf("open zone of %d bytes: %w", len(mem), io.ErrUnexpectedEOF)
	}
	n := min((len(mem)-cellsAt)/(cellBytes+bucketBytes), 1<<31)
	return &Store{
		mem: mem, cells: uint32(n), lock: newLock(mem),
		secret: secret{
			binary.NativeEndian.Uint64(mem[headSecret:]), binary.NativeEndian.Uint64(mem[headSecret+8:]),
		},
	}, nil
}

// Lock waits until the store is this goroutine's. Another process has it for
// about a second at most.
func (s *Store) Lock() {
	s.mu.Lock()
	if s.lock.acquire() {
		s.repair()
	}
}

// Unlock ends what Lock has begun.
func (s *Store) Unlock() {
	s.lock.release()
	s.mu.Unlock()
}

// Find returns the entry of a key, 0 when there is none, and makes it the newest.
func (s *Store) Find(key []byte) Entry {
	e, err := s.find(key)
	if err != nil {
		s.repair()
		e, _ = s.find(key) // 0 when somebody damages it again
	}
	return e
}

// Add makes an entry for a key that has none; its numbers are 0. It is the newest. It
// returns 0 when there is no room, or the key is longer than [MaxKey].
func (s *Store) Add(key []byte) Entry {
	e, err := s.add(key)
	if err != nil {
		s.repair()
		if e, err = s.find(key); e == 0 && err == nil { // else it was added before it failed
			e, _ = s.add(key)
		}
	}
	return e
}

// Oldest returns the entry that was found or added before all others, 0 for none.
func (s *Store) Oldest() Entry {
	at := s.get(storeOldest)
	if at != 0 && !s.isEntry(at) {
		s.repair()
		if at = s.get(storeOldest); !s.isEntry(at) {
			return 0
		}
	}
	return Entry(at)
}

// Remove removes an entry.
func (s *Store) Remove(e Entry) {
	if s.remove(uint32(e)) != nil {
		s.repair()
	}
}

// Len returns the number of entries, as far as nobody has damaged it.
func (s *Store) Len() int { return int(s.get(storeCount)) }

// Word returns number i of an entry, 0 for none.
func (s *Store) Word(e Entry, i int) uint64 {
	if w := s.word(e, i); w != nil {
		return atomic.LoadUint64(w)
	}
	return 0
}

// SetWord sets number i of an entry.
func (s *Store) SetWord(e Entry, i int, v uint64) {
	if w := s.word(e, i); w != nil {
		atomic.StoreUint64(w, v)
	}
}

func (s *Store) word(e Entry, i int) *uint64 {
	if !s.valid(uint32(e)) || uint(i) >= Words {
		return nil
	}
	return (*uint64)(unsafe.Pointer(&s.mem[s.cell(uint32(e))+cellWords+8*i]))
}

// get and set read and write a number of 32 bits. Another process may write there too, so
// what was read is looked at once only.
func (s *Store) get(off int) uint32    { return atomic.LoadUint32((*uint32)(unsafe.Pointer(&s.mem[off]))) }
func (s *Store) set(off int, v uint32) { atomic.StoreUint32((*uint32)(unsafe.Pointer(&s.mem[off])), v) }

// valid reports whether at is the number of a cell.
func (s *Store) valid(at uint32) bool { return at-1 < s.cells }

// cell is where a cell with a valid number begins.
func (s *Store) cell(at uint32) int { return cellsAt + cellBytes*int(at-1) }

// isEntry reports whether at is the number of a first cell of an entry.
func (s *Store) isEntry(at uint32) bool {
	return s.valid(at) && s.get(s.cell(at)+cellMark) == markEntry
}

// bucket is where the first entry of a hash is written.
func (s *Store) bucket(hash uint32) int {
	return cellsAt + cellBytes*int(s.cells) + bucketBytes*int(uint64(hash)*uint64(s.cells)>>32)
}

func (s *Store) find(key []byte) (Entry, error) {
	hash := s.secret.hash(key)
	at := s.get(s.bucket(hash))
	for range s.cells {
		switch {
		case at == 0:
			return 0, nil
		case !s.isEntry(at):
			return 0, errDamaged
		}
		if c := s.cell(at); s.get(c+cellHash) == hash && int(s.get(c+cellLen)) == len(key) {
			same, err := s.hasKey(at, key)
			if err != nil {
				return 0, err
			}
			if same {
				return Entry(at), s.renew(at)
			}
		}
		at = s.get(s.cell(at) + cellNext)
	}
	return 0, errDamaged // it goes round
}

// hasKey compares the key of an entry, whose length is right.
func (s *Store) hasKey(at uint32, key []byte) (same bool, err error) {
	same = true
	err = s.parts(at, len(key), func(mem []byte) bool {
		same = bytes.Equal(mem, key[:len(mem)])
		key = key[len(mem):]
		return same
	})
	return same && err == nil, err
}

// parts calls f with each piece of memory that holds a part of the key of an entry, whose
// length is n, until f returns false.
func (s *Store) parts(at uint32, n int, f func(mem []byte) bool) error {
	c := s.cell(at)
	mem, next := s.mem[c+cellKey:c+cellBytes], s.get(c+cellMore)
	for {
		part := mem[:min(n, len(mem))]
		if n -= len(part); !f(part) || n == 0 {
			return nil
		}
		if !s.valid(next) || s.get(s.cell(next)+cellMark) != markMore {
			return errDamaged
		}
		c = s.cell(next)
		mem, next = s.mem[c+moreKey:c+cellBytes], s.get(c+cellNext)
	}
}
