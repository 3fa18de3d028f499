package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// role is the variable that makes the test binary one of the other processes.
const role = "SHM_TEST_ROLE"

func TestMain(m *testing.M) {
	if name := os.Getenv(role); name != "" {
		play(name)
		return
	}
	os.Exit(m.Run())
}

// play is what another process does with the zone that is its descriptor 3.
func play(name string) {
	s, err := Open(os.NewFile(3, "zone"))
	if err != nil {
		panic(err)
	}
	switch name {
	case "count":
		for i := range countRounds {
			key := []byte(strconv.Itoa(i % 7))
			s.Lock()
			e := s.Find(key)
			if e == 0 {
				e = s.Add(key)
			}
			s.SetWord(e, 0, s.Word(e, 0)+1)
			s.Unlock()
		}
	case "hold":
		s.Lock()
		// Half of what add does.
		if at, err := s.alloc(3); at == 0 || err != nil {
			panic("no room")
		}
		s.set(storeNewest, 77)
		fmt.Println("locked")
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is closed, or this is killed
		s.Unlock()
		fmt.Println("unlocked")
	}
}

const countRounds = 20000

// A process is another process that has a zone.
type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *os.File
}

func start(t *testing.T, name string, zone *os.File) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+name)
	cmd.ExtraFiles = []*os.File{zone}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		r.Close()
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // and been waited for
	})
	return &process{cmd, in, r}
}

// says waits for a line of p.
func (p *process) says(t *testing.T, line string) {
	t.Helper()
	b := make([]byte, len(line)+1)
	if _, err := io.ReadFull(p.out, b); err != nil || string(b) != line+"\n" {
		t.Fatalf("the other process says %q, %v; want %q", b, err, line)
	}
}

// create makes a zone and opens it.
func create(t *testing.T, size int64) (*Store, *os.File) {
	t.Helper()
	fd, err := Create("one", size, "test")
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "zone")
	t.Cleanup(func() { f.Close() })
	s, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(s.mem) })
	return s, f
}

