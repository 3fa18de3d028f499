package master

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
)

// startGeneration starts the workers of a generation with configuration c.
func (s *state) startGeneration(c configFacts) {
	s.lastID++
	g := &generation{id: s.lastID, config: c, slots: make([]slot, max(1, c.workers))}
	s.gens = append(s.gens, g)
	if !slices.Contains(s.held, c.id) {
		s.held = append(s.held, c.id)
	}
	s.log(errorlog.Notice, "start worker processes")
	for i := range g.slots {
		s.spawn(g, i)
	}
	if c.upgradeTimeout > 0 {
		s.do(setTimer{timerID{timerReady, g.id, 0}, c.upgradeTimeout})
	}
}

func (s *state) spawn(g *generation, slot int) {
	s.do(spawn{gen: g.id, slot: slot, workers: len(g.slots), config: g.config.id})
}

func (s *state) spawned(ev spawned) {
	s.log(errorlog.Notice, "start worker process %d", ev.pid)
	g := s.byID(ev.gen)
	if g == nil {
		// The generation failed by an earlier action of the same step.
		s.do(stop{ev.pid})
		return
	}
	g.slots[ev.slot].pid = ev.pid
	if g.phase == genRetiring {
		s.do(stop{ev.pid})
	}
}

func (s *state) workerReady(pid int) {
	g, i := s.worker(pid)
	if g == nil {
		return
	}
	g.slots[i].ready = true
	switch {
	case g.phase == genStarting && g.ready():
		s.generationServes(g)
	case g.phase == genServing:
		// It stands in for one that died, and with it ended what was given to that one.
		s.redirect(s.retiring(), toOwnWorkers)
	}
}

// generationServes makes g the one that serves; those before it retire.
func (s *state) generationServes(g *generation) {
	s.do(dropTimer{timerID{timerReady, g.id, 0}})
	g.phase = genServing
	s.config = g.config
	if s.phase == starting {
		s.do(writePidFile{g.config.id})
		return
	}
	s.phase = serving
	late := s.retiring()
	for _, old := range slices.Clone(s.gens) { // one with nobody left in it goes
		if old != g && old.phase == genServing {
			s.retire(old, toOwnWorkers)
		}
	}
	s.redirect(late, toOwnWorkers)
	s.passWaiting()
	if s.parent {
		s.do(tellReady{}) // its workers may still be giving to those that retire now
	}
	// Nobody accepts any more on addresses that this configuration does not name:
	// better refused than left to wait in the queue until the last old connection
	// ends. Not before: until now the way back needed them.
	s.do(trimSockets{g.config.id, s.lastOwner()})
	if s.succ.pid == 0 {
		// The configuration may have moved the pid file.
		s.do(writePidFile{g.config.id})
	}
	s.releaseUnused()
	s.reloadEnds("")
	s.reloadDone()
}

// workerRetired remembers, for operators, what became of a worker's connections.
func (s *state) workerRetired(ev workerRetired) {
	s.retired.Workers++
	s.retired.Moved += ev.Moved
	s.retired.Drained += ev.Drained
	s.retired.Closed += ev.Closed
	s.retired.Millis = max(s.retired.Millis, ev.Millis)
}

// workerFailed is a worker's own word on why it cannot serve.
func (s *state) workerFailed(ev workerFailed) {
	g, _ := s.worker(ev.pid)
	if g == nil || g.phase == genRetiring {
		return
	}
	s.log(errorlog.Emerg, "%s", ev.reason)
	if g.phase == genStarting && s.mayFail(g) {
		s.generationFailed(g, ev.stage, ev.reason)
	}
}

// mayFail reports whether g can be given up: a first start may, and one that
// has another generation to fall back on. Else we go on trying, because nobody
// serves.
func (s *state) mayFail(g *generation) bool {
	return s.phase == starting || s.inPhase(genServing) != nil
}

// generationFailed ends a generation that never came to serve.
func (s *state) generationFailed(g *generation, stage, reason string) {
	if s.phase == starting {
		s.startFailed(stage, reason)
		return
	}
	s.log(errorlog.Error, "new worker processes failed, the old ones go on: %s: %s", stage, reason)
	s.end(g)
	s.reloadEnds(reason)
	s.reloadDone()
}

// startFailed ends a master that never came to serve.
func (s *state) startFailed(stage, reason string) {
	s.do(tellFailed{stage, reason})
	s.code = 1
	s.phase = stopping
	s.stopAll()
	s.finishWhenEmpty()
}

// exited is the end of a child.
func (s *state) exited(ev exited) {
	if ev.pid == s.succ.pid {
		s.successorExited(ev)
		return
	}
	g, i := s.worker(ev.pid)
	if g == nil {
		return
	}
	s.logExit("worker process", ev)
	s.workerDied(g, i, ev.lived, fmt.Sprintf("worker process %d %s", ev.pid, ev.exit))
}

