package ssl

import (
	"crypto/tls"
	"testing"
	"time"
)

func TestSessionsEndWithTheirTimeout(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	se := &sessions{timeout: time.Minute}
	for age, want := range map[time.Duration]bool{0: true, 59 * time.Second: true, time.Minute: false, time.Hour: false} {
		ss := &tls.SessionState{Extra: [][]byte{[]byte("another's"), stamp(now.Add(-age))}}
		if got := se.lives(ss, now); got != want {
			t.Errorf("a session of %v lives: %v", age, got)
		}
		if len(ss.Extra) != 1 || string(ss.Extra[0]) != "another's" {
			t.Errorf("what others added has become %q", ss.Extra)
		}
	}
	if se.lives(&tls.SessionState{Extra: [][]byte{[]byte("baton\x01short")}}, now) {
		t.Error("a session lives whose age nobody knows")
	}
}

// A cache keeps what it has room for, the last sessions, and gives a session to nobody but
// its purpose.
func TestCacheOfSessions(t *testing.T) {
	state := &tls.SessionState{Extra: [][]byte{make([]byte, 1000)}}
	one, err := state.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	room := 3 * (int64(len(one)) + perSession)
	c := newCache(room)
	var names [][]byte
	for range 10 {
		name, err := c.keep("a", state)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	for i, name := range names {
		if kept := c.named[string(name)] != nil; kept != (i >= 7) {
			t.Errorf("session %d is kept: %v", i, kept)
		}
		if got, err := c.find("b", name); got != nil || err != nil {
			t.Errorf("session %d is somebody else's, too: %v", i, err)
		}
	}
	if c.used > room || len(c.named) != c.order.Len() {
		t.Errorf("%d bytes are used of %d, %d names for %d sessions", c.used, room, len(c.named), c.order.Len())
	}
}
