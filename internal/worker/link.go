package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/handoff"
)

const (
	// greetPatience is how long a peer may take to open its end of a hand-over link:
	// it may be a worker that is just being started.
	greetPatience = 10 * time.Second
	// givePatience is how long a taker may take for one connection. A taker that
	// hangs must not keep the others waiting: they drain.
	givePatience = 2 * time.Second
)

// only returns the descriptor called name of a message, or nil, and closes others.
func only(m control.Message, name string) *os.File {
	var found *os.File
	for i, f := range m.Files {
		if m.Names[i] == name && found == nil {
			found = f
		} else {
			f.Close()
		}
	}
	return found
}

// outbound opens the giving end of a link. Without one, or when the peer does not
// answer, give is nil and everything drains. When the peer has gone it gives in vain:
// there will be a link to another, see [handoff.ErrClosed].
func (w *worker) outbound(ctx context.Context, link *os.File) (give Give) {
	if link == nil {
		return nil
	}
	greet, cancel := context.WithTimeout(ctx, greetPatience)
	defer cancel()
	g, err := handoff.NewGiver(greet, link, givePatience)
	if errors.Is(err, handoff.ErrClosed) && ctx.Err() == nil {
		return func(byte, []byte, ...int) error { return err }
	}
	if err != nil {
		if ctx.Err() == nil { // else we exit with nothing left to give
			w.log.Warn("connections are not moved, they drain", "err", err)
		}
		return nil
	}
	if !w.givers.add(g) {
		_ = g.Close() // there is nothing left to give
		return nil
	}
	return func(kind byte, state []byte, fds ...int) error {
		return g.Give(handoff.Ticket{Kind: kind, State: state, Files: fds})
	}
}

// giveOn gives what is left of the worker to another successor. Of two that come
// at once either may count: the master sends the later one when the one before it
// retires, which is known by then.
func (w *worker) giveOn(ctx context.Context, link *os.File) {
	if give := w.outbound(ctx, link); give != nil {
		w.service.Redirect(give)
	}
}

// givers are the links to successors. They end when the last connection is gone.
type givers struct {
	// mu guards what follows. It is a leaf.
	mu     sync.Mutex
	open   []*handoff.Giver
	closed bool
}

// add reports whether g may be used.
func (gs *givers) add(g *handoff.Giver) bool {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if !gs.closed {
		gs.open = append(gs.open, g)
	}
	return !gs.closed
}

func (gs *givers) close(log *slog.Logger) {
	gs.mu.Lock()
	open := gs.open
	gs.open, gs.closed = nil, true
	gs.mu.Unlock()
	for _, g := range open {
		if err := g.Close(); err != nil {
			log.Warn("closing the hand-over link failed", "err", err)
		}
	}
}

// take serves a link on which a predecessor gives, until the giver has no more. It
// returns at once; the goroutine ends with the link, at the latest with the process.
func (w *worker) take(ctx context.Context, link *os.File) {
	if link == nil {
		return
	}
	go func() {
		greet, cancel := context.WithTimeout(ctx, greetPatience)
		defer cancel()
		t, err := handoff.NewTaker(greet, link)
		if errors.Is(err, handoff.ErrClosed) {
			return // its giver had nothing left before we came
		}
		if err == nil {
			err = t.Run(receiver{w})
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("taking connections over ended early", "err", err)
		}
	}()
}

// A receiver takes connections for the worker.
type receiver struct{ w *worker }

func (r receiver) Want(t handoff.Ticket) bool {
	return r.w.service.Wants(t.Kind, t.State, len(t.Files)) && r.w.inbound.hold()
}

func (r receiver) Leaving() bool { return r.w.inbound.refuses() }

func (r receiver) Take(t handoff.Ticket) {
	defer r.w.inbound.settle()
	if err := r.w.service.Take(t.Kind, t.State, t.Files); err != nil {
		r.w.log.Error("a connection that was given is lost", "err", err)
	}
}

func (r receiver) Drop(handoff.Ticket) { r.w.inbound.settle() }

// inbound counts connections that predecessors have offered and not yet given or
// taken back. A worker that retires itself in that moment waits for them: they are
// given away with its own.
type inbound struct {
	// mu guards what follows. It is a leaf.
	mu      sync.Mutex
	held    int
	refused bool
	empty   chan struct{} // closed when refused and held is 0
}

// hold counts one more and reports whether it may come.
func (in *inbound) hold() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.refused {
		return false
	}
	in.held++
	return true
}

// refuses reports whether nothing more is let in.
func (in *inbound) refuses() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.refused
}

func (in *inbound) settle() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.held--
	if in.refused && in.held == 0 {
		close(in.empty)
	}
}

// refuse lets no more in and waits until every one that was held is settled.
func (in *inbound) refuse(ctx context.Context) {
	in.mu.Lock()
	in.refused = true
	in.empty = make(chan struct{})
	if in.held == 0 {
		close(in.empty)
	}
	empty := in.empty
	in.mu.Unlock()
	wait, cancel := context.WithTimeout(ctx, 2*givePatience)
	defer cancel()
	select {
	case <-empty:
	case <-wait.Done():
	}
}
