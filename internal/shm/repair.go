package shm

// repair makes a store of whatever is there. Entries that are whole stay, in the order of
// use as far as it can be followed from either end, the others behind them. All other
// cells are free afterwards.
func (s *Store) repair() {
	r := repairer{Store: s, taken: make([]uint64, s.cells/64+1)}
	r.used = min(s.get(storeUsed), s.cells)
	kept := r.follow(s.get(storeNewest), cellOlder)
	back := r.follow(s.get(storeOldest), cellNewer)
	for i := len(back) - 1; i >= 0; i-- {
		kept = append(kept, back[i])
	}
	for at := uint32(1); at <= r.used; at++ {
		if s.get(s.cell(at)+cellMark) == markEntry && r.whole(at) {
			kept = append(kept, at)
		}
	}
	r.clear()
	for i := len(kept) - 1; i >= 0; i-- {
		at := kept[i]
		b := s.bucket(s.get(s.cell(at) + cellHash))
		s.set(s.cell(at)+cellNext, s.get(b))
		s.set(b, at)
		// It cannot fail but by somebody who writes there at this moment.
		_ = s.toFront(at)
	}
	s.set(storeCount, uint32(len(kept)))
}

// A repairer is a repair under way.
type repairer struct {
	*Store
	used  uint32
	taken []uint64 // a bit for each cell that an entry has
}

// follow returns the whole entries from one on, up to the first that is not, or was
// returned before.
func (r *repairer) follow(at uint32, link int) (entries []uint32) {
	for at != 0 && at <= r.used && r.whole(at) {
		entries = append(entries, at)
		at = r.get(r.cell(at) + link)
	}
	return entries
}

// whole reports whether an entry has all its cells, and takes them if it has.
func (r *repairer) whole(at uint32) bool {
	c := r.cell(at)
	n := r.get(c + cellLen)
	if r.isTaken(at) || r.get(c+cellMark) != markEntry || n > MaxKey {
		return false
	}
	key := make([]byte, 0, n)
	cells := []uint32{at}
	next := r.get(c + cellMore)
	if r.parts(at, int(n), func(mem []byte) bool {
		if len(key) > 0 {
			cells = append(cells, next)
			if r.valid(next) {
				next = r.get(r.cell(next) + cellNext)
			}
		}
		key = append(key, mem...)
		return true
	}) != nil {
		return false
	}
	for i, one := range cells {
		if one == 0 || one > r.used || r.isTaken(one) {
			for _, before := range cells[:i] {
				r.taken[before/64] &^= 1 << (before % 64)
			}
			return false
		}
		r.taken[one/64] |= 1 << (one % 64)
	}
	r.set(c+cellHash, r.secret.hash(key))
	return true
}

func (r *repairer) isTaken(at uint32) bool { return r.taken[at/64]&(1<<(at%64)) != 0 }

// clear empties the buckets and the order of use, and frees the cells that nobody has.
func (r *repairer) clear() {
	clear(r.mem[cellsAt+cellBytes*int(r.cells):])
	r.set(storeNewest, 0)
	r.set(storeOldest, 0)
	r.set(storeFree, 0)
	r.set(storeUsed, r.used)
	for at := r.used; at > 0; at-- {
		if !r.isTaken(at) {
			c := r.cell(at)
			r.set(c+cellMark, 0)
			r.set(c+cellNext, r.get(storeFree))
			r.set(storeFree, at)
		}
	}
}
