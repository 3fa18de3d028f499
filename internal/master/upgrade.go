package master

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
)

// mayUpgrade reports whether USR2 means anything now. There are two masters at
// most, so that there is never a doubt which of them a roll-back goes to.
func (s *state) mayUpgrade() bool {
	return !s.parent && s.succ.pid == 0 && s.phase != starting && s.phase < stopping
}

// upgrade is USR2.
func (s *state) upgrade() {
	if !s.mayUpgrade() {
		s.log(errorlog.Crit, "the changing binary signal is ignored: "+
			"you should shutdown or terminate before either old or new binary's process")
		return
	}
	s.log(errorlog.Notice, "changing binary")
	s.breath, s.refuse = true, nil
	s.do(setTimer{timerID{name: timerBreath}, breathTime})
	if s.phase == draining {
		// It was sent before QUIT: nobody asks for a new binary where nobody shall serve.
		s.goes = true
		s.serveAgain()
	}
	// Before the new master runs, since it writes a file of the same name. The
	// undo is restorePidFile, wherever the new master fails or dies.
	s.do(movePidFile{})
}

func (s *state) upgradeEvent(ev event) {
	if s.phase == keeping {
		return // said before we let go of it
	}
	switch ev := ev.(type) {
	case pidMoved:
		if ev.reason != "" {
			s.log(errorlog.Alert, "%s", ev.reason)
			s.upgradeFailed()
			return
		}
		s.do(execute{})
	case executed:
		s.executed(ev)
	case pidFileNames:
		s.pidFileNames(ev.pid)
	case successorSaid:
		s.successorSaid(ev)
	case otherReopens:
		s.reopen()
	case parentSaid:
		s.parentProtocol = ev.protocol
	case linkCame:
		s.linkCame(ev.link)
	case parentGone:
		s.parentGone()
	}
}

func (s *state) executed(ev executed) {
	if ev.reason != "" {
		s.log(errorlog.Alert, "execve() failed while executing new binary process %q (%s)", ev.path, ev.reason)
		s.do(restorePidFile{})
		s.upgradeFailed()
		return
	}
	s.log(errorlog.Notice, "start new binary process %d", ev.pid)
	s.succ = successor{pid: ev.pid}
	if s.goes {
		s.goes = false
		s.notReadyYet(syscall.SIGQUIT)
	}
	if s.config.upgradeTimeout > 0 {
		s.do(setTimer{timerID{name: timerUpgrade}, s.config.upgradeTimeout})
	}
	s.do(setTimer{timerID{name: timerPidFile}, pidFileEvery})
}

// upgradeFailed has what was said in one breath with USR2, and comes when the upgrade has
// failed already, count for nothing: it was to leave a new binary alone, and would leave
// nobody. What was said before that is not waited for.
func (s *state) upgradeFailed() {
	s.goes = false
	if !s.breath {
		return
	}
	s.refuse = []syscall.Signal{syscall.SIGWINCH, syscall.SIGQUIT}
	if s.succ.then.sig == syscall.SIGQUIT {
		s.refuse = s.refuse[:1]
	}
}

// refused reports whether sig was meant for after an upgrade that has failed. Asking
// twice means it.
func (s *state) refused(sig syscall.Signal) bool {
	i := slices.Index(s.refuse, sig)
	if i < 0 {
		return false
	}
	s.refuse = slices.Delete(s.refuse, i, i+1)
	s.log(errorlog.Crit, "the new binary process failed, the old worker processes go on")
	return true
}

// pidFileNames is how we know that a new master is ready which is not ours:
// nginx writes the pid file and says nothing.
func (s *state) pidFileNames(pid int) {
	switch {
	case s.succ.pid == 0 || s.succ.ready || s.succ.hello:
	case pid == s.succ.pid:
		s.successorReady()
	default:
		s.do(setTimer{timerID{name: timerPidFile}, pidFileEvery})
	}
}

func (s *state) successorSaid(ev successorSaid) {
	if s.succ.pid == 0 {
		return
	}
	switch ev.kind {
	case control.KindHello:
		s.succ.hello, s.succ.protocol = true, ev.protocol
		s.do(dropTimer{timerID{name: timerPidFile}})
	case control.KindReady:
		s.successorReady()
	case control.KindInherit:
		if s.succ.protocol >= control.ProtocolInherit && !s.succ.asked {
			s.succ.asked = true
			s.do(bequeath{s.succ.protocol})
		}
	case control.KindReopen:
		if s.succ.protocol >= control.ProtocolInherit {
			s.reopen()
		}
	case control.KindFailed:
		s.log(errorlog.Emerg, "new binary process %d failed: %s: %s", s.succ.pid, ev.stage, ev.reason)
	}
}

