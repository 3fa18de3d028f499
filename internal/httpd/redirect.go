package httpd

// Redirect gives what is left of a server that retires to another successor: what
// the one before it refused, or could not take because it retired itself. It may be
// called by any goroutine, also before Retire has begun; the latest successor counts.
func (s *Server) Redirect(give Give) {
	s.give.Store(&give)
	s.pokeAll()
}

// pokeAll interrupts every wait in which a connection could move.
func (s *Server) pokeAll() {
	for _, c := range s.open() {
		c.poke()
	}
}
