package acceptance

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
	const rounds = 8 // for each of ten victims
	for _, s := range stagings {
		t.Run(s.name, func(t *testing.T) {
			m := newPlainMover(t, func(m *mover) testbed.Conf {
				c := moverConf(m)
				c.Server += "add_header X-Pid $pid;"
				return c
			})
			for round := range rounds * len(s.victims) {
				victim := s.victims[round%len(s.victims)]
				before := len(m.Log())
				l := m.Load(load.Group{Name: "kept", Clients: 20, MaxPause: 20 * time.Millisecond, KeepAlive: true, Post: true, Blind: true,
					Path: "/post", Timeout: patience, By: "X-Pid"})
				c := s.set(m)
				m.WaitAnswers(l, 200)
				s.begin(m, &c)
				if victim == "taking master" {
					c.waitHeard(m)
				}
				<-time.After(rand.N(15 * time.Millisecond))
				killed := c.strike(m, victim)
				// How many clients each process may have lost, by its id.
				blamed := map[string]int{strconv.Itoa(killed): math.MaxInt}
				m.settle(c, killed)
				m.WaitAnswers(l, 100)
				if victim == "taking worker" {
					m.excuse(c.giverWorkers, m.Log()[before:], blamed)
				}
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
	m.waitFirst(func() bool {
		w, err := tree.Look(c.giverWorkers[0].PID)
		return err != nil || testbed.IsRetiring(w) || w.Zombie()
	})
}

// waitFirst waits for the beginning of a move, and looks often.
func (m *mover) waitFirst(ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); <-time.After(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			m.t.Fatal("timed out: the giving master does not obey")
		}
	}
}

// strike kills the victim.
func (c *cast) strike(m *mover, victim string) (killed int) {
	m.t.Helper()
	switch victim {
	case "giving worker":
		killed = c.giverWorkers[rand.IntN(len(c.giverWorkers))].PID
	case "taking worker":
		killed = c.newWorkers[rand.IntN(len(c.newWorkers))].PID
	case "giving master":
		killed = c.giver
	case "taking master":
		killed = c.taker
	}
	m.kill(killed, syscall.SIGKILL)
	return killed
}

// excuse adds givers to those who may have lost clients: as many as they have moved,
// which may not have been answered by their taker when it died. What was not moved a
// giver must go on serving.
func (m *mover) excuse(givers []tree.Process, log string, blamed map[string]int) {
	m.t.Helper()
	for _, w := range givers {
		told := regexp.MustCompile(fmt.Sprintf(` %d#\d+: %v`, w.PID, retiredLine)).FindStringSubmatch(log)
		if told == nil {
			m.t.Fatalf("worker %d did not say how it retired:\n%s", w.PID, log)
		}
		blamed[strconv.Itoa(w.PID)], _ = strconv.Atoi(told[1])
	}
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

// judge checks that nobody has lost more clients than it is blamed for.
func (m *mover) judge(r *load.Report, what string, blamed map[string]int) {
	m.t.Helper()
	g := r.Groups[0]
	if err := g.Check(); err != nil {
		m.t.Errorf("%s: %v", what, err)
	}
	m.t.Logf("%s: %d requests lost, %d idle connections cut, %d closes announced", what, g.Lost, g.Violations(), g.Announced)
	for _, f := range g.Failures {
		// A client whose idle connection was cut sends all the same, and loses that.
		cut := strings.HasPrefix(f.What, "idle connection cut")
		if blamed[f.By] <= 0 {
			m.t.Errorf("%s: a client of process %s: %s", what, f.By, f.What)
		}
		if !cut {
			blamed[f.By]--
		}
	}
}

// A taker that hangs in the middle costs nothing: whoever it has not got is served where
// he is, and told once that his connection ends when he sends. (In a reload the takers
// are known too late to be made to hang.)
func TestTakerHangs(t *testing.T) {
	const clients, each = 20, 200 // of five kinds that wait
	for _, s := range stagings[:2] {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel() // mostly waits
			m := newMover(t, moverConf)
			l := m.Load(load.Group{Name: "kept", Clients: clients, MaxPause: 20 * time.Millisecond, KeepAlive: true, Post: true, Blind: true,
				Path: "/post", Timeout: patience})
			sockets := m.sockets(clients, 0, 10*time.Millisecond)
			w := load.Gather(context.Background(), load.Idlers(m.Addr, each)...)
			t.Cleanup(w.Close)
			c := s.set(m)
			m.WaitAnswers(l, 10*clients)
			m.waitEchoes(sockets, clients)
			before := m.open(c.newWorkers)
			s.begin(m, &c)
			m.waitFirst(func() bool { return m.open(c.newWorkers) > before+each/10 })
			m.killAll(c.newWorkers, syscall.SIGSTOP)
			<-time.After(3 * time.Second) // more than a taker may take
			m.killAll(c.newWorkers, syscall.SIGCONT)
			m.WaitAnswers(l, 10*clients)
			m.waitEchoes(sockets, clients)
			w.Speak(context.Background())
			idle := w.Report()
			t.Logf("idle connections: %v", idle)
			// How many had moved by then is chance; on a busy machine it may be all.
			if idle.Opened != 5*each || idle.Failed() != idle.Announced {
				t.Errorf("idle connections were harmed:\n%v", idle.Failures)
			}
			w.Close()
			m.wantSocketsUnharmed(sockets, clients)
			m.settle(c, 0)
			r := l.Stop()
			t.Logf("\n%v", r)
			if g := r.Groups[0]; g.Failed() > 0 || g.Check() != nil || g.Reconnects != g.Announced || g.Announced > 2*clients {
				t.Errorf("clients were harmed: %v\n%v", g.Check(), r.Trouble())
			}
			m.end()
		})
	}
}

// open is how many descriptors workers have, all together.
func (m *mover) open(workers []tree.Process) (n int) {
	m.t.Helper()
	for _, w := range workers {
		n += m.descriptors(w.PID)
	}
	return n
}

func (m *mover) killAll(workers []tree.Process, sig syscall.Signal) {
	m.t.Helper()
	for _, w := range workers {
		m.kill(w.PID, sig)
	}
}
