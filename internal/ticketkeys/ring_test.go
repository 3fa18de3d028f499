package ticketkeys

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
	"time"
)

func hours(n int) time.Time { return time.Unix(int64(1_000_000+n)*3600+60, 0) }

// Two processes that got a ring at different times, and never heard of each other
// since, have the same keys.
func TestProcessesAgreeWithoutTalking(t *testing.T) {
	r := New(hours(0))
	early, err := Decode(r.Encode(hours(0)))
	if err != nil {
		t.Fatal(err)
	}
	late, err := Decode(r.Encode(hours(7)))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []int{7, 8, 30, 31, 400} {
		a, b := early.Keys(hours(h), "p"), late.Keys(hours(h), "p")
		if !slices.Equal(a, b) {
			t.Errorf("at hour %d the keys differ", h)
		}
	}
}

func TestKeysAgeAndGo(t *testing.T) {
	r := New(hours(0))
	first := r.Keys(hours(0), "p")
	if len(first) != Kept+1 {
		t.Fatalf("%d keys, want %d", len(first), Kept+1)
	}
	if r.Hour(hours(1)) == r.Hour(hours(2)) {
		t.Error("two hours have one number")
	}
	later := r.Keys(hours(5), "p")
	if later[5] != first[0] || slices.Contains(first, later[4]) {
		t.Error("after five hours the first key is not the sixth")
	}
	if !slices.Contains(r.Keys(hours(Kept), "p"), first[0]) {
		t.Errorf("the key is gone after %d hours", Kept)
	}
	if !slices.Contains(r.Keys(hours(Kept+5), "p"), later[0]) {
		t.Error("a key of five hours later is gone too early")
	}
	if slices.Contains(r.Keys(hours(Kept+6), "p"), first[0]) {
		t.Errorf("the key is still there after %d hours", Kept+6)
	}
	if slices.Equal(r.Keys(hours(40), "p"), r.Keys(hours(40), "q")) {
		t.Error("two purposes have the same keys")
	}
	if slices.Equal(first, New(hours(0)).Keys(hours(0), "p")) {
		t.Error("two rings have the same keys")
	}
}

// A clock that is put back does not bring back what was forgotten, nor break anything.
func TestClockThatGoesBack(t *testing.T) {
	r := New(hours(100))
	want := r.Keys(hours(150), "p")
	if got := r.Keys(hours(100), "p"); got[0] != want[0] {
		t.Error("the key changed with a clock that went back")
	}
}

// The form that another release reads and writes.
func TestForm(t *testing.T) {
	const golden = "42544b0100000000000f4228" + "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	b, _ := hex.DecodeString(golden)
	r, err := Decode(append(bytes.Clone(b), "more"...))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Encode(hours(0)); !bytes.Equal(got, b) {
		t.Errorf("encoded %x, want %s", got, golden)
	}
	const key = "f953" // of the first bytes of the newest key
	if got := hex.EncodeToString(r.Keys(hours(0), "p")[0][:2]); got != key {
		t.Errorf("the newest key begins with %s, want %s", got, key)
	}
	for _, bad := range []string{"", "BTK", "BTK\x02" + string(b[4:]), string(b[:20]), "BTK\x01\xff" + string(b[5:])} {
		if _, err := Decode([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