func (s *state) successorReady() {
	if s.succ.ready { // it has another generation
		s.redirect(s.retiring(), s.others())
		return
	}
	s.succ.ready = true
	s.log(errorlog.Notice, "new binary process %d is ready", s.succ.pid)
	s.do(dropTimer{timerID{name: timerUpgrade}}, dropTimer{timerID{name: timerPidFile}})
	if !s.succ.hello {
		s.do(hangUp{}) // it has no ear, and others may have the socket
	}
	switch s.succ.then.sig {
	case syscall.SIGWINCH:
		s.stopAccepting()
	case syscall.SIGQUIT:
		s.quit()
	}
}

// successorExited is the end of the new master: all is as it was before the
// upgrade.
func (s *state) successorExited(ev exited) {
	if s.phase == keeping {
		s.keptExited(ev)
		return
	}
	then := s.succ.then.sig
	s.logExit("new binary process", ev)
	if !s.succ.ready {
		s.upgradeFailed()
	}
	s.succ = successor{}
	s.do(
		dropTimer{timerID{name: timerUpgrade}},
		dropTimer{timerID{name: timerPidFile}},
		dropTimer{timerID{name: timerEndNew}},
		dropSuccessor{},
		restorePidFile{},
	)
	if s.phase >= stopping {
		s.finishWhenEmpty()
		return
	}
	if then != 0 && s.phase == serving {
		s.log(errorlog.Crit, "the new binary process failed before it was ready, the old worker processes go on")
	}
	if s.phase == draining {
		if ev.exit == (proc.Exit{}) {
			s.notifyStopping() // it was told to go, as we were
			return
		}
		s.log(errorlog.Crit, "the new binary process died, not quitting")
	}
	s.do(notify{[]string{fmt.Sprintf("MAINPID=%d", s.self), "READY=1"}})
	s.serveAgain()
}

// serveAgain starts workers when nobody serves any more.
func (s *state) serveAgain() {
	if s.phase != idle && s.phase != draining {
		return
	}
	s.phase = serving
	if s.current() == nil {
		s.startGeneration(s.config)
	}
}

// linkCame passes a link on to a worker. Where nobody serves it waits a little: a
// roll-back is HUP to us and then WINCH to the other master, and nothing says which
// of the two signals is delivered first.
func (s *state) linkCame(link int) {
	if s.phase != idle || s.current() != nil {
		s.do(passLink{link, s.taker()})
		return
	}
	s.waiting = append(s.waiting, link)
	s.do(setTimer{timerID{name: timerLinks}, linkPatience})
}

// passWaiting passes on, or closes, the links that wait.
func (s *state) passWaiting() {
	if len(s.waiting) == 0 {
		return
	}
	s.do(dropTimer{timerID{name: timerLinks}})
	for _, link := range s.waiting {
		s.do(passLink{link, s.taker()})
	}
	s.waiting = nil
}

// parentGone is the commit of the upgrade that made us: we are on our own.
func (s *state) parentGone() {
	if !s.parent {
		return
	}
	s.parent = false
	s.log(errorlog.Notice, "old binary process is gone")
	if s.phase == starting {
		s.orphan = true
		return
	}
	s.do(forgetParent{})
	if s.ending() {
		return
	}
	s.do(notify{[]string{fmt.Sprintf("MAINPID=%d", s.self), "READY=1"}})
	s.serveAgain()
}

func (s *state) upgradeTimer(t timerID) {
	if t.name == timerBreath {
		s.breath, s.refuse = false, nil
		return
	}
	if s.succ.pid == 0 {
		return
	}
	switch t.name {
	case timerPidFile:
		if !s.succ.ready && !s.succ.hello {
			s.do(readPidFile{})
		}
	case timerUpgrade:
		if s.succ.ready {
			return
		}
		s.log(errorlog.Alert, "new binary process %d is not ready after %v, ending it", s.succ.pid, s.config.upgradeTimeout)
		s.do(stop{s.succ.pid}, setTimer{timerID{name: timerEndNew}, endPatience})
	case timerEndNew:
		s.do(kill{s.succ.pid})
	}
}