func (s *state) logExit(what string, ev exited) {
	level := errorlog.Notice
	if ev.exit != (proc.Exit{}) && ev.exit.Signal != syscall.SIGTERM {
		level = errorlog.Alert
	}
	s.log(level, "%s %d %s", what, ev.pid, ev.exit)
}

// workerDied empties slot i of g and fills it again when it should be filled.
func (s *state) workerDied(g *generation, i int, lived time.Duration, reason string) {
	sl := &g.slots[i]
	sl.pid, sl.ready = 0, false
	if g.phase == genRetiring || s.ending() {
		s.forgetIfGone(g)
		s.finishWhenEmpty()
		return
	}
	if g.phase == genStarting {
		g.deaths++
		if g.deaths >= startDeaths && s.mayFail(g) {
			s.generationFailed(g, "start", reason)
			return
		}
	}
	if lived >= youngLife {
		sl.young = 0
		s.spawn(g, i)
		return
	}
	delay := min(maxDelay, firstDelay<<min(sl.young, 16))
	sl.young++
	s.do(setTimer{timerID{timerRespawn, g.id, i}, delay})
}

// forgetIfGone forgets g when nobody is left of it.
func (s *state) forgetIfGone(g *generation) {
	if g.alive() || s.byID(g.id) == nil {
		return
	}
	s.gens = slices.DeleteFunc(s.gens, func(o *generation) bool { return o == g })
	s.releaseUnused()
}

// releaseUnused lets go of every configuration that is neither the current one
// nor that of a generation.
func (s *state) releaseUnused() {
	s.held = slices.DeleteFunc(s.held, func(id int) bool {
		used := id == s.config.id || slices.ContainsFunc(s.gens, func(g *generation) bool { return g.config.id == id })
		if !used {
			s.do(release{id, s.lastOwner()})
		}
		return !used
	})
}

// retireAll retires every generation; during an upgrade another master's
// workers are the successors.
func (s *state) retireAll() {
	to, late := s.others(), s.retiring()
	for _, g := range slices.Clone(s.gens) {
		if g.phase != genRetiring {
			s.retire(g, to)
		}
	}
	s.redirect(late, to)
}

// retiring returns the generations that retire.
func (s *state) retiring() []*generation {
	var late []*generation
	for _, g := range s.gens {
		if g.phase == genRetiring && !g.ended {
			late = append(late, g)
		}
	}
	return late
}

// redirect tells workers that still retire to give what is left to new heirs: those
// that they gave to so far retire themselves.
func (s *state) redirect(late []*generation, to heirs) {
	if !to.take() {
		return
	}
	for _, g := range late {
		for i := range g.slots {
			if pid := g.slots[i].pid; pid != 0 {
				s.do(s.retirement(pid, to))
			}
		}
	}
}

// retirement is how worker pid is told to give what it has to the heirs.
func (s *state) retirement(pid int, to heirs) action {
	if to != toOwnWorkers {
		return retire{pid: pid, heirs: to}
	}
	return retire{pid: pid, heirs: to, taker: s.taker()}
}

// retire tells the workers of g to give what they have to the heirs, drain the rest
// and go.
func (s *state) retire(g *generation, to heirs) {
	s.leave(g, func(pid int) action { return s.retirement(pid, to) })
}

// end tells the workers of g to go at once.
func (s *state) end(g *generation) {
	g.ended = true
	s.leave(g, func(pid int) action { return stop{pid} })
	s.do(setTimer{timerID{name: timerStop}, stopPatience})
}

// stopAll tells all workers to go at once.
func (s *state) stopAll() {
	for _, g := range slices.Clone(s.gens) {
		s.end(g)
	}
}

func (s *state) leave(g *generation, tell func(pid int) action) {
	if g.phase == genStarting {
		s.do(dropTimer{timerID{timerReady, g.id, 0}})
	}
	g.phase = genRetiring
	for i := range g.slots {
		if pid := g.slots[i].pid; pid != 0 {
			s.do(tell(pid))
		}
	}
	s.forgetIfGone(g)
}

// killLate kills what was told to exit at once and is still there.
func (s *state) killLate() {
	for _, g := range s.gens {
		if !g.ended {
			continue
		}
		for i := range g.slots {
			if pid := g.slots[i].pid; pid != 0 {
				s.do(kill{pid})
			}
		}
	}
}

func (s *state) fired(t timerID) {
	switch t.name {
	case timerReady:
		g := s.byID(t.gen)
		if g == nil || g.phase != genStarting || !s.mayFail(g) {
			return
		}
		reason := fmt.Sprintf("timed out after %v", g.config.upgradeTimeout)
		s.log(errorlog.Emerg, "worker processes are not ready: %s", reason)
		s.generationFailed(g, "ready", reason)
	case timerRespawn:
		g := s.byID(t.gen)
		if g != nil && g.phase != genRetiring && !s.ending() && g.slots[t.slot].pid == 0 {
			s.spawn(g, t.slot)
		}
	case timerStop:
		s.killLate()
	case timerLinks:
		s.passWaiting()
	default:
		s.upgradeTimer(t)
	}
}
