package acceptance

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
)

// Invariant 3 with a successor that knows no hand-over: clients that keep sending
// lose nothing, and are told once that their connection ends.
func TestConnectionsDrainBesideNginx(t *testing.T) {
	for _, tc := range []struct {
		name     string
		old, new func(t *testing.T) build
		leave    func(p *play, old, new int)
	}{
		{"upgrade to nginx", plain(oldVersion), nginx, func(p *play, old, _ int) {
			p.Sh(fmt.Sprintf(`kill -QUIT %d`, old))
		}},
		{"roll-back to nginx", nginx, plain(newVersion), func(p *play, old, new int) {
			p.Sh(fmt.Sprintf(`kill -WINCH %d`, old))
			p.WaitShape(newWorkersOnly)
			p.startKept() // all with Baton
			p.Sh(fmt.Sprintf(`kill -HUP %d`, old))
			p.WaitShape(twoMasters)
			p.Sh(fmt.Sprintf(`kill -QUIT %d`, new))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlay(t, pair{old: tc.old, new: tc.new, options: nginxOptions})
			p.Sh(`$P/sbin/nginx $OPTIONS`)
			p.WaitShape(oneMaster)
			old := p.Pid()
			if p.old.server == "baton/"+oldVersion {
				p.startKept() // all with Baton
			}
			p.Sh(fmt.Sprintf(`cp -f $NEW $P/sbin/nginx && kill -USR2 %d`, old))
			p.WaitShape(twoMasters)
			tc.leave(p, old, p.newMaster(old))
			p.WaitShape(oneMaster)
			p.letLoadRun()
			r := p.load.Stop()
			t.Logf("\n%v", r)
			for _, g := range r.Groups {
				if g.Failed() > 0 || g.Check() != nil {
					t.Errorf("%s: %d failures, %v", g.Name, g.Failed(), g.Check())
				}
				// A client that connects again may come to another worker that is about
				// to retire, and is told once more; one whose connection went to nginx
				// notices nothing.
				if g.Announced < keptClients || g.Announced > 2*keptClients || g.Reconnects != g.Announced {
					t.Errorf("%s: %d clients were told %d times and opened %d connections again", g.Name, keptClients, g.Announced, g.Reconnects)
				}
			}
			if trouble := r.Trouble(); trouble != "" {
				t.Error(trouble)
			}
			p.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
			p.WaitShape("")
		})
	}
}

// The same between two Batons: connections to an address that the successor's
// configuration does not have. The others move meanwhile.
func TestConnectionsWithoutAPlaceDrain(t *testing.T) {
	const each = 20 // of five kinds
	for _, tc := range []struct {
		name  string
		first bool // the first configuration has the address
		// begin brings connections to where they are about to lose their place, leave does that.
		begin, leave func(m *mover)
	}{
		{"upgrade", true, func(*mover) {}, func(m *mover) {
			old := m.master
			m.master = m.start()
			m.kill(old, syscall.SIGQUIT)
		}},
		{"roll-back", false, func(m *mover) {
			m.start()
			m.kill(m.master, syscall.SIGWINCH)
			m.WaitShape(newWorkersOnly)
		}, func(m *mover) {
			m.kill(m.master, syscall.SIGHUP)
			m.WaitShape(twoMasters)
			m.kill(m.newMaster(m.master), syscall.SIGQUIT)
		}},
		{"reload", true, func(*mover) {}, func(m *mover) { m.kill(m.master, syscall.SIGHUP) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			configure := func(m *mover, place bool) testbed.Conf {
				c := moverConf(m)
				if !place {
					c.Listen = c.Listen[:1]
				}
				return c
			}
			m := newMover(t, func(m *mover) testbed.Conf { return configure(m, tc.first) })
			writeFile(t, m.ConfFile(), configure(m, !tc.first).String())
			tc.begin(m)
			l := m.Load(load.Group{Name: "POST", Clients: 20, MaxPause: 20 * time.Millisecond, KeepAlive: true, Post: true, Blind: true,
				Path: "/post", Timeout: patience})
			m.WaitAnswers(l, 100)
			w := load.Gather(context.Background(), load.Idlers(m.socket(), each)...)
			t.Cleanup(w.Close)
			tc.leave(m)
			// Who of the two accepted nothing on the address is gone at once.
			m.WaitFor("a retiring worker", func() bool { return slices.ContainsFunc(m.Processes(), testbed.IsRetiring) })
			m.WaitAnswers(l, 100)
			var got load.CrowdCount
			m.WaitFor("an announcement on every connection", func() bool {
				w.Speak(context.Background()) // one that nobody has offered to the successor yet speaks again
				got = w.Report()
				return got.Failed() >= 5*each
			})
			if got.Announced != 5*each || got.Failed() != got.Announced {
				t.Errorf("idle connections: %v\n%v", got, got.Failures)
			}
			m.WaitShape(oneMaster)
			m.WaitAnswers(l, 100)
			wantNothingNoticed(t, l.Stop())
			drained := 0
			for _, line := range retiredLine.FindAllStringSubmatch(m.Log(), -1) {
				n, _ := strconv.Atoi(line[2])
				drained += n
				if line[3] != "0" {
					t.Errorf("connections were cut: %s", line[0])
				}
			}
			if drained != 5*each {
				t.Errorf("%d connections drained, want %d", drained, 5*each)
			}
			m.end()
		})
	}
}

