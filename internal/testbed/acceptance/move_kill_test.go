package acceptance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A cast is who takes part in a move.
type cast struct {
	giver, taker             int // masters; the same one in a reload
	giverWorkers, newWorkers []tree.Process
}

// stagings are moves in which somebody is killed. Each begins and ends with one
// master.
var stagings = []struct {
	name    string
	victims []string
	// set brings the processes to where the move can begin, begin starts it.
	set   func(m *mover) cast
	begin func(m *mover, c *cast)
}{
	{"upgrade", []string{"giving worker", "taking worker", "giving master", "taking master"}, func(m *mover) cast {
		newPid := m.start()
		return cast{m.master, newPid, m.Workers(m.master), m.Workers(newPid)}
	}, func(m *mover, c *cast) {
		m.kill(c.giver, syscall.SIGWINCH) // after QUIT it might be gone, and the one that is killed be alone
	}},
	{"roll-back", []string{"giving worker", "taking worker", "giving master", "taking master"}, func(m *mover) cast {
		newPid := m.start()
		m.Sh(fmt.Sprintf(`kill -WINCH %d`, m.master))
		m.WaitShape(newWorkersOnly)
		m.Sh(fmt.Sprintf(`kill -HUP %d`, m.master))
		m.WaitShape(twoMasters)
		return cast{newPid, m.master, m.Workers(newPid), m.Workers(m.master)}
	}, func(m *mover, c *cast) {
		m.kill(c.giver, syscall.SIGWINCH)
	}},
	{"reload", []string{"giving worker", "taking worker"}, func(m *mover) cast {
		m.WaitShape(oneMaster) // the one killed before was replaced
		return cast{giver: m.master, taker: m.master, giverWorkers: m.Workers(m.master)}
	}, func(m *mover, c *cast) {
		m.kill(c.giver, syscall.SIGHUP)
		m.WaitFor("new workers", func() bool {
			c.newWorkers = slices.DeleteFunc(m.Workers(m.master), func(w tree.Process) bool {
				return slices.ContainsFunc(c.giverWorkers, func(g tree.Process) bool { return g.PID == w.PID })
			})
			return len(c.newWorkers) == len(c.giverWorkers)
		})
	}},
}

// kill -9 of anybody at any moment of a move costs the clients of the others
// nothing, and the port answers afterwards.
func TestKilledInTheMiddleOfAMove(t *testing.T) {
	const rounds = 10 // for each of ten victims
	for _, s := range stagings {
		t.Run(s.name, func(t *testing.T) {
			m := newMover(t, func(m *mover) testbed.Conf {
				c := moverConf(m)
				c.Server += "add_header X-Pid $pid;"
				return c
			})
			for round := range rounds * len(s.victims) {
				victim := s.victims[round%len(s.victims)]
				l := m.Load(load.Group{Name: "kept", Clients: 20, MaxPause: 2 * time.Millisecond, KeepAlive: true, Post: true, Blind: true,
					Path: "/post", Timeout: patience, By: "X-Pid"})
				c := s.set(m)
				m.WaitAnswers(l, 200)
				s.begin(m, &c)
				if victim == "taking master" {
					c.waitHeard(m)
				}
				<-time.After(rand.N(15 * time.Millisecond))
				killed, blamed := c.strike(m, victim)
				m.settle(c, killed)
				m.WaitAnswers(l, 100)
				m.judge(l.Stop(), fmt.Sprintf("round %d, %s %d killed", round+1, victim, killed), blamed)
				if a := m.Get("/"); a.Status != 200 {
					t.Fatalf("round %d: the port answers %d", round+1, a.Status)
				}
			}
			m.end()
		})
	}
}

// kill sends a signal without looking: time is short.
func (m *mover) kill(pid int, sig syscall.Signal) {
	m.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
		m.t.Fatal(err)
	}
}

// waitHeard waits until the giving master has obeyed. A WINCH that it hears only
// after the death of the other master means that nobody is to serve.
func (c *cast) waitHeard(m *mover) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(100 * time.Microsecond) {
		w, err := tree.Look(c.giverWorkers[0].PID)
		if err != nil || testbed.IsRetiring(w) || w.Zombie() {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatal("timed out: the giving master does not obey")
		}
	}
}

// strike kills the victim. blamed are the workers whose clients may have lost
// something: those of a killed worker, and if it was a taking one those who were
// given to it and had not been answered since.
func (c *cast) strike(m *mover, victim string) (killed int, blamed []string) {
	m.t.Helper()
	switch victim {
	case "giving worker":
		killed = c.giverWorkers[rand.IntN(len(c.giverWorkers))].PID
		blamed = []string{strconv.Itoa(killed)}
	case "taking worker":
		killed = c.newWorkers[rand.IntN(len(c.newWorkers))].PID
		blamed = []string{strconv.Itoa(killed)}
		for _, w := range c.giverWorkers {
			blamed = append(blamed, strconv.Itoa(w.PID))
		}
	case "giving master":
		killed = c.giver
	case "taking master":
		killed = c.taker
	}
	m.kill(killed, syscall.SIGKILL)
	return killed, blamed
}

// settle waits until one master is left with its workers, and those of the move
// that have to go are gone.
func (m *mover) settle(c cast, killed int) {
	m.t.Helper()
	m.WaitFor("end of the givers", func() bool {
		for _, w := range c.giverWorkers {
			if m.parent(w.PID) != 0 {
				return false
			}
		}
		return true
	})
	switch {
	case c.giver == c.taker:
	case killed == c.taker:
		m.master = c.giver
	default:
		m.master = c.taker
		if killed != c.giver {
			m.kill(c.giver, syscall.SIGQUIT)
		}
	}
	m.WaitShape(oneMaster)
	m.wantPidFiles(m.master, 0)
}

// judge checks that only clients of the blamed workers have lost anything.
func (m *mover) judge(r *load.Report, what string, blamed []string) {
	m.t.Helper()
	g := r.Groups[0]
	if err := g.Check(); err != nil {
		m.t.Errorf("%s: %v", what, err)
	}
	m.t.Logf("%s: %d requests lost, %d idle connections cut, %d closes announced", what, g.Lost, g.Violations(), g.Announced)
	for _, f := range g.Failures {
		if !slices.Contains(blamed, f.By) {
			m.t.Errorf("%s: a client of process %s: %s", what, f.By, f.What)
		}
	}
}
