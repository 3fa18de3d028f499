package httpd

// PokeAll interrupts every wait in which a connection could move, as Retire does.
func (s *Server) PokeAll() { s.pokeAll() }

// PokeAsInputComes interrupts every connection, in its turn, in the moment between
// the arrival of its next request, which arrive sends, and the end of its window. It
// returns how many turns are taken.
func (s *Server) PokeAsInputComes(turns chan struct{}, arrive func()) (poked int) {
	conns := s.open()
	for _, c := range conns {
		c.moveMu.Lock() // so that no window ends
	}
	arrive()
	for _, c := range conns {
		for c.Pending() {
		}
		c.moveMu.Unlock()
		turns <- struct{}{}
		if c.poke(turns) {
			poked++
		} else {
			<-turns
		}
	}
	return poked
}
