package upstream

import (
	"os"
	"sync"
	"testing"
	"time"
)

// endless is turns in which none is ever over.
func endless(t *testing.T) *turns {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &turns{file: f, heard: true, rung: true}
}

// waitIn puts a request into the queue.
func waitIn(t *testing.T, pl *pool, p *Peer, kind, user any) *waiter {
	t.Helper()
	c, w := pl.pop(p, kind, user, true)
	if c != nil || w == nil {
		t.Fatalf("got %p, %p, want to wait", c, w)
	}
	return w
}

// got is what w was given so far.
func got(w *waiter) (c *Conn, over bool) {
	select {
	case c = <-w.got:
		return c, true
	default:
		return nil, false
	}
}

func TestKeptConnectionGoesToTheFirstWhoWaitsForOneLikeIt(t *testing.T) {
	pl, a, b := newPool(3), &Peer{}, &Peer{}
	defer pl.close()
	pl.turns, pl.waits, pl.local = endless(t), 10, true
	other := waitIn(t, pl, b, nil, "x")
	secure := waitIn(t, pl, a, "tls", "x")
	elsewhere := waitIn(t, pl, a, nil, "y")
	first := waitIn(t, pl, a, nil, "x")
	second := waitIn(t, pl, a, nil, "x")
	for _, w := range []*waiter{first, second, nil} {
		c, _ := idleConn(t, a)
		c.User = "x"
		if !pl.keep(c, time.Now()) {
			t.Fatal("a good connection was not kept")
		}
		if w == nil {
			if pl.len() != 1 {
				t.Error("the connection that nobody wants is not idle")
			}
		} else if c2, _ := got(w); c2 != c || pl.len() != 0 {
			t.Errorf("who waited has %p, want %p; %d are idle", c2, c, pl.len())
		}
	}
	for _, w := range []*waiter{other, secure, elsewhere} {
		if _, over := got(w); over {
			t.Error("who waits for another one waits no more")
		}
	}
	last, _ := idleConn(t, a)
	last.User = "y"
	pl.keep(last, time.Now())
	if c, _ := got(elsewhere); c != last {
		t.Error("the connection went past who stands behind others")
	}
	if w := waitIn(t, pl, b, nil, "x"); pl.queue.tail != w {
		t.Error("who comes last is not the last")
	}
}

// A connection that is handed over is looked at like one that was idle.
func TestDeadConnectionIsNotHandedOver(t *testing.T) {
	for _, again := range []bool{false, true} { // the request can be sent again
		pl, p := newPool(1), &Peer{}
		pl.turns, pl.waits = endless(t), 1
		now := time.Time{}
		if again {
			now = time.Now()
		}
		dead, other := idleConn(t, p)
		_ = other.Close()
		taken := make(chan *Conn)
		go func() { taken <- pl.take(p, nil, nil, now) }()
		for waiting := false; !waiting; {
			pl.mu.Lock()
			waiting = pl.queue.head != nil
			pl.mu.Unlock()
		}
		pl.keep(dead, time.Now())
		c := <-taken
		if again && c != dead || !again && c != nil {
			t.Errorf("took %p, the dead one is %p; the request can be sent again: %v", c, dead, again)
		}
		if pl.waits != 0 && !again {
			t.Error("a wait in vain is not counted")
		}
		pl.close()
	}
}

func TestTurnEnds(t *testing.T) {
	var ts turns
	defer ts.close()
	pl, p := newPool(1), &Peer{}
	defer pl.close()
	pl.turns, pl.waits = &ts, 3
	for range 5 {
		if pl.take(p, nil, nil, time.Now()) != nil {
			t.Error("took what nobody kept")
		}
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.over != 3 || ts.rung || pl.waits != 0 {
		t.Errorf("%d turns, want 3; one more is under way: %v; %d waits left", ts.over, ts.rung, pl.waits)
	}
}

// Only living connections that were closed for want of room allow waits.
func TestNobodyWaitsInVainForLong(t *testing.T) {
	var ts turns
	pl, p := newPool(1), &Peer{}
	defer pl.close()
	pl.turns = &ts
	for range 4 { // the server closes each, and says nothing
		c, other := idleConn(t, p)
		pl.keep(c, time.Now())
		_ = other.Close()
	}
	if pl.waits != 0 {
		t.Errorf("connections that the server closed allow %d waits", pl.waits)
	}
	pl.conns = nil
	if pl.take(p, nil, nil, time.Now()) != nil || ts.file != nil {
		t.Error("somebody waited")
	}
	for range 3 * maxWaits {
		pl.allowWaits(waitsForOne)
	}
	if pl.waits != maxWaits {
		t.Errorf("%d waits are allowed, want %d", pl.waits, maxWaits)
	}
	pl.waits = 0
	for range 2 {
		c, _ := idleConn(t, p)
		pl.keep(c, time.Now())
	}
	if pl.waits != waitsForOne {
		t.Errorf("a living connection without room allows %d waits, want %d", pl.waits, waitsForOne)
	}
}

func TestNobodyWaitsWhereNothingIsKept(t *testing.T) {
	p := &Peer{}
	for name, set := range map[string]func(pl *pool){
		"no turns":     func(pl *pool) { pl.turns = nil },
		"closed turns": func(pl *pool) { pl.turns = &turns{closed: true} },
		"closed":       func(pl *pool) { pl.close() },
		"no time":      func(pl *pool) { pl.idle = 0 },
	} {
		pl := newPool(1)
		pl.turns, pl.waits = endless(t), 1
		set(pl)
		if _, w := pl.pop(p, nil, nil, true); w != nil {
			t.Errorf("%s: somebody waits", name)
		}
	}
}

func TestClosingPoolEndsWaits(t *testing.T) {
	pl, p := newPool(1), &Peer{}
	pl.turns, pl.waits = endless(t), 2
	first, second := waitIn(t, pl, p, nil, nil), waitIn(t, pl, p, nil, nil)
	pl.close()
	for _, w := range []*waiter{first, second} {
		if c, over := got(w); c != nil || !over {
			t.Errorf("who waited has %p, and waits no more: %v", c, over)
		}
	}
}

// Nobody waits for ever, and no connection is given to two or to nobody, while many take
// and keep in several pools that close in the midst of it.
func TestManyWait(t *testing.T) {
	var ts turns
	var users sync.WaitGroup
	pools := []*pool{newPool(1), newPool(2), newPool(3)}
	for _, pl := range pools {
		pl.turns, pl.requests = &ts, 1<<30
		peers := []*Peer{{}, {}}
		for i := range 12 {
			c, _ := idleConn(t, peers[i%2])
			users.Go(func() {
				for range 300 {
					if c != nil {
						if c.requests++; c.requests != 1 {
							t.Error("two have one connection")
						}
						c.requests--
						pl.allowWaits(1)
						if !pl.keep(c, time.Now()) {
							return // it is closed
						}
					}
					c = pl.take(peers[i%2], nil, nil, time.Now())
				}
			})
		}
	}
	users.Go(func() { pools[0].take(&Peer{}, nil, nil, time.Now()); pools[0].close() })
	users.Wait()
	for _, pl := range pools {
		pl.close()
		if pl.queue.head != nil || pl.queue.tail != nil {
			t.Error("somebody still waits")
		}
	}
	ts.close()
}
