package sock

import (
	"errors"
	"maps"
	"slices"

	"github.com/baton-deploy/baton/internal/conf"
)

// A Set is the listening sockets of one master. The zero value is empty.
type Set struct {
	byKey map[string][]*Socket
}

// Take takes over descriptors of listening sockets that another process
// opened. What is no such socket is left alone and told in the error; the
// others are taken all the same.
func (s *Set) Take(fds []int) error {
	var errs []error
	for _, fd := range fds {
		sk, err := adopt(fd)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.add(sk)
	}
	return errors.Join(errs...)
}

func (s *Set) add(sk *Socket) {
	if s.byKey == nil {
		s.byKey = map[string][]*Socket{}
	}
	s.byKey[sk.Key] = append(s.byKey[sk.Key], sk)
}

// Open opens what is missing for ls, with one socket for each of workers where
// reuseport is set. On failure the Set is as before and the error is a
// *BindError or another one in nginx's words.
func (s *Set) Open(ls []conf.Listen, workers int) error {
	var opened []*Socket
	for _, l := range ls {
		want := 1
		if l.Reuseport {
			want = max(1, workers)
		}
		have := len(s.byKey[l.Key()])
		if have > 0 && have < want {
			// nginx too: an address that becomes reuseport allows its first socket
			// to have company.
			allowReuseport(s.byKey[l.Key()])
		}
		for range want - have {
			sk, err := open(l)
			if err != nil {
				s.drop(opened)
				return err
			}
			opened = append(opened, sk)
			s.add(sk)
		}
	}
	return nil
}

// drop undoes the opening of sockets.
func (s *Set) drop(opened []*Socket) {
	for _, sk := range opened {
		rest := slices.DeleteFunc(s.byKey[sk.Key], func(o *Socket) bool { return o == sk })
		if s.byKey[sk.Key] = rest; len(rest) == 0 {
			delete(s.byKey, sk.Key)
		}
		_ = sk.close(true) // nobody has seen it; the failure to open is what counts
	}
}

// Adjust applies the options of ls to sockets that were there before: backlog,
// buffers, keep-alive, deferred accept.
func (s *Set) Adjust(ls []conf.Listen) error {
	var errs []error
	for _, l := range ls {
		for _, sk := range s.byKey[l.Key()] {
			errs = append(errs, configure(sk.FD, l))
		}
	}
	return errors.Join(errs...)
}

// Release closes every socket that no Listen of wanted names. With unlink the
// files of unix sockets go too: for the last owner only.
func (s *Set) Release(wanted []conf.Listen, unlink bool) error {
	keep := map[string]bool{}
	for _, l := range wanted {
		keep[l.Key()] = true
	}
	var errs []error
	for key, sks := range s.byKey {
		if keep[key] {
			continue
		}
		for _, sk := range sks {
			errs = append(errs, sk.close(unlink))
		}
		delete(s.byKey, key)
	}
	return errors.Join(errs...)
}

// All returns every socket in a stable order. They stay the Set's.
func (s *Set) All() []*Socket {
	var all []*Socket
	for _, key := range slices.Sorted(maps.Keys(s.byKey)) {
		all = append(all, s.byKey[key]...)
	}
	return all
}

// ForWorker returns what the worker with number slot, of so many workers,
// listens on for ls: a socket that is alone is everybody's, several are dealt
// out so that each has at least one worker and each worker at least one socket.
func (s *Set) ForWorker(ls []conf.Listen, slot, workers int) []*Socket {
	var mine []*Socket
	for _, l := range ls {
		sks := s.byKey[l.Key()]
		if len(sks) <= workers && len(sks) > 0 {
			mine = append(mine, sks[slot%len(sks)])
			continue
		}
		for i := slot; i < len(sks); i += workers {
			mine = append(mine, sks[i])
		}
	}
	return mine
}
