package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
)

// A Taker is the end of a link that takes.
type Taker struct {
	c    *conn
	held map[uint64]Ticket
}

// NewTaker takes over one end of a [Pair] and agrees with the peer on a version,
// within ctx. On an error f is closed.
func NewTaker(ctx context.Context, f *os.File) (*Taker, error) {
	return newTaker(ctx, f, minVersion, maxVersion)
}

func newTaker(ctx context.Context, f *os.File, lo, hi uint32) (*Taker, error) {
	c, err := open(ctx, f, lo, hi)
	if err != nil {
		return nil, err
	}
	return &Taker{c: c, held: map[uint64]Ticket{}}, nil
}

// A Receiver is what a Taker's tickets are for. Its methods are called on the
// goroutine of [Taker.Run] and must not block.
type Receiver interface {
	// Want reports whether a ticket is welcome. It must not touch the descriptors.
	// Each ticket that is welcome is followed by Take or by Drop.
	Want(Ticket) bool
	// Take owns the ticket and its descriptors from now on.
	Take(Ticket)
	// Drop says that a welcome ticket stays with its giver.
	Drop(Ticket)
}

// Run takes tickets until the giver has no more, and then returns nil. On an error
// the link has ended: what was held and not yet decided is dropped.
//
// After a breach of the rules nothing more is taken, but Run goes on until the giver
// ends the link or has decided over everything that is held: its "go" may be on the
// way, and what was given and not taken would be lost.
func (t *Taker) Run(to Receiver) error {
	defer t.c.sock.Close()
	defer t.dropAll(to)
	buf := make([]byte, headBytes+MaxState)
	var breach error
	for breach == nil || len(t.held) > 0 {
		m, fds, err := t.c.receive(buf)
		switch {
		case errors.Is(err, errFiles):
			t.refuse(m.id)
		case errors.Is(err, ErrWire):
			breach = cmp.Or(breach, err)
		case err != nil:
			return fmt.Errorf("take: %w", cmp.Or(breach, err))
		case m.kind != msgEnd:
			breach = cmp.Or(breach, t.hear(m, fds, breach == nil, to))
		case breach == nil:
			return nil
		default:
			return fmt.Errorf("take: %w", breach)
		}
	}
	return fmt.Errorf("take: %w", breach)
}

// hear does what the giver says. It returns an error for a word that is none of a
// giver's.
func (t *Taker) hear(m message, fds []int, welcome bool, to Receiver) error {
	switch m.kind {
	case msgGive:
		t.offered(m, fds, welcome, to)
	case msgGo:
		if ticket, ok := t.held[m.id]; ok {
			delete(t.held, m.id)
			to.Take(ticket)
		}
	case msgDrop:
		t.drop(m.id, to)
	default:
		return fmt.Errorf("%w: kind %d from a giver", ErrWire, m.kind)
	}
	return nil
}

// offered answers for a ticket that came. That an answer cannot be sent is not the
// end yet: words of a giver that has closed its end may still wait to be read, and
// "go" is among them.
func (t *Taker) offered(m message, fds []int, welcome bool, to Receiver) {
	ticket := Ticket{Kind: m.class, State: append([]byte(nil), m.state...), Files: fds}
	if _, twice := t.held[m.id]; twice || !welcome || !to.Want(ticket) {
		closeAll(fds)
		t.refuse(m.id)
		return
	}
	t.held[m.id] = ticket
	_ = t.c.send(message{kind: msgHold, id: m.id}, nil)
}

func (t *Taker) refuse(id uint64) { _ = t.c.send(message{kind: msgRefuse, id: id}, nil) }

func (t *Taker) drop(id uint64, to Receiver) {
	if ticket, ok := t.held[id]; ok {
		delete(t.held, id)
		closeAll(ticket.Files)
		to.Drop(ticket)
	}
}

func (t *Taker) dropAll(to Receiver) {
	for id := range t.held {
		t.drop(id, to)
	}
}

// Close makes Run return. It is for a process that exits: a ticket that is decided
// and not yet taken is lost with it.
func (t *Taker) Close() error { return t.c.sock.Close() }
