package worker_test

import (
	"context"
	"os"
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
func (nobody) Take(handoff.Ticket)      {}
func (nobody) Drop(handoff.Ticket)      {}

// A worker that cannot give all it has to its first successor gives the rest to the
// next one, and ends all links when it has nothing left.
func TestRetiresToAnotherSuccessor(t *testing.T) {
	w := startWorker(t, plan{Drain: true})
	w.hear(control.KindReady)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
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
