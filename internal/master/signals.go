package master

import (
	"os"
	"slices"
	"syscall"

	"github.com/baton-deploy/baton/internal/proc"
)

// fence is a signal that a master sends itself to learn that all have arrived that were
// sent to it before: of the signals that wait the kernel delivers the lowest number first,
// and there is none above it.
const fence = syscall.Signal(64)

// signalled does what a signal that has arrived asks for, or will do it.
//
// QUIT is delivered ahead of USR2 when both wait, in whatever order they were sent. A
// script that says USR2, WINCH and QUIT in one breath wants them in this order, so WINCH
// and QUIT are held until a fence that is sent after them has come.
func (m *Master) signalled(s os.Signal) {
	sig, ok := s.(syscall.Signal)
	switch {
	case !ok:
	case sig == syscall.SIGCHLD:
		proc.ReapStrangers(m.knows)
	case sig == fence:
		m.obeyHeld()
	case sig == syscall.SIGWINCH || sig == syscall.SIGQUIT:
		m.hold(sig)
	default:
		m.obey(sig)
	}
}

// hold keeps sig until the fence comes.
func (m *Master) hold(sig syscall.Signal) {
	first := len(m.held) == 0
	m.held = append(m.held, sig)
	if first && syscall.Kill(m.o.Self, fence) != nil {
		m.obeyHeld()
	}
}

// obeyHeld passes on what was held. A new binary is to be ready before the workers go,
// and they go before the master does.
func (m *Master) obeyHeld() {
	held := m.held
	m.held = nil
	for _, sig := range []syscall.Signal{syscall.SIGWINCH, syscall.SIGQUIT} {
		if slices.Contains(held, sig) {
			m.obey(sig)
		}
	}
}

func (m *Master) obey(sig syscall.Signal) {
	if m.state.parent && (os.Getppid() != m.o.Parent || proc.IsKeeper(m.o.Parent)) {
		m.apply(parentGone{}) // whoever waited for that may upgrade again at once
	}
	m.apply(signalled{sig})
}
