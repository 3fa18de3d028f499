package shm

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

const (
	// patience is how long the lock may be held. Whoever has it needs some microseconds; a
	// process that has it for longer is stopped, or never had it.
	patience = time.Second
	// allPatience is how long a wait lasts in which owners follow each other.
	allPatience = 10 * time.Second
	// tries is how often the lock is looked at before it is waited for.
	tries = 50
	// glance is how long a wait lasts before the owner is looked at.
	glance = 5 * time.Millisecond
)

// A lock is held by one process at a time, and by none for ever. Its word is the owner: the
// process id in the upper 32 bits, and in the lower ones when that process was started, in
// ticks since boot, so that a later process with the same id is not taken for it.
//
// A process that takes the lock from an owner that is gone, or from one that has held it
// for too long, must find out what that one has left behind. An owner that comes back to
// life finds out that it is the owner no more when it releases.
type lock struct {
	word    *uint64
	waiting *uint32
	repair  *uint32
	me      uint64
}

// newLock returns the lock in the head of a zone, for this process.
func newLock(mem []byte) lock {
	return lock{
		word:    (*uint64)(unsafe.Pointer(&mem[headLock])),
		waiting: (*uint32)(unsafe.Pointer(&mem[headWaiting])),
		repair:  (*uint32)(unsafe.Pointer(&mem[headRepair])),
		me:      owner(os.Getpid()),
	}
}

// owner is how a process is named in the word of a lock.
func owner(pid int) uint64 {
	started, _ := proc.Started(pid) // 0 where /proc is missing, for all processes alike
	return uint64(uint32(pid))<<32 | uint64(uint32(started))
}

// ownerLives reports whether the process that a word names can still release the lock.
func ownerLives(word uint64) bool {
	pid := int(word >> 32)
	return pid > 0 && int64(pid) < 1<<31 && !proc.HasEnded(pid) && owner(pid) == word
}

// acquire waits until this process has the lock. It reports whether what the lock guards is
// to be repaired.
func (l lock) acquire() (damaged bool) {
	if !atomic.CompareAndSwapUint64(l.word, 0, l.me) {
		damaged = l.contend()
	}
	return atomic.LoadUint32(l.repair) != 0 && atomic.SwapUint32(l.repair, 0) != 0 || damaged
}

// contend is acquire when the lock was not free. It reports whether it was taken from its
// owner.
func (l lock) contend() (taken bool) {
	for range tries {
		if atomic.LoadUint64(l.word) == 0 && atomic.CompareAndSwapUint64(l.word, 0, l.me) {
			return false
		}
		runtime.Gosched()
	}
	began := time.Now()
	owner, since := uint64(0), began // who is waited for, and since when
	for {
		word := atomic.LoadUint64(l.word)
		if word == 0 {
			if atomic.CompareAndSwapUint64(l.word, 0, l.me) {
				return false
			}
			continue
		}
		if time.Since(began) > allPatience {
			return atomic.SwapUint64(l.word, l.me) != 0
		}
		if word != owner {
			owner, since = word, time.Now()
		} else if word == l.me || time.Since(since) > patience || !ownerLives(word) {
			// That it is this process is what somebody else has written there: who calls
			// this has not got the lock.
			if atomic.CompareAndSwapUint64(l.word, word, l.me) {
				return true
			}
			continue
		}
		atomic.StoreUint32(l.waiting, 1)
		if atomic.LoadUint64(l.word) == word {
			futexWait(l.waiting, 1, glance)
		}
	}
}

// release gives the lock up. When it is not this process's any more, what it guards may
// have been written to by two at once.
func (l lock) release() {
	if !atomic.CompareAndSwapUint64(l.word, l.me, 0) {
		atomic.StoreUint32(l.repair, 1)
		return
	}
	if atomic.LoadUint32(l.waiting) != 0 {
		atomic.StoreUint32(l.waiting, 0)
		futexWake(l.waiting)
	}
}

// The operations of futex(2), for memory that processes share.
const (
	futexOpWait = 0
	futexOpWake = 1
	everybody   = 1<<31 - 1
)

// futexWait waits while *word is value, at most for d.
func futexWait(word *uint32, value uint32, d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexOpWait, uintptr(value), uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// futexWake ends the waits of all who wait on word.
func futexWake(word *uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexOpWake, everybody, 0, 0, 0)
}
