package upstream

import (
	"math"
	"sync"
	"time"
)

// A pool is a group's cache of idle connections, at most size of them. The one
// that was used last is used next; the one that was idle longest makes room.
type pool struct {
	size     int
	local    bool          // a connection is only for the user that made it
	requests int           // on one connection
	idle     time.Duration // 0 keeps none
	age      time.Duration
	turns    *turns // nil: nobody waits

	// mu guards what follows. Only that of turns is taken under it.
	mu     sync.Mutex
	conns  []*Conn // idle longest first
	sweeps *time.Timer
	closed bool

	queue  queue // who waits for a connection
	waits  int   // how often somebody may still wait in vain
	listed bool  // turns knows that somebody waits
}

// sweepEvery is how often idle connections are looked through, at least.
const sweepEvery = time.Second

// justNow is how long after its last use a connection is taken to be alive: looking
// costs a system call for each request, and nginx does not look either.
const justNow = time.Millisecond

// take returns the connection to p, of a kind, that was used last and still lives. When
// there is none it may wait for the length of one turn of the poller, once. The arguments
// are those of Group.Take.
func (pl *pool) take(p *Peer, kind, user any, now time.Time) *Conn {
	waited := false
	for {
		c, w := pl.pop(p, kind, user, !waited)
		if w != nil {
			waited = true
			c = w.wait()
		}
		if c == nil {
			return nil
		}
		if pl.usable(c, now) {
			if w != nil {
				pl.allowWaits(1) // it was not in vain
			}
			c.Reused = true
			return c
		}
		c.Drop()
	}
}

// usable reports whether c may be used again: it was not idle for too long, and its server
// did not close it. now is as for Group.Take.
func (pl *pool) usable(c *Conn, now time.Time) bool {
	again := !now.IsZero()
	if !again {
		now = time.Now()
	}
	idle := now.Sub(c.since)
	return idle < pl.idle && (again && idle < justNow || c.Idle())
}

// pop takes an idle connection out. When there is none and mayWait is set, it may put the
// caller into the queue in the same moment.
func (pl *pool) pop(p *Peer, kind, user any, mayWait bool) (*Conn, *waiter) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	for i := len(pl.conns) - 1; i >= 0; i-- {
		if c := pl.conns[i]; pl.suits(c, p, kind, user) {
			pl.remove(i)
			return c, nil
		}
	}
	if !mayWait {
		return nil, nil
	}
	return nil, pl.enlist(p, kind, user)
}

// suits reports whether c is for who asks with the arguments of Group.Take.
func (pl *pool) suits(c *Conn, p *Peer, kind, user any) bool {
	return c.peer == p && c.Kind == kind && (!pl.local || c.User == user)
}

// remove takes connection i out. pl.mu must be held.
func (pl *pool) remove(i int) {
	last := len(pl.conns) - 1
	copy(pl.conns[i:], pl.conns[i+1:])
	pl.conns[last] = nil
	pl.conns = pl.conns[:last]
}

// keep reports whether it took c.
func (pl *pool) keep(c *Conn, now time.Time) bool {
	if c.requests >= pl.requests || now.Sub(c.opened) > pl.age || len(c.Buffered()) > 0 {
		return false
	}
	c.Release()
	c.since = now
	var old *Conn
	pl.mu.Lock()
	if pl.closed {
		pl.mu.Unlock()
		return false
	}
	if pl.give(c) {
		pl.mu.Unlock()
		return true
	}
	if len(pl.conns) >= pl.size {
		old = pl.conns[0]
		pl.remove(0)
	}
	pl.conns = append(pl.conns, c)
	if pl.sweeps == nil {
		pl.sweeps = time.AfterFunc(pl.untilSweep(now), pl.sweep)
	}
	pl.mu.Unlock()
	if old != nil {
		if old.Idle() {
			pl.allowWaits(waitsForOne)
		}
		old.Drop()
	}
	return true
}

// sweep closes connections that were idle for too long or that the server closed.
// It runs again while there are any.
func (pl *pool) sweep() {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	now := time.Now()
	kept := pl.conns[:0]
	for _, c := range pl.conns {
		if now.Sub(c.since) >= pl.idle || !c.Idle() {
			c.Drop()
			continue
		}
		kept = append(kept, c)
	}
	clear(pl.conns[len(kept):])
	pl.conns = kept
	if len(kept) == 0 || pl.closed {
		pl.sweeps = nil
		return
	}
	pl.sweeps.Reset(pl.untilSweep(now))
}

// untilSweep is how long until there is something to do for sweep. There is a connection,
// and pl.mu must be held.
func (pl *pool) untilSweep(now time.Time) time.Duration {
	return min(sweepEvery, max(pl.idle-now.Sub(pl.conns[0].since), time.Millisecond))
}

// close closes all connections and keeps none from now on. Nobody waits any longer.
func (pl *pool) close() {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.closed = true
	pl.endWaits(math.MaxUint64)
	for _, c := range pl.conns {
		c.Drop()
	}
	pl.conns = nil
	if pl.sweeps != nil {
		pl.sweeps.Stop()
		pl.sweeps = nil
	}
}

// len is how many connections are idle.
func (pl *pool) len() int {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	return len(pl.conns)
}
