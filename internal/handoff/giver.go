package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// A Giver is the end of a link that gives. Its methods may be called from many
// goroutines at once.
type Giver struct {
	c       *conn
	timeout time.Duration
	slots   chan struct{} // one for each ticket under way
	done    chan struct{} // closed when nothing more will be read

	// mu guards what follows. It is a leaf.
	mu     sync.Mutex
	next   uint64
	open   map[uint64]chan byte // what the taker says of a ticket: msgHold or msgRefuse
	ended  error                // why done is closed
	closed bool
	heard  time.Time // when the taker spoke last
}

// NewGiver takes over one end of a [Pair] and agrees with the peer on a version,
// within ctx. timeout bounds how long Give waits for the taker's word on one
// ticket. On an error f is closed and nothing has moved.
func NewGiver(ctx context.Context, f *os.File, timeout time.Duration) (*Giver, error) {
	return newGiver(ctx, f, timeout, minVersion, maxVersion)
}

func newGiver(ctx context.Context, f *os.File, timeout time.Duration, lo, hi uint32) (*Giver, error) {
	c, err := open(ctx, f, lo, hi)
	if err != nil {
		return nil, err
	}
	c.timeout = timeout
	g := &Giver{
		c: c, timeout: timeout,
		slots: make(chan struct{}, window),
		done:  make(chan struct{}),
		open:  map[uint64]chan byte{},
		heard: time.Now(),
	}
	go g.read()
	return g, nil
}

// Give moves t to the taker. When the taker is silent for longer than the timeout
// the link ends, and every Give under way or to come fails. When it returns nil the taker owns the ticket and the
// caller must only close its own descriptors: neither read, write nor shut them
// down. On any error the caller is still the owner and must go on serving.
func (g *Giver) Give(t Ticket) error {
	if len(t.State) > MaxState || len(t.Files) == 0 || len(t.Files) > MaxFiles {
		return fmt.Errorf("give a ticket: %d bytes of state and %d descriptors do not fit", len(t.State), len(t.Files))
	}
	turn := time.NewTimer(g.timeout)
	defer turn.Stop()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-turn.C:
		return ErrNoAnswer // nothing was sent: there is nothing to be dropped
	case <-g.done:
		return g.why()
	}
	id, answer, err := g.begin()
	if err != nil {
		return err
	}
	defer g.forget(id)
	m := message{kind: msgGive, id: id, class: t.Kind, files: byte(len(t.Files)), state: t.State}
	if err := g.c.send(m, t.Files); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			g.abandon()
		}
		return err // a datagram goes whole or not at all
	}
	timer := time.NewTimer(g.timeout)
	defer timer.Stop()
	select {
	case word := <-answer:
		return g.settle(id, word)
	case <-g.done:
		return errors.Join(g.why(), g.say(msgDrop, id))
	case <-timer.C:
	}
	if g.silent() {
		g.abandon() // which is a drop
		return ErrNoAnswer
	}
	return errors.Join(ErrNoAnswer, g.say(msgDrop, id))
}

// silent reports whether the taker has said nothing about any ticket for as long as
// it may take for one.
func (g *Giver) silent() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Since(g.heard) >= g.timeout
}

// abandon ends the link to a taker that hangs: others wait for their turn, and their
// clients with them, and each would wait as long as the first.
func (g *Giver) abandon() { _ = g.c.sock.Close() }

// say sends a word that decides over a ticket. When it cannot be sent the link is
// closed, which decides too: the taker drops what it holds.
func (g *Giver) say(kind byte, id uint64) error {
	err := g.c.send(message{kind: kind, id: id}, nil)
	if err != nil {
		g.abandon()
	}
	return err
}

// settle ends a ticket that the taker has answered for.
func (g *Giver) settle(id uint64, word byte) error {
	if word == msgRefuse {
		return ErrRefused
	}
	// Sent is given: when the taker dies with this message unread, the client loses
	// what any client of a process that dies loses.
	return g.say(msgGo, id)
}

func (g *Giver) begin() (uint64, chan byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended != nil || g.closed {
		return 0, nil, ErrClosed
	}
	g.next++
	answer := make(chan byte, 1)
	g.open[g.next] = answer
	return g.next, answer, nil
}

func (g *Giver) forget(id uint64) {
	g.mu.Lock()
	delete(g.open, id)
	g.mu.Unlock()
}

func (g *Giver) why() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended == nil {
		return ErrClosed
	}
	return g.ended
}

// read hands the taker's words to those who wait for them, until the link ends.
func (g *Giver) read() {
	defer close(g.done)
	buf := make([]byte, headBytes+MaxState)
	for {
		m, fds, err := g.c.receive(buf)
		closeAll(fds)
		if err == nil && m.kind != msgHold && m.kind != msgRefuse {
			err = fmt.Errorf("%w: kind %d from a taker", ErrWire, m.kind)
		}
		if err != nil {
			g.mu.Lock()
			g.ended = fmt.Errorf("%w: %w", ErrClosed, err)
			g.mu.Unlock()
			return
		}
		g.mu.Lock()
		answer := g.open[m.id]
		g.heard = time.Now()
		g.mu.Unlock()
		if answer != nil {
			select {
			case answer <- m.kind:
			default: // said twice
			}
		} // else too late: "drop" is on its way to the taker
	}
}

// Close tells the taker that nothing more comes and closes the link. No Give may
// be under way.
func (g *Giver) Close() error {
	g.mu.Lock()
	already := g.closed
	g.closed = true
	g.mu.Unlock()
	if already {
		return nil
	}
	_ = g.c.send(message{kind: msgEnd}, nil) // a peer that is gone needs no word
	err := g.c.sock.Close()
	<-g.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
