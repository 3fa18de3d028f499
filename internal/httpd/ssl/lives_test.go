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
