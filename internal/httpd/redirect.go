package httpd

import (
	"context"
	"time"
)

// Redirect gives what is left of a server that retires to another successor: what
// the one before it refused, or could not take because it retired itself. It may be
// called by any goroutine, also before Retire has begun; the latest successor counts.
// It returns when everybody's turn has come.
func (s *Server) Redirect(give Give) {
	s.give.Store(&give)
	s.pokeInTurn(context.Background()) // bounded by turnsPatience
}

// pokeAll interrupts every wait in which a connection could move.
func (s *Server) pokeAll() {
	for _, c := range s.open() {
		c.poke(nil)
	}
}

const (
	// turnsAtOnce is how many connections are interrupted at a time.
	turnsAtOnce = 8
	// turnsPatience bounds how long one turn is waited for. It is longer than a
	// successor may take for a connection: one that hangs is given up before.
	turnsPatience = 3 * time.Second
	// turnsApart is how long after one connection the next is interrupted. Moving one
	// takes two processes a tenth of a millisecond, and without a pause requests would
	// wait for the cores until all are moved.
	turnsApart = time.Millisecond
	// turnsSpread bounds what that comes to when there are many connections.
	turnsSpread = 200 * time.Millisecond
)

// pokeInTurn is pokeAll, a few connections at a time: one that was interrupted waits
// to be given, and its client with it, while one that was not is served here until
// its turn comes. When the turns take long all that are left are interrupted.
func (s *Server) pokeInTurn(ctx context.Context) {
	turns := make(chan struct{}, turnsAtOnce)
	patience := time.NewTimer(turnsPatience)
	defer patience.Stop()
	conns := s.open()
	apart := min(turnsApart, turnsSpread/time.Duration(max(len(conns), 1)))
	begun := time.Now()
	for i, c := range conns {
		if !waitUntil(ctx, begun.Add(time.Duration(i)*apart)) {
			return
		}
		select {
		case turns <- struct{}{}:
			patience.Reset(turnsPatience)
		case <-patience.C:
			s.pokeAll()
			return
		case <-ctx.Done():
			return
		}
		if !c.poke(turns) {
			<-turns // it is being served, and moves when it is answered
		}
	}
}

// waitUntil waits until t and reports whether ctx was not done before. What timers
// cannot tell apart is not waited for.
func waitUntil(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d < time.Millisecond/2 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// settleTurn ends the connection's turn, if it has one.
func (c *conn) settleTurn() {
	c.moveMu.Lock()
	turn := c.turn
	c.turn = nil
	c.moveMu.Unlock()
	if turn != nil {
		<-turn
	}
}
