package master

import (
	"syscall"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
)

// startKeeping is the commit of an upgrade where this process is the one by which a
// container or a supervisor knows the server.
func (s *state) startKeeping() {
	s.phase = keeping
	for _, name := range []string{timerUpgrade, timerPidFile, timerBreath} {
		s.do(dropTimer{timerID{name: name}})
	}
	s.log(errorlog.Notice, "process %d stays for whoever started it, and keeps master process %d", s.self, s.succ.pid)
	s.do(keep{s.succ.pid})
}

// passesOn reports whether sig is for the master that serves now and not for us. A commit
// that waits for the last connections is one all the same; QUIT, said again to hurry it,
// and WINCH are not to end the workers that shall stay.
func (s *state) passesOn(sig syscall.Signal) bool {
	switch {
	case s.phase == keeping:
		return true
	case s.keep && s.phase == draining && s.succ.ready:
		return sig == syscall.SIGHUP || sig == syscall.SIGUSR2
	}
	return false
}

func (s *state) passOn(sig syscall.Signal) {
	name, _ := signalText(sig)
	s.log(errorlog.Notice, "signal %d (%s) received, passing it on to master process %d", int(sig), name, s.succ.pid)
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		s.over = true
	case syscall.SIGUSR1:
		s.do(reopen{})
	}
	s.do(forward{s.succ.pid, sig})
}

// keptExited is the end of the master that we kept: another one goes on, or the server has
// ended as this one did.
func (s *state) keptExited(ev exited) {
	s.logExit("master process", ev)
	s.code = statusOf(ev.exit)
	s.do(findHeir{})
}

// statusOf is how a process tells that it ended as another one did. 128 is the shell's.
func statusOf(e proc.Exit) int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

func (s *state) heirFound(pid int) {
	if pid == 0 {
		s.log(errorlog.Notice, "exit")
		s.phase = gone
		s.do(exit{s.code})
		return
	}
	s.succ = successor{pid: pid}
	s.log(errorlog.Notice, "process %d keeps master process %d", s.self, pid)
	if s.over {
		s.do(forward{pid, syscall.SIGTERM})
	}
}
