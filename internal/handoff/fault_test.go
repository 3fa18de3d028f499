package handoff

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rawGiver returns the giving end of a link as bare messages, for a giver that
// breaks the rules.
func rawGiver(t *testing.T) (*conn, *Taker) {
	t.Helper()
	gf, tf, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	raw := make(chan *conn)
	go func() {
		c, err := open(t.Context(), gf, minVersion, maxVersion)
		if err != nil {
			t.Error(err)
		}
		raw <- c
	}()
	taker, err := NewTaker(t.Context(), tf)
	if err != nil {
		t.Fatal(err)
	}
	return <-raw, taker
}

// say sends a message as a giver, with whatever descriptors.
func say(t *testing.T, c *conn, m message, fds ...int) {
	t.Helper()
	if err := c.send(m, fds); err != nil {
		t.Fatal(err)
	}
}

// hear returns the kind and the id of the taker's next word.
func hear(t *testing.T, c *conn) (kind byte, id uint64) {
	t.Helper()
	_ = c.sock.SetReadDeadline(time.Now().Add(time.Minute))
	m, fds, err := c.receive(make([]byte, headBytes+MaxState))
	closeAll(fds)
	if err != nil {
		t.Fatal(err)
	}
	return m.kind, m.id
}

// A client must not wait for a taker that hangs longer than for one answer, however
// many wait with it.
func TestHangingTakerIsAskedOnce(t *testing.T) {
	before := fds(t)
	const patience = 400 * time.Millisecond
	g, taker := link(t, patience)
	a, b := pipe(t)
	state := make([]byte, 20<<10) // with all in flight they fill the socket's buffer
	began := time.Now()
	var wg sync.WaitGroup
	for range 4 * window {
		wg.Go(func() {
			if err := g.Give(Ticket{Kind: 1, State: state, Files: []int{a}}); err == nil {
				t.Error("Give to a hanging taker = nil")
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 2*window*patience { // half of what it takes one after the other
		t.Errorf("all were told after %v, with a patience of %v", took, patience)
	}
	if err := taker.Run(receiver{want: all, take: func(Ticket) { t.Error("taken") }}); !errors.Is(err, ErrClosed) {
		t.Errorf("Run of the taker that wakes up = %v", err)
	}
	_ = g.Close()
	closeAll([]int{a, b})
	wantFDs(t, before)
}

// How long Give takes is bounded also for one that waits behind others, while the
// taker answers for some of them and so does not count as hung.
func TestGiveIsBoundedBehindASlowTaker(t *testing.T) {
	const patience = time.Second
	before := fds(t)
	gf, tf, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan *conn, 1)
	go func() {
		c, err := open(t.Context(), tf, minVersion, maxVersion)
		if err != nil {
			t.Error(err)
		}
		opened <- c
	}()
	g, err := NewGiver(t.Context(), gf, patience)
	if err != nil {
		t.Fatal(err)
	}
	c := <-opened
	ended := make(chan struct{})
	go func() { // holds one ticket after the other, a quarter of a patience each
		defer close(ended)
		buf := make([]byte, headBytes+MaxState)
		tick := time.NewTicker(patience / 4)
		defer tick.Stop()
		for {
			m, files, err := c.receive(buf)
			closeAll(files)
			if err != nil {
				return
			}
			if m.kind == msgGive && m.id%32 == 0 {
				<-tick.C
				_ = c.send(message{kind: msgHold, id: m.id}, nil)
			}
		}
	}()
	a, b := pipe(t)
	began := time.Now()
	var wg sync.WaitGroup
	for range 10 * window {
		wg.Go(func() { _ = g.Give(Ticket{Kind: 1, State: []byte("x"), Files: []int{a}}) })
	}
	wg.Wait()
	if took := time.Since(began); took > 8*patience {
		t.Errorf("the last Give took %v, with a patience of %v", took, patience)
	}
	_ = g.Close()
	_ = c.sock.Close()
	<-ended
	closeAll([]int{a, b})
	wantFDs(t, before)
}

// What goes wrong with one ticket must not cost another whose giver has said "go".
func TestBrokenTicketCostsNoOther(t *testing.T) {
	for _, tc := range []struct {
		name    string
		broken  func(t *testing.T, c *conn, fd int)
		refused bool // and the link goes on
	}{
		{"a descriptor is missing", func(t *testing.T, c *conn, fd int) {
			say(t, c, message{kind: msgGive, id: 2, class: 1, files: 2}, fd)
		}, true},
		{"a descriptor too many", func(t *testing.T, c *conn, fd int) {
			say(t, c, message{kind: msgGive, id: 2, class: 1, files: 1}, fd, fd)
		}, true},
		{"more descriptors than any ticket has", func(t *testing.T, c *conn, fd int) {
			say(t, c, message{kind: msgGive, id: 2, class: 1, files: 4}, fd, fd, fd, fd, fd, fd, fd)
		}, true},
		{"id that is held", func(t *testing.T, c *conn, fd int) {
			say(t, c, message{kind: msgGive, id: 1, class: 1, files: 1}, fd)
		}, true},
		{"no message", func(t *testing.T, c *conn, fd int) {
			if _, err := c.sock.Write([]byte("hello?")); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"word of a taker", func(t *testing.T, c *conn, fd int) {
			say(t, c, message{kind: msgHold, id: 1})
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := fds(t)
			c, taker := rawGiver(t)
			a, b := pipe(t)
			taken := 0
			ran := make(chan error, 1)
			go func() {
				ran <- taker.Run(receiver{want: all, take: func(tk Ticket) { taken++; closeAll(tk.Files) }})
			}()
			say(t, c, message{kind: msgGive, id: 1, class: 1, files: 1}, a)
			if kind, id := hear(t, c); kind != msgHold || id != 1 {
				t.Fatalf("the taker said %d of %d", kind, id)
			}
			tc.broken(t, c, a)
			if tc.refused {
				if kind, _ := hear(t, c); kind != msgRefuse {
					t.Errorf("of the broken one the taker said %d, want refuse", kind)
				}
			} else {
				say(t, c, message{kind: msgGive, id: 3, class: 1, files: 1}, a)
				if kind, id := hear(t, c); kind != msgRefuse || id != 3 {
					t.Errorf("after the breach the taker said %d of %d, want refuse", kind, id)
				}
			}
			say(t, c, message{kind: msgGo, id: 1})
			if tc.refused { // else the taker may have gone by now: all is decided
				say(t, c, message{kind: msgEnd})
			}
			_ = c.sock.Close()
			if err := <-ran; (err == nil) != tc.refused {
				t.Errorf("Run = %v", err)
			}
			if taken != 1 {
				t.Errorf("%d tickets were taken of one that was given", taken)
			}
			closeAll([]int{a, b})
			wantFDs(t, before)
		})
	}
}

// A taker that is out of descriptors refuses what it cannot have and takes the rest.
func TestTakerWithoutDescriptorsRefuses(t *testing.T) {
	before := fds(t)
	g, taker := link(t, 5*time.Second)
	a, b := pipe(t)
	taken := make(chan int, 9)
	ran := make(chan error, 1)
	go func() {
		ran <- taker.Run(receiver{want: all, take: func(tk Ticket) { closeAll(tk.Files); taken <- 1 }})
	}()
	give := func() error { return g.Give(Ticket{Kind: 1, Files: []int{a, b}}) }
	if err := give(); err != nil {
		t.Fatal(err)
	}
	<-taken // its descriptors are free again
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	for _, room := range []uint64{0, 1} {
		short := was
		short.Cur = lowestFree(t) + room
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &short); err != nil {
			t.Fatal(err)
		}
		err := give()
		if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); e != nil {
			t.Fatal(e)
		}
		if !errors.Is(err, ErrRefused) {
			t.Errorf("Give to a taker with room for %d descriptors = %v, want ErrRefused", room, err)
		}
	}
	if err := give(); err != nil {
		t.Errorf("Give when there is room again: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ran; err != nil || len(taken) != 1 {
		t.Errorf("Run = %v, %d more taken, want 1", err, len(taken))
	}
	closeAll([]int{a, b})
	wantFDs(t, before)
}

// lowestFree is the descriptor that the next open would return.
func lowestFree(t *testing.T) uint64 {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return uint64(f.Fd())
}

// FuzzTaker feeds a taker whatever a giver may send, with descriptors: it must end,
// never take what was not given, and leave no descriptor open.
func FuzzTaker(f *testing.F) {
	f.Add([]byte{msgGive, 1, 1, msgGo, 1, 0, msgEnd, 0, 0})
	f.Add([]byte{msgGive, 1, 2, msgGive, 1, 1, msgDrop, 1, 0, msgGo, 1, 0})
	f.Add([]byte{msgGo, 7, 0, msgHello, 0, 0, msgGive, 2, 7, msgGo, 2, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 300 {
			return
		}
		before := fds(t)
		c, taker := rawGiver(t)
		a, b := pipe(t)
		ran := make(chan map[uint64]bool, 1)
		go func() {
			gone := map[uint64]bool{}
			_ = taker.Run(receiver{want: all, take: func(tk Ticket) { gone[uint64(tk.Kind)] = true; closeAll(tk.Files) }})
			ran <- gone
		}()
		went := map[uint64]bool{}
		for ; len(script) >= 3; script = script[3:] {
			kind, id, n := script[0], uint64(script[1]%4), int(script[2]%8)
			m := message{kind: kind, id: id}
			var with []int
			if kind == msgGive {
				m.class, m.files = byte(id), byte(n)
				with = []int{a, a, a, a, a, a, a, a}[:n]
			}
			went[id] = went[id] || kind == msgGo
			if err := c.send(m, with); err != nil {
				break // the taker has ended the link
			}
		}
		_ = c.sock.CloseWrite()
		_, _ = io.Copy(io.Discard, c.sock)
		_ = c.sock.Close()
		for id := range <-ran {
			if !went[id] {
				t.Errorf("ticket %d was taken without go", id)
			}
		}
		closeAll([]int{a, b})
		wantFDs(t, before)
	})
}
