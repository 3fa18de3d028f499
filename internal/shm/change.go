package shm

// add makes an entry.
func (s *Store) add(key []byte) (Entry, error) {
	if len(key) > MaxKey {
		return 0, nil
	}
	at, err := s.alloc(1 + (max(len(key)-(cellBytes-cellKey), 0)+cellBytes-moreKey-1)/(cellBytes-moreKey))
	if at == 0 || err != nil {
		return 0, err
	}
	c, hash := s.cell(at), s.secret.hash(key)
	n := uint32(len(key))
	s.set(c+cellHash, hash)
	for i := range Words {
		s.SetWord(Entry(at), i, 0)
	}
	if err := s.parts(at, len(key), func(mem []byte) bool {
		key = key[copy(mem, key):]
		return true
	}); err != nil {
		return 0, err
	}
	s.set(c+cellLen, n)
	s.set(c+cellNext, s.get(s.bucket(hash)))
	s.set(s.bucket(hash), at)
	s.set(storeCount, s.get(storeCount)+1)
	return Entry(at), s.toFront(at)
}

// alloc returns the first of n cells that are chained as those of an entry, 0 when there
// are not so many. The entry is not whole before its length is written.
func (s *Store) alloc(n int) (first uint32, err error) {
	link := 0 // where the number of the next cell is to be written
	for i := range n {
		at, err := s.takeCell()
		if err != nil {
			return 0, err
		}
		if at == 0 {
			return 0, s.freeCells(first)
		}
		c := s.cell(at)
		if i == 0 {
			first, link = at, c+cellMore
			s.set(c+cellLen, MaxKey+1)
			s.set(c+cellMark, markEntry)
		} else {
			s.set(link, at)
			link = c + cellNext
			s.set(c+cellMark, markMore)
		}
		s.set(link, 0)
	}
	return first, nil
}

// takeCell returns a free cell, 0 when there is none.
func (s *Store) takeCell() (at uint32, err error) {
	if at = s.get(storeFree); at != 0 {
		if !s.valid(at) || s.get(s.cell(at)+cellMark) != 0 {
			return 0, errDamaged
		}
		s.set(storeFree, s.get(s.cell(at)+cellNext))
		return at, nil
	}
	used := s.get(storeUsed)
	switch {
	case used > s.cells:
		return 0, errDamaged
	case used == s.cells:
		return 0, nil
	}
	s.set(storeUsed, used+1)
	return used + 1, nil
}

// freeCells frees the cells of an entry that is in no list; 0 is none.
func (s *Store) freeCells(first uint32) error {
	link := cellMore
	for at := first; at != 0; link = cellNext {
		// A cell that is freed is marked, so a chain that goes round ends there.
		if !s.valid(at) || s.get(s.cell(at)+cellMark) == 0 {
			return errDamaged
		}
		c := s.cell(at)
		next := s.get(c + link)
		s.set(c+cellMark, 0)
		s.set(c+cellNext, s.get(storeFree))
		s.set(storeFree, at)
		at = next
	}
	return nil
}

func (s *Store) remove(at uint32) error {
	if !s.isEntry(at) {
		return errDamaged
	}
	c := s.cell(at)
	if err := s.leaveBucket(at, s.get(c+cellHash)); err != nil {
		return err
	}
	if err := s.leaveList(at); err != nil {
		return err
	}
	s.set(storeCount, max(s.get(storeCount), 1)-1)
	return s.freeCells(at)
}

// leaveBucket takes an entry out of the entries of its bucket.
func (s *Store) leaveBucket(at, hash uint32) error {
	link := s.bucket(hash)
	for range s.cells {
		next := s.get(link)
		if next == at {
			s.set(link, s.get(s.cell(at)+cellNext))
			return nil
		}
		if !s.isEntry(next) {
			return errDamaged
		}
		link = s.cell(next) + cellNext
	}
	return errDamaged
}

// renew makes an entry the newest.
func (s *Store) renew(at uint32) error {
	if s.get(storeNewest) == at {
		return nil
	}
	if err := s.leaveList(at); err != nil {
		return err
	}
	return s.toFront(at)
}

// leaveList takes an entry out of the order of use.
func (s *Store) leaveList(at uint32) error {
	newer, older := s.get(s.cell(at)+cellNewer), s.get(s.cell(at)+cellOlder)
	before, behind := storeNewest, storeOldest // where its neighbours name it
	if newer != 0 {
		if !s.isEntry(newer) {
			return errDamaged
		}
		before = s.cell(newer) + cellOlder
	}
	if older != 0 {
		if !s.isEntry(older) {
			return errDamaged
		}
		behind = s.cell(older) + cellNewer
	}
	if s.get(before) != at || s.get(behind) != at {
		return errDamaged
	}
	s.set(before, older)
	s.set(behind, newer)
	return nil
}

// toFront puts an entry that is not in the order of use before all others.
func (s *Store) toFront(at uint32) error {
	c, next := s.cell(at), s.get(storeNewest)
	behind := storeOldest
	if next != 0 {
		if !s.isEntry(next) {
			return errDamaged
		}
		behind = s.cell(next) + cellNewer
	}
	s.set(c+cellNewer, 0)
	s.set(c+cellOlder, next)
	s.set(behind, at)
	s.set(storeNewest, at)
	return nil
}
