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
)

// pokeInTurn is pokeAll, a few connections at a time: one that was interrupted waits
// to be given, and its client with it, while one that was not is served here until
// its turn comes. When the turns take long all that are left are interrupted.
func (s *Server) pokeInTurn(ctx context.Context) {
	turns := make(chan struct{}, turnsAtOnce)
	patience := time.NewTimer(turnsPatience)
	defer patience.Stop()
	for _, c := range s.open() {
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
