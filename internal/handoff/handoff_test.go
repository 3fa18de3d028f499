package handoff

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// link returns both ends of a fresh link.
func link(t *testing.T, timeout time.Duration) (*Giver, *Taker) {
	t.Helper()
	gf, tf, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	type opened struct {
		taker *Taker
		err   error
	}
	c := make(chan opened)
	go func() {
		taker, err := NewTaker(t.Context(), tf)
		c <- opened{taker, err}
	}()
	g, err := NewGiver(t.Context(), gf, timeout)
	if err != nil {
		t.Fatal(err)
	}
	o := <-c
	if o.err != nil {
		t.Fatal(o.err)
	}
	return g, o.taker
}

// pipe returns the raw ends of a socket pair.
func pipe(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// fds counts the test's open descriptors.
func fds(t *testing.T) int {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil { // has the runtime open its poller, which counts
		r.Close()
		w.Close()
	}
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(es)
}

// wantFDs fails the test unless the count of descriptors comes back to n, or below:
// the test before may have closed its last when n was counted.
func wantFDs(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); fds(t) > n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors are open, want %d", fds(t), n)
		}
	}
}

// receiver is a Receiver made of functions; a nil one does nothing.
type receiver struct {
	want    func(Ticket) bool
	take    func(Ticket)
	drop    func(Ticket)
	leaving bool
}

func (r receiver) Leaving() bool { return r.leaving }

func (r receiver) Want(tk Ticket) bool { return r.want(tk) }
func (r receiver) Take(tk Ticket)      { r.take(tk) }
func (r receiver) Drop(tk Ticket) {
	if r.drop != nil {
		r.drop(tk)
	}
}

func all(Ticket) bool { return true }

