package httpd

// PokeAll interrupts every wait in which a connection could move, as Retire does.
func (s *Server) PokeAll() { s.pokeAll() }
