package worker_test

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/handoff"
	"github.com/baton-deploy/baton/internal/proc"
)

// retireOver tells the worker to retire over a fresh link and returns its other end.
func (w *ward) retireOver() (taker *os.File) {
	w.t.Helper()
	giver, taker, err := handoff.Pair()
	if err != nil {
		w.t.Fatal(err)
	}
	defer giver.Close()
	fd, err := proc.FD(giver)
	if err == nil {
		err = w.conn.Send(control.KindRetire, control.Retire{Successor: true}, control.File{Name: control.FileGive, FD: fd})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return taker
}

// nobody wants nothing.
type nobody struct{}

func (nobody) Want(handoff.Ticket) bool { return false }

func (nobody) Leaving() bool       { return false }
func (nobody) Take(handoff.Ticket) {}
func (nobody) Drop(handoff.Ticket) {}

// A worker that cannot give all it has to its first successor gives the rest to the
// next one, and ends all links when it has nothing left.
func TestRetiresToAnotherSuccessor(t *testing.T) {
	w := startWorker(t, plan{Drain: true})
	w.hear(control.KindReady)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 2)
	for range 2 {
		taker, err := handoff.NewTaker(ctx, w.retireOver())
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- taker.Run(nobody{}) }()
	}
	w.hear(control.KindRetired) // the service ends when it gets its second successor
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("a link ended with %v", err)
		}
	}
	w.exits(0)
}

// Invariant 6: beside a successor of another release, with no version in common,
// nothing is offered and everything drains.
func TestDrainsBesideAnUnknownRelease(t *testing.T) {
	w := startWorker(t, plan{})
	w.hear(control.KindReady)
	f := w.retireOver()
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	// Versions 3 to 9, as docs/handoff.md has it.
	if _, err := nc.Write([]byte("BTN\x01\x00\x00\x00\x03\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"BTN\x01", ""} {
		b := make([]byte, 64)
		if n, err := nc.Read(b); err != nil && i == 0 || string(b[:min(n, 4)]) != want {
			t.Errorf("word %d of the worker is %q, %v", i+1, b[:n], err)
		}
	}
	var r control.Retired
	if err := w.hear(control.KindRetired).Into(&r); err != nil || r.Moved != 0 || r.Drained != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	w.exits(0)
	if log := w.file("error.log"); !strings.Contains(log, "we speak 1 to 2, the peer 3 to 9") {
		t.Errorf("the error log does not say why nothing moved:\n%s", log)
	}
	if log := w.file("access.log"); !strings.Contains(log, "retires, gives false") {
		t.Errorf("the service retired otherwise: %q", log)
	}
}