func TestTicketsMoveWithDescriptorsAndState(t *testing.T) {
	before := fds(t)
	g, taker := link(t, 5*time.Second)
	var got []Ticket
	ran := make(chan error, 1)
	go func() { ran <- taker.Run(receiver{want: all, take: func(tk Ticket) { got = append(got, tk) }}) }()
	const n = 500
	var wg sync.WaitGroup
	ours := make([]int, n)
	for i := range n {
		wg.Go(func() {
			a, b := pipe(t)
			ours[i] = b
			if err := g.Give(Ticket{Kind: 7, State: fmt.Appendf(nil, "state %d", i), Files: []int{a}}); err != nil {
				t.Error(err)
			}
			unix.Close(a)
		})
	}
	wg.Wait()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if len(got) != n {
		t.Fatalf("%d tickets came, want %d", len(got), n)
	}
	for _, tk := range got {
		var i int
		if _, err := fmt.Sscanf(string(tk.State), "state %d", &i); err != nil || tk.Kind != 7 {
			t.Fatalf("ticket %d %q", tk.Kind, tk.State)
		}
		if _, err := unix.Write(tk.Files[0], []byte("x")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if k, err := unix.Read(ours[i], buf); k != 1 || err != nil {
			t.Fatalf("read from the other end: %d, %v", k, err)
		}
		unix.Close(tk.Files[0])
		unix.Close(ours[i])
	}
	wantFDs(t, before)
}

func TestRefusedTicketStaysWithTheGiver(t *testing.T) {
	before := fds(t)
	g, taker := link(t, 5*time.Second)
	ran := make(chan error, 1)
	go func() {
		ran <- taker.Run(receiver{
			want: func(tk Ticket) bool { return tk.Kind == 1 }, take: func(tk Ticket) { closeAll(tk.Files) },
		})
	}()
	a, b := pipe(t)
	if err := g.Give(Ticket{Kind: 2, Files: []int{a}}); !errors.Is(err, ErrRefused) {
		t.Errorf("Give of an unknown kind = %v, want ErrRefused", err)
	}
	if _, err := unix.Write(a, []byte("mine")); err != nil {
		t.Errorf("the giver's descriptor: %v", err)
	}
	if err := g.Give(Ticket{Kind: 1, Files: []int{a}}); err != nil {
		t.Errorf("Give after a refusal: %v", err)
	}
	g.Close()
	<-ran
	closeAll([]int{a, b})
	wantFDs(t, before)
}

// A taker that hangs must not become a second owner when it wakes up.
func TestLateHoldIsDropped(t *testing.T) {
	before := fds(t)
	g, taker := link(t, 50*time.Millisecond)
	a, b := pipe(t)
	if err := g.Give(Ticket{Kind: 1, Files: []int{a}}); !errors.Is(err, ErrNoAnswer) {
		t.Fatalf("Give to a hanging taker = %v, want ErrNoAnswer", err)
	}
	taken, dropped := 0, 0
	ran := make(chan error, 1)
	go func() {
		ran <- taker.Run(receiver{all, func(tk Ticket) { taken++; closeAll(tk.Files) }, func(Ticket) { dropped++ }, false})
	}()
	_ = g.Close()
	if err := <-ran; !errors.Is(err, ErrClosed) { // it is given up
		t.Errorf("Run = %v", err)
	}
	if taken != 0 || dropped != 1 {
		t.Errorf("%d taken, %d dropped of one that the giver had taken back", taken, dropped)
	}
	closeAll([]int{a, b})
	wantFDs(t, before)
}

func TestTakerThatDiesLeavesTheTicketWithTheGiver(t *testing.T) {
	before := fds(t)
	g, taker := link(t, 5*time.Second)
	a, b := pipe(t)
	given := make(chan error, 1)
	go func() { given <- g.Give(Ticket{Kind: 1, Files: []int{a}}) }()
	if err := taker.Run(receiver{
		want: func(Ticket) bool { taker.Close(); return true }, take: func(Ticket) { t.Error("taken") },
	}); err == nil {
		t.Error("Run on a closed link = nil")
	}
	if err := <-given; err == nil {
		t.Error("Give to a dead taker = nil")
	}
	if err := g.Give(Ticket{Kind: 1, Files: []int{a}}); err == nil {
		t.Error("Give on a dead link = nil")
	}
	g.Close()
	closeAll([]int{a, b})
	wantFDs(t, before)
}

// Without its "go" nothing is the taker's, also when the giver is killed.
func TestGiverThatDiesBeforeItsWordGivesNothing(t *testing.T) {
	before := fds(t)
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
	c := <-raw
	a, b := pipe(t)
	if err := c.send(message{kind: msgGive, id: 9, class: 1, files: 1, state: []byte("s")}, []int{a}); err != nil {
		t.Fatal(err)
	}
	c.sock.Close() // with the taker's word unread: it will see a reset
	if err := taker.Run(receiver{
		want: all, take: func(Ticket) { t.Error("taken without the giver's word") },
	}); !errors.Is(err, ErrClosed) {
		t.Errorf("Run = %v, want ErrClosed", err)
	}
	closeAll([]int{a, b})
	wantFDs(t, before)
}

// Invariant 6: versions are agreed before any descriptor moves.
func TestVersionsAreAgreedFirst(t *testing.T) {
	for _, tt := range []struct {
		name           string
		gLo, gHi       uint32
		tLo, tHi, want uint32
	}{
		{"same", 1, 1, 1, 1, 1},
		{"newer taker", 1, 1, 1, 3, 1},
		{"newer giver", 1, 4, 1, 2, 2},
		{"nothing in common", 3, 4, 1, 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gf, tf, err := Pair()
			if err != nil {
				t.Fatal(err)
			}
			errs := make(chan error, 1)
			go func() {
				taker, err := newTaker(t.Context(), tf, tt.tLo, tt.tHi)
				if err == nil {
					err = taker.Run(receiver{want: all})
				}
				errs <- err
			}()
			g, err := newGiver(t.Context(), gf, time.Second, tt.gLo, tt.gHi)
			if tt.want == 0 {
				if err == nil || !strings.Contains(err.Error(), "we speak 3 to 4, the peer 1 to 2") {
					t.Errorf("giver: %v", err)
				}
				if err := <-errs; err == nil {
					t.Error("the taker agreed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if g.c.version != tt.want {
				t.Errorf("version %d, want %d", g.c.version, tt.want)
			}
			g.Close()
			if err := <-errs; err != nil {
				t.Error(err)
			}
		})
	}
}

// A peer that never says hello costs no more than the context.
func TestSilentPeerTimesOut(t *testing.T) {
	gf, tf, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer tf.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := NewGiver(ctx, gf, time.Second); err == nil {
		t.Error("NewGiver to a silent peer = nil")
	}
}

// A moved TCP connection goes on as if nothing had happened.
func TestConnectionGoesOnAfterTheMove(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	g, taker := link(t, 5*time.Second)
	ran := make(chan error, 1)
	go func() {
		ran <- taker.Run(receiver{want: all, take: func(tk Ticket) {
			f := os.NewFile(uintptr(tk.Files[0]), "moved")
			defer f.Close()
			fmt.Fprintf(f, "%s after", tk.State)
		}})
	}()
	sc, err := server.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = sc.Control(func(fd uintptr) {
		if err := g.Give(Ticket{Kind: 1, State: []byte("before"), Files: []int{int(fd)}}); err != nil {
			t.Error(err)
		}
	})
	server.Close()
	got, err := io.ReadAll(client)
	if string(got) != "before after" || err != nil {
		t.Errorf("the client read %q, %v", got, err)
	}
	g.Close()
	<-ran
}

// The bytes of version 1 never change: another release reads them.
func TestWireFormVersion1(t *testing.T) {
	var got strings.Builder
	for _, m := range []message{
		helloMessage(1, 3),
		{kind: msgGive, id: 258, class: 2, files: 1, state: []byte("GET / HT")},
		{kind: msgHold, id: 258},
		{kind: msgRefuse, id: 259},
		{kind: msgGo, id: 258},
		{kind: msgDrop, id: 260},
		{kind: msgEnd},
	} {
		fmt.Fprintf(&got, "%s\n", hex.EncodeToString(m.append(nil)))
	}
	want, err := os.ReadFile("testdata/wire_v1.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("wire form:\n%swant:\n%s", got.String(), want)
	}
}

// Version 2 has one word more.
func TestWireFormVersion2(t *testing.T) {
	if got := hex.EncodeToString(message{kind: msgLater, id: 259}.append(nil)); got != laterOf259 {
		t.Errorf("later: %s, want %s", got, laterOf259)
	}
}

const laterOf259 = "42544e080000000000000103000000000000"

// A taker that retires itself says so, unless its giver is of a release that does not
// know the word; then it refuses.
func TestTakerThatLeavesSaysSo(t *testing.T) {
	for version, want := range map[uint32]error{1: ErrRefused, 2: ErrLater} {
		before := fds(t)
		gf, tf, err := Pair()
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() {
			taker, err := NewTaker(t.Context(), tf)
			if err == nil {
				err = taker.Run(receiver{want: func(Ticket) bool { return false }, leaving: true})
			}
			ran <- err
		}()
		g, err := newGiver(t.Context(), gf, 5*time.Second, 1, version)
		if err != nil {
			t.Fatal(err)
		}
		a, b := pipe(t)
		if err := g.Give(Ticket{Kind: 1, Files: []int{a}}); !errors.Is(err, ErrRefused) || errors.Is(err, ErrLater) != (want == ErrLater) {
			t.Errorf("Give over a link of version %d = %v, want %v", version, err, want)
		}
		g.Close()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v", err)
		}
		closeAll([]int{a, b})
		wantFDs(t, before)
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add(message{kind: msgGive, id: 1, class: 2, files: 1, state: []byte("GET / HT")}.append(nil))
	f.Add(helloMessage(1, 1).append(nil))
	f.Add([]byte("BTN"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			if !errors.Is(err, ErrWire) {
				t.Errorf("error %v does not wrap ErrWire", err)
			}
			return
		}
		if got := m.append(nil); !bytes.Equal(got, b) {
			t.Errorf("parse then append = %x, want %x", got, b)
		}
	})
}