// keys lists the keys of a store, newest first, and fails when anything about it is not as
// it must be.
func (s *Store) keys(t *testing.T) (keys []string) {
	t.Helper()
	owned := map[uint32]string{}
	own := func(at uint32, by string) {
		if at == 0 || at > s.get(storeUsed) || owned[at] != "" {
			t.Fatalf("cell %d of %s is one of %q", at, by, owned[at])
		}
		owned[at] = by
	}
	before := uint32(0)
	for at := s.get(storeNewest); at != 0; at = s.get(s.cell(at) + cellOlder) {
		own(at, "the order")
		if got := s.get(s.cell(at) + cellNewer); got != before {
			t.Fatalf("before entry %d is %d, want %d", at, got, before)
		}
		before = at
		var key []byte
		n := 0
		if err := s.parts(at, int(s.get(s.cell(at)+cellLen)), func(mem []byte) bool {
			n++
			key = append(key, mem...)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		more := s.get(s.cell(at) + cellMore)
		for range n - 1 {
			own(more, "an entry")
			more = s.get(s.cell(more) + cellNext)
		}
		keys = append(keys, string(key))
	}
	if got := s.get(storeOldest); got != before {
		t.Fatalf("the oldest entry is %d, want %d", got, before)
	}
	for at := s.get(storeFree); at != 0; at = s.get(s.cell(at) + cellNext) {
		own(at, "the free")
	}
	if len(owned) != int(s.get(storeUsed)) || s.Len() != len(keys) {
		t.Fatalf("%d cells of %d are somebody's, %d entries of %d", len(owned), s.get(storeUsed), len(keys), s.Len())
	}
	for i := len(keys) - 1; i >= 0; i-- { // in this order, which leaves the order as it is
		if e, err := s.find([]byte(keys[i])); e == 0 || err != nil {
			t.Fatalf("key %q is found as %d, %v", keys[i], e, err)
		}
	}
	return keys
}

// A store does what a map and a list would.
func TestStore(t *testing.T) {
	s, _ := create(t, 32768)
	rnd := rand.New(rand.NewPCG(1, 2))
	words, order := map[string]uint64{}, []string{}
	front := func(key string) {
		for i, k := range order {
			if k == key {
				order = append(order[:i], order[i+1:]...)
				break
			}
		}
		order = append([]string{key}, order...)
	}
	lengths := []int{0, 1, 16, 17, 72, 73, 255, 3000, MaxKey, MaxKey + 1}
	s.Lock()
	defer s.Unlock()
	for range 5000 {
		n := lengths[rnd.IntN(len(lengths))]
		key := bytes.Repeat([]byte{byte(rnd.IntN(20))}, n)
		e := s.Find(key)
		if want, ok := words[string(key)]; ok != (e != 0) || ok && s.Word(e, 1) != want {
			t.Fatalf("a key of %d bytes is found as %d with %d, want %d, %v", n, e, s.Word(e, 1), want, ok)
		}
		if e != 0 {
			front(string(key))
			if rnd.IntN(3) == 0 {
				s.Remove(e)
				delete(words, string(key))
				order = order[1:]
			}
			continue
		}
		for e = s.Add(key); e == 0 && len(order) > 0 && n <= 3000; e = s.Add(key) {
			s.Remove(s.Oldest())
			delete(words, order[len(order)-1])
			order = order[:len(order)-1]
		}
		if e == 0 != (n > 3000) {
			t.Fatalf("a key of %d bytes becomes entry %d", n, e)
		}
		if e != 0 {
			v := rnd.Uint64()
			s.SetWord(e, 1, v)
			words[string(key)] = v
			front(string(key))
		}
	}
	if got := s.keys(t); !slices.Equal(got, order) {
		t.Fatalf("%d entries, want %d in their order", len(got), len(order))
	}
	for range len(order) {
		e := s.Oldest()
		if f := s.Find([]byte(order[len(order)-1])); f != e {
			t.Fatalf("the oldest is %d, want %d", e, f)
		}
		s.Remove(e)
		order = order[:len(order)-1]
	}
	if left := s.keys(t); left != nil {
		t.Errorf("%q are left", left)
	}
}

// Several processes with several goroutines each count without losing one.
func TestProcessesShare(t *testing.T) {
	s, f := create(t, 32768)
	var all []*process
	for range 3 {
		all = append(all, start(t, "count", f))
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range countRounds {
				s.Lock()
				e := s.Find([]byte("mine"))
				if e == 0 {
					e = s.Add([]byte("mine"))
				}
				s.SetWord(e, 0, s.Word(e, 0)+1)
				s.Unlock()
			}
		})
	}
	for _, p := range all {
		if err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	s.Lock()
	defer s.Unlock()
	sum := uint64(0)
	for i := range 7 {
		sum += s.Word(s.Find([]byte(strconv.Itoa(i))), 0)
	}
	if mine := s.Word(s.Find([]byte("mine")), 0); sum != uint64(3*countRounds) || mine != 2*countRounds {
		t.Errorf("%d were counted by others, %d here", sum, mine)
	}
}

// A process that is killed while it works in a zone keeps nobody from it, and what it left
// half done is repaired: nothing that was there before is lost.
func TestOwnerIsKilled(t *testing.T) {
	s, f := create(t, 32768)
	s.Lock()
	for i := range 100 {
		s.SetWord(s.Add(fmt.Appendf(nil, "a key of many bytes, number %d", i)), 0, uint64(i))
	}
	s.Unlock()
	p := start(t, "hold", f)
	p.says(t, "locked")
	done := make(chan struct{})
	go func() {
		s.Lock()
		close(done)
	}()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-done // before the killed one is waited for
	defer s.Unlock()
	if got := s.keys(t); len(got) != 100 {
		t.Fatalf("%d entries are left of 100", len(got))
	}
	for i := range 100 {
		if got := s.Word(s.Find(fmt.Appendf(nil, "a key of many bytes, number %d", i)), 0); got != uint64(i) {
			t.Errorf("entry %d has %d", i, got)
		}
	}
}

// A process that is stopped while it works in a zone keeps nobody from it for long. When
// it goes on the zone is repaired once more.
func TestOwnerIsStopped(t *testing.T) {
	s, f := create(t, 32768)
	p := start(t, "hold", f)
	p.says(t, "locked")
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.Lock()
	s.Add([]byte("key"))
	s.keys(t)
	s.Unlock()
	if err := p.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.in.Close()
	p.says(t, "unlocked")
	if atomic.LoadUint32(s.lock.repair) != 1 {
		t.Error("the one that lost the lock did not tell")
	}
	s.Lock()
	defer s.Unlock()
	if got := s.keys(t); len(got) != 1 || atomic.LoadUint32(s.lock.repair) != 0 {
		t.Errorf("the zone has %q", got)
	}
}

// An owner that never was one, whatever its number says, keeps nobody from a zone.
func TestOwnerNeverWas(t *testing.T) {
	s, _ := create(t, 32768)
	parent := owner(os.Getppid())
	if started, err := proc.Started(os.Getpid()); err != nil || uint32(started) != uint32(s.lock.me) {
		t.Fatalf("this process was started at %d, %v", started, err)
	}
	if !ownerLives(parent) || ownerLives(parent^1) || ownerLives(1<<63) || ownerLives(uint64(os.Getpid())<<32) {
		t.Error("a process was taken for another one")
	}
	for _, word := range []uint64{1, 1 << 63, parent ^ 1, s.lock.me, parent} {
		atomic.StoreUint64(s.lock.word, word)
		s.Lock()
		if got := atomic.LoadUint64(s.lock.word); got != s.lock.me {
			t.Errorf("the lock is %x's", got)
		}
		s.Unlock()
	}
}

// Check knows what this release makes and nothing else.
func TestCheck(t *testing.T) {
	_, f := create(t, 40000)
	fd := int(f.Fd())
	if err := Check(fd, 40000, "test"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{Check(fd, 4000, "test"), Check(fd, 40000, "tes"), Check(fd, 40000, "test2")} {
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("another size or kind is %v", err)
		}
	}
	if err := unix.Ftruncate(fd, 4096); err != unix.EPERM {
		t.Errorf("the zone becomes smaller: %v", err)
	}
	for _, off := range []int64{0, 8, 12, 16} {
		var was [1]byte
		if _, err := f.ReadAt(was[:], off); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{was[0] + 1}, off); err != nil {
			t.Fatal(err)
		}
		if err := Check(fd, 40000, "test"); !errors.Is(err, ErrUnknown) {
			t.Errorf("with another byte %d it is %v", off, err)
		}
		if _, err := f.WriteAt(was[:], off); err != nil {
			t.Fatal(err)
		}
	}
	open, err := unix.MemfdCreate("zone", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(open)
	if err := unix.Ftruncate(open, 40960); err != nil {
		t.Fatal(err)
	}
	if err := Check(open, 40000, "test"); !errors.Is(err, ErrUnknown) {
		t.Errorf("memory that can become smaller is %v", err)
	}
	if err := Check(-1, 40000, "test"); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("no descriptor is %v", err)
	}
	if _, err := Create("x", 40000, string(make([]byte, maxKind+1))); err == nil {
		t.Error("a kind that does not fit was written")
	}
}

