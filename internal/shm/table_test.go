package shm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// testTable returns a table as OpenTable makes it, with what it cleared.
func testTable(t *testing.T, fd, first int) (s *Table, cleared *[]int) {
	t.Helper()
	cleared = new([]int)
	s, err := OpenTable(fd, first, func(_ []byte, row int) { *cleared = append(*cleared, row) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Munmap(s.mem)
		_ = unix.Close(s.fd)
	})
	return s, cleared
}

// A new master counts where the old one does, in the other half; the next one in the
// first again.
func TestTableIsInherited(t *testing.T) {
	old, _ := testTable(t, -1, 0)
	for generation := range 3 {
		fd, err := unix.FcntlInt(uintptr(old.fd), unix.F_DUPFD, 3)
		if err != nil {
			t.Fatal(err)
		}
		next, _ := testTable(t, fd, old.Other())
		if next.fd != fd || next.first == old.first {
			t.Fatalf("generation %d has descriptor %d and begins at %d, want %d and the other half", generation, next.fd, next.first, fd)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("workers would inherit the descriptor: %v", err)
		}
		old.mem[generation]++
		if next.mem[generation] != 1 {
			t.Error("they do not share the memory")
		}
		old = next
	}
}

// What is no memory of ours is not taken for it.
func TestTableFromNowhere(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, tableSize), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	small, err := unix.MemfdCreate("small", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(small) }()
	for _, fd := range []int{-1, 9999, int(f.Fd()), small} {
		if s, _ := testTable(t, fd, HalfOfRows); s.first != 0 || fd >= 0 && s.fd == fd {
			t.Errorf("%d was taken", fd)
		}
	}
}

// A row is free again when its worker is gone, also one of another master's.
func TestRowsOfTheDead(t *testing.T) {
	nobody := func(int) bool { return false }
	s, cleared := testTable(t, -1, 0)
	living := exec.CommandContext(t.Context(), "sleep", "60")
	if err := living.Start(); err != nil {
		t.Fatal(err)
	}
	s.Give(s.Free(nil), living.Process.Pid)
	s.Give(HalfOfRows, living.Process.Pid)
	s.Give(1, os.Getpid())
	if got := s.Free(map[int]bool{2: true}); got != 3 {
		t.Errorf("row %d is given away, want 3", got)
	}
	if !s.Sweep(nobody) || len(*cleared) > 0 {
		t.Errorf("living workers lost their rows: %v", *cleared)
	}
	_ = living.Process.Kill()
	_ = living.Wait() // it was killed
	if !s.Sweep(nobody) || fmt.Sprint(*cleared) != fmt.Sprint([]int{0, HalfOfRows}) || s.Free(nil) != 0 {
		t.Errorf("cleared %v, want the rows of the dead", *cleared)
	}
	if s.Sweep(func(pid int) bool { return pid == os.Getpid() }) {
		t.Error("our own worker is a stranger")
	}
	for row := range HalfOfRows {
		atomic.StoreInt64(s.owner(row), 1)
	}
	if got := s.Free(map[int]bool{Rows: true}); got != Rows+1 {
		t.Errorf("without a free row it is %d", got)
	}
}

// The memory keeps its size, whoever has it: a process that touches what was cut off
// would die of it. Memory that does not, of an older release, is read once, and nobody
// counts there any more.
func TestTableKeepsItsSize(t *testing.T) {
	s, _ := testTable(t, -1, 0)
	for _, size := range []int64{0, tableSize - 4096, 2 * tableSize} {
		if err := unix.Ftruncate(s.fd, size); err != unix.EPERM {
			t.Errorf("its size becomes %d: %v", size, err)
		}
	}
	if _, err := unix.FcntlInt(uintptr(s.fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err == nil {
		t.Error("it can be made read-only")
	}

	old, err := unix.MemfdCreate("stats", unix.MFD_CLOEXEC) // as older releases
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(old), "stats")
	defer theirs.Close()
	counted := make([]byte, tableSize)
	counted[RowBytes*3] = 7
	if _, err := theirs.Write(counted); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{tableSize, 4096} {
		fd, err := unix.FcntlInt(uintptr(old), unix.F_DUPFD, 3)
		if err != nil {
			t.Fatal(err)
		}
		if size < tableSize { // cut after it was looked at is the same as before
			if err := unix.Ftruncate(old, size); err != nil {
				t.Fatal(err)
			}
		}
		mine, cleared := testTable(t, fd, HalfOfRows)
		if size < tableSize {
			if mine.mem[RowBytes*3] != 0 {
				t.Error("something was read of memory that is too small")
			}
			continue
		}
		if mine.first != HalfOfRows || mine.mem[RowBytes*3] != 7 || len(*cleared) != Rows {
			t.Errorf("it begins at %d with %d, %d rows were cleared", mine.first, mine.mem[RowBytes*3], len(*cleared))
		}
		mine.mem[0]++
		var b [1]byte
		if _, err := theirs.ReadAt(b[:], 0); err != nil || b[0] != 0 || !proc.KeepsSize(mine.fd) {
			t.Errorf("the old memory is in use: %d, %v", b[0], err)
		}
	}
}
