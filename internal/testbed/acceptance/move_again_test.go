package acceptance

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/load"
)

// hasty runs test on a Baton whose clients keep connections of two kinds open. They
// must notice nothing: none is told to open another connection.
func hasty(t *testing.T, test func(m *mover)) {
	t.Helper()
	const clients = 50
	m := newMover(t, moverConf)
	s := m.sockets(clients, 0, 10*time.Millisecond)
	l := m.Load(load.Group{Name: "POST", Clients: clients, MaxPause: 20 * time.Millisecond, KeepAlive: true, Post: true, Blind: true,
		Path: "/post", Timeout: patience})
	m.WaitAnswers(l, clients)
	test(m)
	m.WaitShape(oneMaster)
	m.WaitAnswers(l, 2*clients)
	r := l.Stop()
	t.Logf("\n%v", r)
	if g := r.Groups[0]; g.Failed() > 0 || g.Check() != nil || g.Reconnects+g.Announced > 0 {
		t.Errorf("clients were harmed: %v\n%v", g.Check(), r.Trouble())
	}
	m.wantSocketsUnharmed(s, clients)
	m.end()
}

// Reloads that do not wait for one another.
func TestReloadsInHasteLoseNothing(t *testing.T) {
	hasty(t, func(m *mover) {
		for range 20 {
			m.kill(m.master, syscall.SIGHUP)
			<-time.After(rand.N(60 * time.Millisecond))
		}
	})
}

// Upgrades that wait for nothing but the end of the old master, and a reload of the
// new one while the old one still gives to it.
func TestUpgradesAndReloadsInHasteLoseNothing(t *testing.T) {
	hasty(t, func(m *mover) {
		for range 6 {
			old := m.master
			m.kill(old, syscall.SIGUSR2)
			m.WaitFor("pid files of both masters", func() bool {
				pid, err := m.PID()
				was, oldErr := m.OldPID()
				m.master = pid
				return err == nil && oldErr == nil && pid != old && was == old
			})
			m.kill(m.master, syscall.SIGHUP)
			m.kill(old, syscall.SIGQUIT)
			m.WaitFor("end of the old master", func() bool { return m.parent(old) == 0 })
		}
	})
}