// Somebody who writes rubbish everywhere all the time makes nobody crash or stay.
func TestVandal(t *testing.T) {
	s, f := create(t, 32768)
	other, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(3, 4))
		for {
			select {
			case <-stop:
				return
			default:
			}
			off := headBytes + 4*rnd.IntN((len(other.mem)-headBytes)/4)
			if rnd.IntN(2) == 0 {
				off = headBytes + 4*rnd.IntN(5)
			}
			other.set(off, rnd.Uint32N(2*other.cells))
		}
	})
	exercise(s, 3000)
	close(stop)
	wg.Wait()
	s.Lock()
	defer s.Unlock()
	s.repair()
	s.keys(t)
}

// exercise does everything with a store.
func exercise(s *Store, rounds int) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range rounds {
		key := bytes.Repeat([]byte{byte(rnd.IntN(256))}, rnd.IntN(300))
		s.Lock()
		e := s.Find(key)
		switch {
		case e == 0:
			if e = s.Add(key); e == 0 {
				s.Remove(s.Oldest())
			}
		case rnd.IntN(2) == 0:
			s.Remove(e)
		}
		s.SetWord(e, 0, s.Word(e, 1)+1)
		s.Word(Entry(rnd.Uint32()), rnd.IntN(4)-1)
		s.Remove(Entry(rnd.Uint32N(2 * s.cells)))
		s.Unlock()
	}
}

// FuzzOpen opens whatever somebody left behind in a zone. It must not crash, must come to
// an end, and must be a whole store when it was repaired.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{1, 0, 0, 0}, 200))
	f.Add(bytes.Repeat([]byte{0xff}, 2000))
	var b []byte
	for i := range uint32(600) { // every number is that of a cell
		b = binary.NativeEndian.AppendUint32(b, i%30+1)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, content []byte) {
		s := NewPrivate(4096)
		copy(s.mem[headBytes:], content)
		exercise(s, 100)
		s.Lock()
		defer s.Unlock()
		s.repair()
		s.keys(t)
	})
}

// Nothing is allocated for a key that is there.
func TestFindAllocatesNothing(t *testing.T) {
	s, _ := create(t, 32768)
	key := []byte("a key that needs more than one cell")
	s.Lock()
	s.Add(key)
	s.Add([]byte("x"))
	s.Unlock()
	if n := testing.AllocsPerRun(100, func() {
		s.Lock()
		s.SetWord(s.Find(key), 0, 1)
		s.Find([]byte("x"))
		s.Unlock()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A clock goes on as CLOCK_MONOTONIC does, for all processes.
func TestClock(t *testing.T) {
	a, b := NewClock(), NewClock()
	if x, y := a.Milliseconds(), b.Milliseconds(); y-x > 10000 && x-y > 2 {
		t.Errorf("two clocks say %d and %d", x, y)
	}
}
