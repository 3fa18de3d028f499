package master

import (
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/report"
)

// A phase is where a master is in its life.
type phase uint8

const (
	// starting: the first generation is not ready yet. Ends in serving or, when
	// it fails, in stopping.
	starting phase = iota
	// serving: a generation serves, or is kept from it only by dying workers.
	serving
	// idle: the workers were told to go (WINCH) and the master keeps the
	// sockets. Ends in serving, by HUP or because the other master died.
	idle
	// draining: QUIT. Workers retire; the master goes after the last one.
	draining
	// stopping: TERM. Workers were told to exit at once.
	stopping
	// keeping: an upgrade was committed, and whoever started us would take our end for
	// the end of the server. We serve nothing and own nothing, pass signals on to the
	// current master and end as the last one ends.
	keeping
	// gone: Run returns. Terminal.
	gone
)

// A genPhase is where a generation is in its life. It only grows.
type genPhase uint8

const (
	// genStarting: some worker is not ready yet. The generation before it, when
	// there is one, serves.
	genStarting genPhase = iota
	// genServing: every worker was ready once. At most one generation is.
	genServing
	// genRetiring: its workers drain what they have, or were told to exit.
	genRetiring
)

// A generation is the workers that one load of a configuration started, or one
// return of the workers after WINCH.
type generation struct {
	id     int
	config configFacts
	phase  genPhase
	slots  []slot
	// deaths counts workers that died before the generation was ready.
	deaths int
	// ended: its workers were told to exit at once, and have a second.
	ended bool
}

// A slot is the place of one worker in its generation.
type slot struct {
	pid   int // 0: nobody is there
	ready bool
	// young counts deaths in a row of workers that lived less than a second.
	young int
}

// alive reports whether any worker is left.
func (g *generation) alive() bool {
	for i := range g.slots {
		if g.slots[i].pid != 0 {
			return true
		}
	}
	return false
}

func (g *generation) ready() bool {
	for i := range g.slots {
		if !g.slots[i].ready {
			return false
		}
	}
	return true
}

// A reload is one load of the configuration because of HUP, and what came of it.
type reload struct {
	number int // counts from 1; 0: there was none
	under  bool
	reason string // why its configuration did not come to serve; "" when it did
}

// A successor is the new master of an upgrade that is under way. The zero value
// means that there is none.
type successor struct {
	pid   int
	ready bool
	hello bool // it is one of ours and tells by itself when it is ready
	// protocol is the version that it and we speak; 0: none, or it did not say.
	protocol int
	asked    bool // it asked for what it inherits
	// then is what the operator asked for before it was ready, to be done once it
	// is: 0, SIGWINCH or SIGQUIT.
	then signalled
}

// state is all that the decisions of a master depend on. step is the only code
// that changes it.
type state struct {
	phase  phase
	self   int         // our pid
	config configFacts // the one in use; that of a reload only once it serves
	gens   []*generation
	held   []int // configurations that were loaded and not released
	lastID int   // of the newest generation

	// reloadAgain: a HUP that came while a reload was under way. reload is the last one.
	reloadAgain bool
	reload      reload
	// parent: the old master that started us by an upgrade is alive.
	parent bool
	// parentProtocol is the version that it and we speak, if it is one of ours; from 1 on
	// it can be given connections.
	parentProtocol int
	turn           int   // of workers that take, in a round
	waiting        []int // links that came while nobody served
	// orphan: it died before we served, and its pid file is still to be removed.
	orphan bool
	succ   successor
	// breath: USR2 came a moment ago. refuse is what is not obeyed until it is over,
	// since it was meant for after an upgrade that has failed.
	breath bool
	refuse []syscall.Signal
	// goes: QUIT was obeyed before the USR2 that was sent ahead of it came.
	goes bool
	// keep: a container or a supervisor knows the server by this process, so it stays
	// when another master has taken over. While keeping, succ is that master.
	keep bool
	// over: it was told to exit at once, and so is whoever comes after it.
	over bool
	// pidFile: we wrote it, and it or its .oldbin is ours.
	pidFile bool
	code    int // exit status
	// retired adds up what workers that retired said.
	retired report.Retired

	out []action // of the step under way
}

