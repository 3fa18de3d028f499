package master

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// The memory in which workers count is one for a master and its successors, so that
// totals go on over upgrade and roll-back. It travels as a descriptor; its form is
// part of the contract between releases. It is sealed: nobody who gets it can make it
// smaller, which would be the end of all who use it.
//
//	offset              size
//	0                   128 for each of 1,024 seats: what one worker counts, see httpd.Stats
//	131072              8 for each seat: pid of the worker that has it, 0 for none
//
// Numbers are native and 64 bits wide. Each of two masters gives its workers seats in
// one half. A master that does not know the version begins at zero, in memory of its own.
const (
	statsVersion = 1
	statsSeat    = 128
	statsSeats   = 1024
	statsHalf    = statsSeats / 2
	// statsBytes is the part that workers see.
	statsBytes = statsSeat * statsSeats
	statsSize  = statsBytes + 8*statsSeats
)

// A statsMemory is that memory as a master has it.
type statsMemory struct {
	fd    int
	mem   []byte
	first int // our first seat
	// clear empties what a worker that is gone was doing; its totals stay. Or nil.
	clear func(counts []byte, seat int)
}

// StatsDescriptor returns the descriptor in the value of [EnvStats], if it is one that
// this release understands.
func StatsDescriptor(value string) (fd int, ok bool) {
	fd, _, ok = parseStats(value)
	return fd, ok
}

// parseStats reads "version:descriptor:first seat".
func parseStats(value string) (fd, first int, ok bool) {
	parts := strings.Split(value, ":")
	if len(parts) != 3 || parts[0] != strconv.Itoa(statsVersion) {
		return 0, 0, false
	}
	fd, err := strconv.Atoi(parts[1])
	first, err2 := strconv.Atoi(parts[2])
	return fd, first, err == nil && err2 == nil && fd > 2 && (first == 0 || first == statsHalf)
}

// openStats takes the memory that the old master passed, or makes one.
func openStats(passed string, clear func([]byte, int)) (*statsMemory, error) {
	s := &statsMemory{clear: clear}
	before, ok := s.inherit(passed)
	if ok {
		return s, nil
	}
	var err error
	if s.fd, err = proc.Shared("stats", statsSize); err != nil {
		return nil, err
	}
	if s.mem, err = mapStats(s.fd); err != nil {
		_ = unix.Close(s.fd)
		return nil, err
	}
	s.begin(before)
	return s, nil
}

// inherit takes the memory that passed describes. A variable that somebody made up, or
// a descriptor that is something else, is none.
//
// Memory that is not sealed, as older releases make it, is not taken either, since
// whoever has it may make it smaller, and to touch what is gone is the end of a process.
// What was counted there is returned.
func (s *statsMemory) inherit(passed string) (before []byte, ok bool) {
	fd, first, ok := parseStats(passed)
	var st unix.Stat_t
	if !ok || unix.Fstat(fd, &st) != nil || st.Size != statsSize {
		return nil, false
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil {
		return nil, false // no memory
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, false
	}
	if proc.KeepsSize(fd) {
		mem, err := mapStats(fd)
		if err != nil {
			return nil, false
		}
		s.fd, s.mem, s.first = fd, mem, first
		return nil, true
	}
	defer func() { _ = unix.Close(fd) }() // nothing of it was written
	before = make([]byte, statsBytes)
	if n, err := unix.Pread(fd, before, 0); err != nil || n < len(before) {
		return nil, false
	}
	s.first = first
	return before, false
}

// begin begins with the totals of other memory, which may be nil. What workers are doing
// who count there is not known here.
func (s *statsMemory) begin(before []byte) {
	copy(s.mem, before)
	for seat := 0; before != nil && seat < statsSeats; seat++ {
		if s.clear != nil {
			s.clear(s.mem[:statsBytes], seat)
		}
	}
}

func mapStats(fd int) ([]byte, error) {
	mem, err := unix.Mmap(fd, 0, statsSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", os.NewSyscallError("mmap", err))
	}
	return mem, nil
}

// formatStats is the inverse of parseStats.
func formatStats(version, fd, first int) string { return fmt.Sprintf("%d:%d:%d", version, fd, first) }

// ours is what our own workers count, and those of masters before us that had the same
// half.
func (s *statsMemory) ours() []byte { return s.mem[statsSeat*s.first : statsSeat*(s.first+statsHalf)] }

// owner is the pid of the worker in a seat.
func (s *statsMemory) owner(seat int) *int64 {
	return (*int64)(unsafe.Pointer(&s.mem[statsBytes+8*seat]))
}

// sweep empties what workers were doing that are gone, whoever started them. It
// reports whether there are living ones that are not ours, whose end nobody tells us.
func (s *statsMemory) sweep(ours map[int]*child) (strangers bool) {
	for seat := range statsSeats {
		at := s.owner(seat)
		pid := atomic.LoadInt64(at)
		if pid == 0 || ours[int(pid)] != nil {
			continue
		}
		if strangers = true; unix.Kill(int(pid), 0) == unix.ESRCH {
			if s.clear != nil {
				s.clear(s.mem[:statsBytes], seat)
			}
			atomic.CompareAndSwapInt64(at, pid, 0)
		}
	}
	return strangers
}

// close gives the memory up; others have it.
func (s *statsMemory) close() {
	_ = unix.Munmap(s.mem)
	_ = unix.Close(s.fd)
	s.mem, s.fd = nil, -1
}

// sweepEvery is how often we look whether workers still live that are not ours: those
// of another master, or whom it left behind.
const sweepEvery = time.Second

// sweepStats is sweep, now and then again as long as it matters.
func (m *Master) sweepStats() {
	m.shared.strangers = nil
	if m.stats != nil && m.stats.sweep(m.children) {
		m.shared.strangers = time.After(sweepEvery)
	}
}

// free returns the lowest of our seats that no living worker has; taken are given away
// already. When there is none it is one that counts for itself.
func (s *statsMemory) free(taken map[int]bool) int {
	for seat := s.first; seat < s.first+statsHalf; seat++ {
		if !taken[seat] && atomic.LoadInt64(s.owner(seat)) == 0 {
			return seat
		}
	}
	seat := statsSeats
	for taken[seat] {
		seat++
	}
	return seat
}

// give tells whose a seat is.
func (s *statsMemory) give(seat, pid int) {
	if seat < statsSeats {
		atomic.StoreInt64(s.owner(seat), int64(pid))
	}
}
