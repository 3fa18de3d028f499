package master

import (
	"os"
	"time"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/report"
)

// openTeller listens for operators beside the pid file, from the first time that it is
// written on, and again when a configuration moved it. Without a socket the server is
// no worse: an operator looks at it from outside then.
func (m *Master) openTeller() {
	if m.teller != nil && m.tellerAt == m.pid.path {
		return
	}
	m.closeTeller()
	// Somebody who does not want a pid file names /dev/null.
	if fi, err := os.Lstat(m.pid.path); err != nil || !fi.Mode().IsRegular() {
		return
	}
	l, err := report.Listen(m.pid.path)
	if err != nil {
		m.noTeller(err)
		return
	}
	m.teller, m.tellerAt = l, m.pid.path
	go l.Serve(m.ask)
}

// ask gets an account from the loop. It is called on a goroutine of its own, which ends
// with the process when the loop does.
func (m *Master) ask() (report.Report, bool) {
	asked := make(chan answer, 1) // the loop never waits
	m.asked <- asked
	a := <-asked
	if a.changed == nil {
		return a.told, true
	}
	found := make(chan []string, 1)
	go func() { found <- a.changed() }()
	select {
	case a.told.Changed = <-found:
	case <-time.After(changedPatience): // the disk hangs, and we do not
	}
	return a.told, true
}

// An answer is what the loop tells, and how to find what it cannot tell without looking at
// the disk.
type answer struct {
	told    report.Report
	changed func() []string
}

// changedPatience is how long the files of the configuration are looked at.
const changedPatience = time.Second

// changed returns how to find which files of the configuration that serves have changed.
func (m *Master) changed() func() []string {
	if c := m.configs[m.state.config.id]; c != nil {
		return c.Changed
	}
	return nil
}

// tellerFollows takes the socket to where the pid file is now.
func (m *Master) tellerFollows() {
	if m.teller != nil {
		m.noTeller(m.teller.Follow(m.pid.name()))
	}
}

// noTeller logs, for those who look for the socket in vain, why it is not there.
func (m *Master) noTeller(err error) {
	if err != nil {
		m.logf(errorlog.Notice, "operators cannot ask: %v", err)
	}
}

func (m *Master) closeTeller() {
	if m.teller == nil {
		return
	}
	m.noTeller(m.teller.Close())
	m.teller = nil
}

// account is what operators are told.
func (m *Master) account() report.Report {
	s := &m.state
	r := report.Report{
		Schema: report.Schema, Version: m.o.Version, Pid: m.o.Self, Phase: s.phase.told(),
		Upgraded: s.parent, Keeps: s.keep, Generations: []report.Generation{}, Retired: s.retired,
	}
	r.Reload = &report.Reload{Number: s.reload.number, Under: s.reload.under, At: m.reloadAt, Error: s.reload.reason}
	if s.succ.pid != 0 {
		r.Successor = &report.Successor{Pid: s.succ.pid, Ready: s.succ.ready, Moves: s.succ.protocol > 0}
	}
	for _, g := range s.gens {
		r.Generations = append(r.Generations, g.told())
	}
	if m.o.Count != nil && m.stats != nil {
		r.Counters = m.o.Count(m.stats.Ours())
	}
	return r
}

func (g *generation) told() report.Generation {
	states := map[genPhase]string{genStarting: "starting", genServing: "serving", genRetiring: "retiring"}
	told := report.Generation{ID: g.id, State: states[g.phase], Workers: []report.Worker{}}
	for _, sl := range g.slots {
		if sl.pid != 0 {
			told.Workers = append(told.Workers, report.Worker{Pid: sl.pid, Ready: sl.ready})
		}
	}
	return told
}

func (p phase) told() report.Phase {
	switch p {
	case starting:
		return report.Starting
	case serving:
		return report.Serving
	case idle:
		return report.Idle
	case draining:
		return report.Draining
	}
	return report.Stopping
}