const (
	// youngLife is how long a worker must live for its death to be no reason to
	// wait with the next one.
	youngLife = time.Second
	// firstDelay doubles with every young death, up to maxDelay.
	firstDelay = 100 * time.Millisecond
	maxDelay   = 5 * time.Second
	// startDeaths is how many workers may die before a generation that replaces
	// nobody yet counts as failed.
	startDeaths = 3
	// stopPatience is how long workers have to exit after TERM, as in nginx.
	stopPatience = time.Second
	// endPatience is how long a new master has that failed and was told to go:
	// it has workers of its own to stop.
	endPatience = 3 * time.Second
	// breathTime is how long after USR2 what a script says without a pause may come: its
	// process may be kept from running between two signals.
	breathTime = 250 * time.Millisecond
	// linkPatience is how long a link waits for somebody who serves. Its giver serves
	// on meanwhile.
	linkPatience = 2 * time.Second
	// pidFileEvery is how often the pid file is looked at while a new master
	// starts that may not be ours.
	pidFileEvery = 20 * time.Millisecond
)

// current returns the generation that serves, or the one that is about to when
// none does, or nil.
func (s *state) current() *generation {
	var starting *generation
	for _, g := range s.gens {
		switch g.phase {
		case genServing:
			return g
		case genStarting:
			starting = g
		}
	}
	return starting
}

// heirs is who serves what a retiring worker cannot finish at once.
type heirs uint8

const (
	toNobody     heirs = iota // nobody: it drains
	toStrangers               // workers of nginx, or of a release we share no protocol with: they take sockets only
	toOwnWorkers              // the next generation of this master
	toNewMaster               // the workers of the new master
	toOldMaster               // the workers of the old one: a roll-back
)

// take reports whether the heirs take connections.
func (h heirs) take() bool { return h == toOwnWorkers || h == toNewMaster || h == toOldMaster }

func (h heirs) String() string {
	switch h {
	case toStrangers:
		return "strangers"
	case toOwnWorkers:
		return "own workers"
	case toNewMaster:
		return "the new master"
	case toOldMaster:
		return "the old master"
	}
	return "nobody"
}

// others is who inherits when all workers of this master retire.
func (s *state) others() heirs {
	switch {
	case s.succ.pid != 0 && s.succ.ready && s.succ.protocol > 0:
		return toNewMaster
	case s.parent && s.parentProtocol > 0:
		return toOldMaster
	case s.parent || s.succ.pid != 0 && s.succ.ready:
		return toStrangers
	}
	return toNobody
}

// taker returns the worker of the current generation whose turn it is to take
// connections, or 0 when there is none.
func (s *state) taker() int {
	g := s.current()
	if g == nil || s.ending() {
		return 0
	}
	for range g.slots {
		s.turn++
		if pid := g.slots[s.turn%len(g.slots)].pid; pid != 0 {
			return pid
		}
	}
	return 0
}

// inPhase returns the generation in phase p, or nil. Of genStarting and
// genServing there is at most one each.
func (s *state) inPhase(p genPhase) *generation {
	for _, g := range s.gens {
		if g.phase == p {
			return g
		}
	}
	return nil
}

// worker finds the place of worker pid.
func (s *state) worker(pid int) (*generation, int) {
	for _, g := range s.gens {
		for i := range g.slots {
			if g.slots[i].pid == pid {
				return g, i
			}
		}
	}
	return nil, -1
}

// byID returns generation id, or nil.
func (s *state) byID(id int) *generation {
	for _, g := range s.gens {
		if g.id == id {
			return g
		}
	}
	return nil
}

// lastOwner reports whether no other master has the sockets.
func (s *state) lastOwner() bool { return s.succ.pid == 0 && !s.parent }

// ending reports whether the master is on its way out.
func (s *state) ending() bool { return s.phase >= draining }

func (s *state) do(a ...action) { s.out = append(s.out, a...) }
