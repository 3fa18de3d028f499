package master

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRandomStories plays stories that nobody would think of. Whatever happens in
// whatever order, the state does not panic, at most one generation serves, and a
// master that still lives always does what brings workers back.
func TestRandomStories(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := &stage{t: t, state: state{self: 100}, worker: 100, master: 200, workers: 1 + r.IntN(2)}
		func() {
			defer func() {
				if fault := recover(); fault != nil {
					t.Fatalf("seed %d: %v, after:\n%s", seed, fault, strings.Join(s.out, "\n"))
				}
			}()
			s.tell([]string{"begin", "begin parent", "begin nginx", "begin parent 0", "begin keep"}[r.IntN(5)])
			for range 60 {
				if s.state.phase == gone {
					break
				}
				s.tell(s.chance(r))
			}
		}()
		if s.mute() {
			t.Fatalf("seed %d: nobody serves and nobody will, after:\n%s", seed, strings.Join(s.out, "\n"))
		}
	}
}

func (s *stage) tell(line string) {
	s.out = append(s.out, "> "+line)
	s.event(strings.Fields(line))
}

// chance is something that can happen now.
func (s *stage) chance(r *rand.Rand) string {
	var can []string
	for _, g := range s.state.gens {
		for i, sl := range g.slots {
			if sl.pid == 0 {
				can = append(can, fmt.Sprintf("fire respawn generation=%d slot=%d", g.id, i))
				continue
			}
			can = append(can,
				fmt.Sprintf("ready %d", sl.pid), fmt.Sprintf("ready %d", sl.pid),
				fmt.Sprintf("exit %d", sl.pid), fmt.Sprintf("exit %d signal=11 lived=1ms", sl.pid),
				fmt.Sprintf("failed %d config no", sl.pid))
		}
		can = append(can, fmt.Sprintf("fire ready generation=%d", g.id))
	}
	if pid := s.state.succ.pid; pid != 0 {
		can = append(can, "new-master hello", "new-master hello 0", "new-master ready", "new-master failed config no", "new-master hello 2", "new-master inherit", "new-master reopen", "fire upgrade",
			"fire end-new", "fire pid-file", fmt.Sprintf("pid-file %d", pid),
			fmt.Sprintf("exit %d", pid), fmt.Sprintf("exit %d signal=9", pid))
	}
	if s.state.parent {
		can = append(can, "parent-gone")
	}
	can = append(can, "link 1", "fire stop", "fire links", "link 2", "next load fails no", "next spawn fails no", "next execute fails no",
		"next pid-write fails no", "next workers 3", "signal HUP", "signal HUP", "signal USR1", "signal USR2", "signal WINCH")
	if r.IntN(6) == 0 {
		can = append(can, "signal QUIT", "signal TERM")
	}
	return can[r.IntN(len(can))]
}

// mute reports whether a serving master has neither workers nor a plan to get any.
func (s *stage) mute() bool {
	if s.state.phase != serving {
		return false
	}
	for _, g := range s.state.gens {
		if g.phase != genRetiring {
			return false
		}
	}
	return true
}

// What became of the last reload is known at any moment, whatever ended it.
func TestReloadIsTold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		story []string
		want  reload
	}{
		{"none", nil, reload{}},
		{"under way", []string{"signal HUP"}, reload{number: 1, under: true}},
		{"serves", []string{"signal HUP", "ready 102"}, reload{number: 1}},
		{"a bad configuration", []string{"next load fails no", "signal HUP"}, reload{number: 1, reason: "no"}},
		{"a worker that refuses", []string{"signal HUP", "failed 102 listen no"}, reload{number: 1, reason: "no"}},
		{"one that came meanwhile", []string{"signal HUP", "signal HUP", "ready 102"}, reload{number: 2, under: true}},
		{"workers told to go", []string{"signal HUP", "signal WINCH"}, reload{number: 1, reason: "told to stop accepting connections"}},
		{"told to quit", []string{"signal HUP", "signal QUIT"}, reload{number: 1, reason: "told to quit"}},
		{"none in an upgrade", []string{"signal USR2", "signal HUP"}, reload{}},
	} {
		s := &stage{t: t, state: state{self: 100}, worker: 100, master: 200, workers: 1}
		for _, line := range append([]string{"begin", "ready 101"}, tt.story...) {
			s.tell(line)
		}
		if s.state.reload != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, s.state.reload, tt.want)
		}
	}
}
