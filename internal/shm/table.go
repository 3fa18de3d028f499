package shm

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// The form of a [Table], which is part of the contract between releases.
const (
	TableVersion = 1
	RowBytes     = 128
	Rows         = 1024
	// HalfOfRows is the first row of the second half.
	HalfOfRows = Rows / 2
	// TableBytes is the part that workers see.
	TableBytes = RowBytes * Rows
	tableSize  = TableBytes + 8*Rows
)

// A Table is memory of rows of numbers, one row for each worker of a master and of its
// successors, so that totals go on over upgrade and roll-back. It is older than zones and
// has no head: its form and [TableVersion], which travels beside it, are part of the
// contract between releases. It is sealed: nobody who gets it can make it smaller, which
// would be the end of all who use it.
//
//	offset              size
//	0                   128 for each of 1,024 rows: what one worker counts, see httpd.Stats
//	131072              8 for each row: pid of the worker that has it, 0 for none
//
// Numbers are native and 64 bits wide. Each of two masters gives its workers rows in
// one half. A master that does not know the version begins at zero, in memory of its own.
type Table struct {
	fd    int
	mem   []byte
	first int // our first row
	// clear empties what a worker that is gone was doing; its totals stay. Or nil.
	clear func(counts []byte, row int)
}

// OpenTable takes the table that an old master passed as descriptor fd, where this one's
// rows begin with first, or makes one when fd is negative or something else. clear empties
// in the rows what a worker that is gone was doing; its totals stay. It may be nil.
func OpenTable(fd, first int, clear func(counts []byte, row int)) (*Table, error) {
	s := &Table{clear: clear}
	before, ok := s.inherit(fd, first)
	if ok {
		return s, nil
	}
	var err error
	if s.fd, err = proc.Shared("stats", tableSize); err != nil {
		return nil, err
	}
	if s.mem, err = mapTable(s.fd); err != nil {
		_ = unix.Close(s.fd)
		return nil, err
	}
	s.begin(before)
	return s, nil
}

// inherit takes the memory that is descriptor fd. A descriptor that is something else is
// none.
//
// Memory that is not sealed, as older releases make it, is not taken either, since
// whoever has it may make it smaller, and to touch what is gone is the end of a process.
// What was counted there is returned.
func (s *Table) inherit(fd, first int) (before []byte, ok bool) {
	var st unix.Stat_t
	if fd < 0 || unix.Fstat(fd, &st) != nil || st.Size != tableSize {
		return nil, false
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil {
		return nil, false // no memory
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, false
	}
	if proc.KeepsSize(fd) {
		mem, err := mapTable(fd)
		if err != nil {
			return nil, false
		}
		s.fd, s.mem, s.first = fd, mem, first
		return nil, true
	}
	defer func() { _ = unix.Close(fd) }() // nothing of it was written
	before = make([]byte, TableBytes)
	if n, err := unix.Pread(fd, before, 0); err != nil || n < len(before) {
		return nil, false
	}
	s.first = first
	return before, false
}

// begin begins with the totals of other memory, which may be nil. What workers are doing
// who count there is not known here.
func (s *Table) begin(before []byte) {
	copy(s.mem, before)
	for row := 0; before != nil && row < Rows; row++ {
		if s.clear != nil {
			s.clear(s.mem[:TableBytes], row)
		}
	}
}

func mapTable(fd int) ([]byte, error) {
	mem, err := unix.Mmap(fd, 0, tableSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", os.NewSyscallError("mmap", err))
	}
	return mem, nil
}

// FD is the descriptor of the table; it stays the table's.
func (s *Table) FD() int { return s.fd }

// Other is the first row of another master, with which this one shares the table.
func (s *Table) Other() int { return HalfOfRows - s.first }

// Ours is what our own workers count, and those of masters before us that had the same
// half.
func (s *Table) Ours() []byte { return s.mem[RowBytes*s.first : RowBytes*(s.first+HalfOfRows)] }

// owner is the pid of the worker in a row.
func (s *Table) owner(row int) *int64 {
	return (*int64)(unsafe.Pointer(&s.mem[TableBytes+8*row]))
}

// Sweep empties what workers were doing that are gone, whoever started them. It
// reports whether there are living ones that are not ours, whose end nobody tells us.
func (s *Table) Sweep(ours func(pid int) bool) (strangers bool) {
	for row := range Rows {
		at := s.owner(row)
		pid := atomic.LoadInt64(at)
		if pid == 0 || ours(int(pid)) {
			continue
		}
		if strangers = true; unix.Kill(int(pid), 0) == unix.ESRCH {
			if s.clear != nil {
				s.clear(s.mem[:TableBytes], row)
			}
			atomic.CompareAndSwapInt64(at, pid, 0)
		}
	}
	return strangers
}

// Close gives the memory up; others have it.
func (s *Table) Close() {
	_ = unix.Munmap(s.mem)
	_ = unix.Close(s.fd)
	s.mem, s.fd = nil, -1
}

// Free returns the lowest of our rows that no living worker has; taken are given away
// already. When there is none it is one that counts for itself.
func (s *Table) Free(taken map[int]bool) int {
	for row := s.first; row < s.first+HalfOfRows; row++ {
		if !taken[row] && atomic.LoadInt64(s.owner(row)) == 0 {
			return row
		}
	}
	row := Rows
	for taken[row] {
		row++
	}
	return row
}

// Give tells whose a row is.
func (s *Table) Give(row, pid int) {
	if row < Rows {
		atomic.StoreInt64(s.owner(row), int64(pid))
	}
}
