package master

import (
	"fmt"
	"log/slog"
	"syscall"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
)

// step changes s by what happened and returns what is to be done about it, in
// order. It does no I/O and looks at no clock.
func (s *state) step(ev event) []action {
	s.out = nil
	switch ev := ev.(type) {
	case began:
		s.parent, s.keep = ev.parent, ev.keep
		s.config = ev.config
		s.startGeneration(ev.config)
	case signalled:
		s.signalled(ev.sig)
	case loaded:
		s.reloaded(ev.config)
	case loadFailed:
		s.log(errorlog.Emerg, "%s", ev.reason)
		s.reloadEnds(ev.reason)
		s.reloadDone()
	case spawned:
		s.spawned(ev)
	case spawnFailed:
		s.log(errorlog.Alert, "starting worker process failed: %s", ev.reason)
		if g := s.byID(ev.gen); g != nil {
			s.workerDied(g, ev.slot, 0, ev.reason)
		}
	case workerReady:
		s.workerReady(ev.pid)
	case workerFailed:
		s.workerFailed(ev)
	case workerRetired:
		s.workerRetired(ev)
	case misled:
		s.log(errorlog.Alert, "%s: %s", ev.who, ev.reason)
	case deaf:
		s.log(errorlog.Alert, "%s does not read what it is told: %s", ev.who, ev.reason)
	case exited:
		s.exited(ev)
	case fired:
		s.fired(ev.timer)
	case pidWritten:
		s.pidWritten(ev.reason)
	case heirFound:
		s.heirFound(ev.pid)
	case pidMoved, executed, pidFileNames, successorSaid, parentSaid, otherReopens, linkCame, parentGone:
		s.upgradeEvent(ev)
	default:
		panic(fmt.Sprintf("master: step of unknown event %T", ev))
	}
	return s.out
}

func (s *state) log(level slog.Level, format string, args ...any) {
	s.do(logLine{level, fmt.Sprintf(format, args...)})
}

// signalled is nginx's table of signals.
func (s *state) signalled(sig syscall.Signal) {
	name, meaning := signalText(sig)
	if s.passesOn(sig) {
		s.passOn(sig)
		return
	}
	if sig == syscall.SIGUSR2 && !s.mayUpgrade() {
		meaning = "ignoring"
	}
	s.log(errorlog.Notice, "signal %d (%s) received, %s", int(sig), name, meaning)
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		s.terminate()
	case syscall.SIGQUIT:
		s.quit()
	case syscall.SIGHUP:
		s.reconfigure()
	case syscall.SIGUSR1:
		s.reopen()
		s.reopenOther()
	case syscall.SIGUSR2:
		s.upgrade()
	case syscall.SIGWINCH:
		s.stopAccepting()
	}
}

func signalText(sig syscall.Signal) (name, meaning string) {
	switch sig {
	case syscall.SIGTERM:
		return "SIGTERM", "exiting"
	case syscall.SIGINT:
		return "SIGINT", "exiting"
	case syscall.SIGQUIT:
		return "SIGQUIT", "shutting down"
	case syscall.SIGHUP:
		return "SIGHUP", "reconfiguring"
	case syscall.SIGUSR1:
		return "SIGUSR1", "reopening logs"
	case syscall.SIGUSR2:
		return "SIGUSR2", "changing binary"
	case syscall.SIGWINCH:
		return "SIGWINCH", "stop accepting connections"
	}
	return sig.String(), "ignoring"
}

// reconfigure is HUP: a new configuration, or during an upgrade the way back.
func (s *state) reconfigure() {
	switch {
	case s.ending():
		return
	case s.succ.pid != 0:
		// An operator who goes back has changed his mind about going on.
		s.succ.then = signalled{}
		if s.current() != nil {
			s.log(errorlog.Notice, "worker processes are running, configuration is not read while a new binary process lives")
			return
		}
		s.startGeneration(s.config)
	case s.phase == starting || s.inPhase(genStarting) != nil && s.inPhase(genServing) != nil:
		// One that is under way will end, well or not.
		s.reloadAgain = true
	default:
		s.log(errorlog.Notice, "reconfiguring")
		s.reload = reload{number: s.reload.number + 1, under: true}
		s.do(notify{[]string{reloadingMark}}, load{})
	}
}

// reloaded goes on with a new configuration. Workers that keep dying, with
// nobody else to serve, are given up for it.
func (s *state) reloaded(c configFacts) {
	if g := s.inPhase(genStarting); g != nil {
		s.end(g)
	}
	s.startGeneration(c)
}

// reopen is USR1, or another master that got it.
func (s *state) reopen() {
	s.log(errorlog.Notice, "reopening logs")
	s.do(reopen{})
}