const keptClients = 50

// startKept puts clients on the site that keep their connections and send.
func (p *play) startKept() {
	p.t.Helper()
	g := load.Group{Name: "POST", Clients: keptClients, MaxPause: 40 * time.Millisecond, KeepAlive: true, Post: true, Blind: true,
		Path: "/post", Timeout: patience}
	get := g
	get.Name, get.Post, get.Path = "GET", false, ""
	p.load = p.Load(g, get)
	p.letLoadRun()
}

// After many hops under load nothing has piled up in the workers either:
// descriptors, threads, goroutines, memory.
func TestManyUpgradesUnderLoadLeaveNothingBehind(t *testing.T) {
	const clients = 40
	inEachDirectionOf(t, newPlainMover, func(m *mover, hop func()) {
		moves, settled := 30, 10
		if m.t.Name() == t.Name()+"/roll-back" { // there and back
			moves, settled = moves/2, settled/2
		}
		fresh := m.descriptors(m.Workers(m.master)[0].PID)
		freshWorker := m.goroutines(m.Workers(m.master)[0].PID)
		m.WaitShape(oneMaster) // that worker has a successor
		sockets := m.sockets(clients, 0, 50*time.Millisecond)
		l := m.Load(load.Group{Name: "POST", Clients: clients, MaxPause: 40 * time.Millisecond, KeepAlive: true, Post: true, Echo: true,
			Blind: true, Path: "/backend/echo", Timeout: patience})
		var most, now usage
		for round := 1; round <= moves; round++ {
			m.WaitAnswers(l, clients)
			hop()
			if round <= settled {
				most = most.max(m.usage())
			}
		}
		m.WaitAnswers(l, clients)
		m.waitEchoes(sockets, clients)
		m.WaitFor(fmt.Sprintf("at most %v, the most of the first %d rounds", most, settled), func() bool {
			now = m.usage()
			return now.within(most)
		})
		m.t.Logf("the most of the first %d rounds: %v; after %d: %v", settled, most, moves, now)
		wantNothingNoticed(m.t, l.Stop())
		m.wantSocketsUnharmed(sockets, clients)
		worker := m.Workers(m.master)[0].PID
		m.WaitFor("end of all connections", func() bool { return m.descriptors(worker) <= fresh })
		// The runtime has some that come late. One left behind by each move is more.
		if got := m.goroutines(worker); got > freshWorker+3 {
			m.t.Errorf("%d goroutines in an idle worker after %d rounds, %d in a fresh one", got, moves, freshWorker)
		}
		m.WaitShape(oneMaster)
	})
}

// usage is what the processes of a master have, all together.
type usage struct{ descriptors, threads, kilobytes int }

func (u usage) max(v usage) usage {
	return usage{max(u.descriptors, v.descriptors), max(u.threads, v.threads), max(u.kilobytes, v.kilobytes)}
}

// within allows for the kernel's and the runtime's moods: what is left behind by
// each of many upgrades is more.
func (u usage) within(v usage) bool {
	return u.descriptors <= v.descriptors+4 && u.threads <= v.threads+6 && u.kilobytes <= v.kilobytes*5/4
}

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d KB", u.descriptors, u.threads, u.kilobytes)
}

func (m *mover) usage() (u usage) {
	m.t.Helper()
	for _, p := range m.Processes() {
		if !testbed.IsMaster(p) && !testbed.IsWorker(p) {
			continue
		}
		open, err := p.Descriptors()
		if err != nil {
			continue // it left meanwhile
		}
		u.descriptors += len(open)
		u.threads += m.status(p.PID, "Threads:")
		u.kilobytes += m.status(p.PID, "VmRSS:")
	}
	return u
}
