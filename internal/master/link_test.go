package master

import (
	"os"
	"syscall"
	"testing"
)

// A roll-back is HUP to the old master and then WINCH to the new one, whose links
// the old master must not see before it was told to start workers.
func TestSignalComesBeforeLink(t *testing.T) {
	for range 100 {
		m := &Master{
			signals: make(chan os.Signal, 1), sent: make(chan *os.File, 1),
			links: map[int]*os.File{},
		}
		m.sent <- nil
		m.signals <- syscall.SIGHUP
		if got, want := m.next(nil), (signalled{syscall.SIGHUP}); got != want {
			t.Fatalf("the next event is %#v, want %#v", got, want)
		}
		if got, want := m.next(nil), (linkCame{1}); got != want {
			t.Fatalf("the event after it is %#v, want %#v", got, want)
		}
	}
}