// reopenOther passes USR1 on to the other master: whoever moved the log files away tells
// the master that the pid file names, and both generations write to them. One that knows
// the word is told on the control socket, and does not pass it on; any other by a signal,
// as soon as it surely has a handler for it.
func (s *state) reopenOther() {
	switch {
	case s.parent:
		s.do(reopenOther{signal: s.parentProtocol < control.ProtocolInherit})
	case s.succ.pid != 0 && s.succ.protocol >= control.ProtocolInherit:
		s.do(reopenOther{pid: s.succ.pid})
	case s.succ.pid != 0 && s.succ.ready:
		s.do(reopenOther{pid: s.succ.pid, signal: true})
	}
}

// stopAccepting is WINCH: the workers go and the master stays.
func (s *state) stopAccepting() {
	switch {
	case s.ending() || s.phase == starting:
		return
	case s.refused(syscall.SIGWINCH), s.notReadyYet(syscall.SIGWINCH):
		return
	}
	s.reloadAgain = false
	s.reloadEnds("told to stop accepting connections")
	s.phase = idle
	s.retireAll()
}

// quit is QUIT: the workers retire, and then the master goes.
func (s *state) quit() {
	switch {
	case s.ending():
		return
	case s.refused(syscall.SIGQUIT), s.notReadyYet(syscall.SIGQUIT):
		return
	case s.phase == starting:
		s.do(tellFailed{"start", "told to quit before it was ready"})
	}
	s.phase = draining
	s.reloadEnds("told to quit")
	s.notifyStopping()
	s.retireAll()
	s.finishWhenEmpty()
}

// terminate is TERM and INT: everything goes at once.
func (s *state) terminate() {
	if s.phase == stopping || s.phase == gone {
		return
	}
	if s.phase == starting {
		s.do(tellFailed{"start", "told to exit before it was ready"})
	}
	if s.phase != draining {
		s.notifyStopping()
	}
	s.phase = stopping
	s.reloadEnds("told to exit")
	s.stopAll()
	if s.keep && s.succ.pid != 0 {
		s.do(stop{s.succ.pid}, setTimer{timerID{name: timerEndNew}, endPatience})
	}
	s.finishWhenEmpty()
}

// notifyStopping tells systemd that the service stops, when no other master
// goes on with it.
func (s *state) notifyStopping() {
	if s.lastOwner() {
		s.do(notify{[]string{"STOPPING=1"}})
	}
}

// notReadyYet reports whether a new master is still starting, and if so notes
// that sig is to be obeyed once it is ready. nginx obeys at once, which is how
// a script that is too quick ends with nobody serving. Asking twice means it.
func (s *state) notReadyYet(sig syscall.Signal) bool {
	if s.succ.pid == 0 || s.succ.ready || s.succ.then.sig == sig {
		return false
	}
	if s.succ.then.sig != syscall.SIGQUIT { // the workers go then, too
		s.succ.then = signalled{sig}
	}
	s.log(errorlog.Notice, "waiting for new binary process %d to be ready", s.succ.pid)
	return true
}

// finishWhenEmpty ends the master when its last worker is gone.
func (s *state) finishWhenEmpty() {
	if !s.ending() || s.phase >= keeping || len(s.gens) > 0 {
		return
	}
	if s.keep && s.phase == stopping && s.succ.pid != 0 {
		return // it was told to exit, too
	}
	if s.pidFile {
		s.do(removePidFile{})
	}
	s.do(dropTimer{timerID{name: timerStop}}, closeSockets{unlink: s.lastOwner()})
	if s.keep && s.succ.pid != 0 {
		s.startKeeping()
		return
	}
	if s.succ.pid != 0 && s.succ.ready {
		// systemd follows the process that we name, so it must hear it before we
		// are gone.
		s.do(notify{[]string{fmt.Sprintf("MAINPID=%d", s.succ.pid)}})
	}
	s.log(errorlog.Notice, "exit")
	s.phase = gone
	s.do(exit{s.code})
}

// reloadEnds notes what became of the reload that is under way, if one is.
func (s *state) reloadEnds(reason string) {
	if s.reload.under {
		s.reload.under, s.reload.reason = false, reason
	}
}

// reloadDone ends a reload, well or not.
func (s *state) reloadDone() {
	if s.phase == serving || s.phase == idle {
		s.do(notify{[]string{"READY=1"}})
	}
	if s.reloadAgain && !s.ending() {
		s.reloadAgain = false
		s.reconfigure()
	}
}

// reloadingMark stands for RELOADING=1 with the time, which no pure function
// knows.
const reloadingMark = "RELOADING=1"

// pidWritten goes on after the pid file: without one nobody could find us, so
// a first start fails.
func (s *state) pidWritten(reason string) {
	if reason == "" {
		s.pidFile = true
	} else {
		s.log(errorlog.Emerg, "%s", reason)
		if s.phase == starting {
			s.startFailed("pid", reason)
			return
		}
	}
	if s.phase != starting {
		return
	}
	s.phase = serving
	s.do(tellReady{})
	if s.orphan {
		s.orphan = false
		s.do(forgetParent{})
	}
	if !s.parent {
		s.do(notify{[]string{"READY=1", fmt.Sprintf("MAINPID=%d", s.self)}})
	}
	if s.reloadAgain {
		s.reloadAgain = false
		s.reconfigure()
	}
}
