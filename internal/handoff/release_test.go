package handoff

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A release is the other end of a link in another release of Baton: it is made of
// bytes, not of this package's code, and speaks versions lo to hi.
type release struct {
	t    *testing.T
	sock *net.UnixConn
}

// otherRelease puts a release on f, which says hello.
func otherRelease(t *testing.T, f *os.File, lo, hi uint32) *release {
	t.Helper()
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	r := &release{t, nc.(*net.UnixConn)}
	r.say(fmt.Sprintf("42544e01%08x%08x000000000000", lo, hi))
	return r
}

// say sends a datagram with descriptors.
func (r *release) say(bytes string, fds ...int) {
	r.t.Helper()
	b, err := hex.DecodeString(bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, _, err := r.sock.WriteMsgUnix(b, unix.UnixRights(fds...), nil); err != nil {
		r.t.Fatal(err)
	}
}

// hears reads a datagram and compares it, and how many descriptors came with it. ""
// is the end of the link.
func (r *release) hears(want string, fds int) {
	r.t.Helper()
	b, oob := make([]byte, 256), make([]byte, 256)
	n, oobn, _, _, err := r.sock.ReadMsgUnix(b, oob)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		r.t.Fatal(err)
	}
	got, _ := rights(oob[:oobn])
	closeAll(got)
	if hex.EncodeToString(b[:n]) != want || len(got) != fds {
		r.t.Errorf("heard %x with %d descriptors, want %s with %d", b[:n], len(got), want, fds)
	}
}

const (
	helloOfOne = "42544e010000000100000002000000000000" // of this build
	giveOfOne  = "42544e0200000000000000010101000000057374617465"
	holdOfOne  = "42544e030000000000000001000000000000"
	goOfOne    = "42544e050000000000000001000000000000"
	endOfOne   = "42544e070000000000000000000000000000"
)

// Invariant 6: to a release that speaks none of our versions, earlier or later, no
// descriptor is sent.
func TestNothingMovesToAReleaseThatSpeaksNoneOfOurVersions(t *testing.T) {
	for _, tc := range []struct {
		name         string
		lo, hi       uint32 // what we speak
		peerLo, peer uint32
		hello        string
	}{
		{"the one before", 2, 2, 1, 1, "42544e010000000200000002000000000000"},
		{"an unknown later one", minVersion, maxVersion, 7, 9, helloOfOne},
		{"nonsense", minVersion, maxVersion, 9, 0, helloOfOne},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, gives := range []bool{true, false} {
				a, b, err := Pair()
				if err != nil {
					t.Fatal(err)
				}
				r := otherRelease(t, b, tc.peerLo, tc.peer)
				if gives {
					_, err = newGiver(t.Context(), a, time.Second, tc.lo, tc.hi)
				} else {
					_, err = newTaker(t.Context(), a, tc.lo, tc.hi)
				}
				if err == nil {
					t.Errorf("gives %v: agreed on a version", gives)
				}
				r.hears(tc.hello, 0)
				r.hears("", 0)
			}
		})
	}
}

// With a release that speaks later versions too the bytes are those of ours, either way.
func TestTicketsMoveToAndFromALaterRelease(t *testing.T) {
	before := fds(t)
	gf, b, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	taker := otherRelease(t, b, 1, 9)
	g, err := NewGiver(t.Context(), gf, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	mine, peer := pipe(t)
	given := make(chan error, 1)
	go func() { given <- g.Give(Ticket{Kind: 1, State: []byte("state"), Files: []int{mine}}) }()
	taker.hears(helloOfOne, 0)
	taker.hears(giveOfOne, 1)
	taker.say(holdOfOne)
	taker.hears(goOfOne, 0)
	if err := <-given; err != nil {
		t.Errorf("Give = %v", err)
	}
	go g.Close()
	taker.hears(endOfOne, 0)
	taker.sock.Close()

	tf, b, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	giver := otherRelease(t, b, 1, 9)
	tk, err := NewTaker(t.Context(), tf)
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan Ticket, 1)
	ran := make(chan error, 1)
	go func() { ran <- tk.Run(receiver{want: all, take: func(t Ticket) { taken <- t }}) }()
	giver.hears(helloOfOne, 0)
	giver.say(giveOfOne, mine)
	giver.hears(holdOfOne, 0)
	giver.say(goOfOne)
	got := <-taken
	if got.Kind != 1 || string(got.State) != "state" || len(got.Files) != 1 {
		t.Errorf("taken: %+v", got)
	}
	giver.say(endOfOne)
	if err := <-ran; err != nil {
		t.Errorf("Run = %v", err)
	}
	giver.sock.Close()
	closeAll(append(got.Files, mine, peer))
	wantFDs(t, before)
}
