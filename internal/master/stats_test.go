package master

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

// testStats returns memory as openStats makes it, with what it cleared.
func testStats(t *testing.T, passed string) (s *statsMemory, cleared *[]int) {
	t.Helper()
	cleared = new([]int)
	s, err := openStats(passed, func(_ []byte, seat int) { *cleared = append(*cleared, seat) })
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
func TestStatsAreInherited(t *testing.T) {
	old, _ := testStats(t, "")
	for generation := range 3 {
		fd, err := unix.FcntlInt(uintptr(old.fd), unix.F_DUPFD, 3)
		if err != nil {
			t.Fatal(err)
		}
		next, _ := testStats(t, formatStats(statsVersion, fd, statsHalf-old.first))
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
func TestStatsFromNowhere(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, statsSize), 0o600); err != nil {
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
	for _, passed := range []string{
		"", "5", "1:2:0", "1:x:0", "1:5:3", "1:5:-1", "2:5:0", "1:9999:0", "1:5:0:0",
		fmt.Sprintf("1:%d:0", f.Fd()), fmt.Sprintf("1:%d:512", small),
	} {
		if s, _ := testStats(t, passed); s.first != 0 || s.fd == small || s.fd == int(f.Fd()) {
			t.Errorf("%q was taken", passed)
		}
	}
}

// A seat is free again when its worker is gone, also one of another master's.
func TestSeatsOfTheDead(t *testing.T) {
	s, cleared := testStats(t, "")
	living := exec.CommandContext(t.Context(), "sleep", "60")
	if err := living.Start(); err != nil {
		t.Fatal(err)
	}
	s.give(s.free(nil), living.Process.Pid)
	s.give(statsHalf, living.Process.Pid)
	s.give(1, os.Getpid())
	if got := s.free(map[int]bool{2: true}); got != 3 {
		t.Errorf("seat %d is given away, want 3", got)
	}
	if !s.sweep(nil) || len(*cleared) > 0 {
		t.Errorf("living workers lost their seats: %v", *cleared)
	}
	_ = living.Process.Kill()
	_ = living.Wait() // it was killed
	if !s.sweep(nil) || fmt.Sprint(*cleared) != fmt.Sprint([]int{0, statsHalf}) || s.free(nil) != 0 {
		t.Errorf("cleared %v, want the seats of the dead", *cleared)
	}
	if s.sweep(map[int]*child{os.Getpid(): {}}) {
		t.Error("our own worker is a stranger")
	}
	for seat := range statsHalf {
		atomic.StoreInt64(s.owner(seat), 1)
	}
	if got := s.free(map[int]bool{statsSeats: true}); got != statsSeats+1 {
		t.Errorf("without a free seat it is %d", got)
	}
}

// The memory keeps its size, whoever has it: a process that touches what was cut off
// would die of it. Memory that does not, of an older release, is read once, and nobody
// counts there any more.
func TestStatsKeepTheirSize(t *testing.T) {
	s, _ := testStats(t, "")
	for _, size := range []int64{0, statsSize - 4096, 2 * statsSize} {
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
	counted := make([]byte, statsSize)
	counted[statsSeat*3] = 7
	if _, err := theirs.Write(counted); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{statsSize, 4096} {
		fd, err := unix.FcntlInt(uintptr(old), unix.F_DUPFD, 3)
		if err != nil {
			t.Fatal(err)
		}
		if size < statsSize { // cut after it was looked at is the same as before
			if err := unix.Ftruncate(old, size); err != nil {
				t.Fatal(err)
			}
		}
		mine, cleared := testStats(t, formatStats(statsVersion, fd, statsHalf))
		if size < statsSize {
			if mine.mem[statsSeat*3] != 0 {
				t.Error("something was read of memory that is too small")
			}
			continue
		}
		if mine.first != statsHalf || mine.mem[statsSeat*3] != 7 || len(*cleared) != statsSeats {
			t.Errorf("it begins at %d with %d, %d seats were cleared", mine.first, mine.mem[statsSeat*3], len(*cleared))
		}
		mine.mem[0]++
		var b [1]byte
		if _, err := theirs.ReadAt(b[:], 0); err != nil || b[0] != 0 || !proc.KeepsSize(mine.fd) {
			t.Errorf("the old memory is in use: %d, %v", b[0], err)
		}
	}
}
