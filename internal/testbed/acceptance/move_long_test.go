package acceptance

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/report"
	"github.com/baton-deploy/baton/internal/testbed/backend"
	"github.com/baton-deploy/baton/internal/testbed/load"
)

// sockets opens WebSockets through the server.
func (m *mover) sockets(n int, minPause, maxPause time.Duration) *load.SocketLoad {
	m.t.Helper()
	l, err := load.StartSockets(context.Background(), load.Sockets{
		Addr: m.Addr, Path: "/ws", Clients: n, MinPause: minPause, MaxPause: maxPause, Timeout: patience,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { l.Stop() })
	return l
}

// waitEchoes waits until WebSockets got n more messages back.
func (m *mover) waitEchoes(l *load.SocketLoad, n int) {
	m.t.Helper()
	before := l.Report().Echoed
	m.WaitFor(fmt.Sprintf("%d more messages", n), func() bool { return l.Report().Echoed >= before+n })
}

func (m *mover) wantSocketsUnharmed(l *load.SocketLoad, n int) {
	m.t.Helper()
	got := l.Stop()
	m.t.Logf("WebSockets: %v", got)
	if err := got.Check(); err != nil {
		m.t.Error(err)
	}
	if got.Failed() > 0 || got.Opened != n {
		m.t.Errorf("WebSockets were harmed:\n%v", got.Failures)
	}
}

// WebSockets live through an upgrade, a roll-back, an upgrade and a reload, and the
// old workers do not stay for them.
func TestWebSocketsMove(t *testing.T) {
	const clients = 2000
	m := newPlainMover(t, moverConf)
	l := m.sockets(clients, time.Second, 2*time.Second)
	for _, hop := range []func(){m.upgrade, m.rollBack, m.upgrade, m.reload} {
		m.waitEchoes(l, clients)
		hop()
	}
	m.waitEchoes(l, clients)
	m.wantSocketsUnharmed(l, clients)
	m.wantSoonGone()
	m.end()
}

// A few of them that speak without a break do too, in each direction.
func TestBusyWebSocketsMove(t *testing.T) {
	const clients = 50
	inEachDirection(t, func(m *mover, hop func()) {
		l := m.sockets(clients, 0, 10*time.Millisecond)
		for range 5 {
			m.waitEchoes(l, 20*clients)
			hop()
		}
		m.waitEchoes(l, 20*clients)
		m.wantSocketsUnharmed(l, clients)
		m.wantSoonGone()
	})
}

// Downloads go on in the next process, whether the client or the server is slow,
// those too of which a proxy keeps what a backend has sent long ago, and their
// connections serve on.
func TestDownloadsMove(t *testing.T) {
	const clients, size, hops = 10, 4 << 20, 3
	inEachDirectionOf(t, newPlainMover, func(m *mover, hop func()) {
		m.t.Parallel() // mostly waits
		sum := m.document("limited/big.bin", size)
		m.document("idle", 10)
		fast := load.Downloads{Addr: m.Addr, Path: "/limited/big.bin", Clients: clients, Bytes: size, Sum: sum, Timeout: patience}
		kept := fast
		kept.Path, kept.Sum = fmt.Sprintf("/kept/big/%d", size), m.sumOfBig(size)
		slow := fast
		slow.Path, slow.Sum, slow.Rate = "/big.bin", m.document("big.bin", size), 200<<10
		copied := slow
		copied.Path, copied.Sum = "/copied/big.bin", m.document("copied/big.bin", size)
		var loads []*load.DownloadLoad
		for _, o := range []load.Downloads{fast, kept, slow, copied} {
			l, err := load.StartDownloads(context.Background(), o)
			if err != nil {
				m.t.Fatal(err)
			}
			m.t.Cleanup(func() { l.Stop() })
			loads = append(loads, l)
		}
		for i := range hops {
			// Of all at once, since those that the server limits end in their time. On a busy
			// machine that may be before the last move.
			var enough []int64
			for _, l := range loads {
				enough = append(enough, l.Report().Bytes+clients*50<<10)
			}
			m.WaitFor("more of all downloads", func() bool {
				for i, l := range loads {
					if got := l.Report(); got.Bytes <= enough[i] && got.Whole < clients {
						return false
					}
				}
				return true
			})
			for _, l := range loads {
				if got := l.Report(); i == 0 && got.Whole > 0 {
					m.t.Errorf("some downloads had ended before the first move: %v", got)
				}
			}
			hop()
		}
		for _, l := range loads[2:] {
			if got := l.Report(); got.Whole > 0 {
				m.t.Errorf("some slow downloads had ended before the last move: %v", got)
			}
			l.Hurry()
		}
		for _, l := range loads {
			select {
			case <-l.Done():
			case <-time.After(2 * patience):
				m.t.Error("downloads did not end")
			}
			got := l.Stop()
			m.t.Logf("downloads: %v, then answered by %v", got, got.By)
			if got.Failed() > 0 || got.Whole != clients || got.Check() != nil {
				m.t.Errorf("downloads were harmed: %v\n%v", got.Check(), got.Failures)
			}
		}
		for _, path := range []string{fast.Path, kept.Path, slow.Path, copied.Path} {
			m.wantLogged(fmt.Sprintf(`"GET %s HTTP/1.1" `, path), fmt.Sprintf("200 %d ", size), clients)
		}
		m.wantSoonGone()
	})
}

// sumOfBig is the sum of what the backend sends as /big/n.
func (m *mover) sumOfBig(n int64) [32]byte {
	m.t.Helper()
	b, err := io.ReadAll(backend.Big(n))
	if err != nil {
		m.t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// wantLogged checks that the access log has n lines of a request, all of which
// say the same of its answer.
func (m *mover) wantLogged(request, answer string, n int) {
	m.t.Helper()
	var lines, right int
	m.WaitFor(fmt.Sprintf("%d lines of %s in the access log", n, request), func() bool {
		text, err := os.ReadFile(m.Path("logs", "access.log"))
		if err != nil {
			m.t.Fatal(err)
		}
		lines, right = strings.Count(string(text), request), strings.Count(string(text), request+answer)
		return lines >= n
	})
	if lines != n || right != n {
		m.t.Errorf("%d lines of %s in the access log, %d of them with %q, want %d", lines, request, right, answer, n)
	}
}

// Events come through the proxy in their order, with none left out, whoever
// passes them on.
func TestServerSentEventsMove(t *testing.T) {
	const events = 6
	inEachDirection(t, func(m *mover, hop func()) {
		m.t.Parallel() // mostly waits
		l, err := load.StartEvents(context.Background(), load.Events{
			Addr: m.Addr, Path: fmt.Sprintf("/sse/%d/1s", events), Clients: 5, Timeout: patience,
		})
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() { l.Stop() })
		m.WaitFor("first events", func() bool { return l.Report().Received >= 5 })
		hop()
		<-l.Done()
		got := l.Stop()
		m.t.Logf("events: %v; retired generations were gone after %v", got, m.took)
		if got.Failed() > 0 || got.Ended != 5 || got.Received != 5*events {
			m.t.Errorf("streams were harmed:\n%v", got.Failures)
		}
	})
}

// retiredLine is what a worker says when it leaves.
var retiredLine = regexp.MustCompile(`retired: (\d+) connections moved, (\d+) drained, (\d+) closed in (\S+)`)

// A master tells what became of its connections as its workers wrote it to the log.
func TestMasterTellsWhatMoved(t *testing.T) {
	const clients, reloads = 20, 2
	m := newMover(t, moverConf)
	l := m.sockets(clients, 0, 10*time.Millisecond)
	for range reloads {
		m.waitEchoes(l, clients)
		m.reload()
	}
	m.wantSocketsUnharmed(l, clients)
	var want report.Retired
	for _, line := range retiredLine.FindAllStringSubmatch(m.Log(), -1) {
		number := func(i int) int { n, _ := strconv.Atoi(line[i]); return n }
		took, err := time.ParseDuration(line[4])
		if err != nil {
			t.Fatal(err)
		}
		want.Workers++
		want.Moved, want.Drained, want.Closed = want.Moved+number(1), want.Drained+number(2), want.Closed+number(3)
		want.Millis = max(want.Millis, took.Milliseconds())
	}
	told, err := report.Ask(t.Context(), m.Path("logs", "nginx.pid"), m.master)
	if err != nil || told.Retired != want || want.Moved < clients*reloads {
		t.Errorf("the master tells %+v, %v; its workers wrote %+v", told.Retired, err, want)
	}
	m.end()
}

// Idle connections of every kind move at once, all of them, and take little memory
// where they come to.
func TestManyIdleConnectionsMove(t *testing.T) {
	const (
		perKind, perKindUnix = 1400, 500 // of five kinds each
		webSockets           = 500
		all                  = 5*(perKind+perKindUnix) + webSockets
		most                 = 12 // kilobytes for each
	)
	inEachDirectionOf(t, newPlainMover, func(m *mover, hop func()) {
		empty := m.usage().kilobytes
		l := m.sockets(webSockets, time.Hour, time.Hour) // each speaks when it is stopped
		kinds := append(load.Idlers(m.Addr, perKind), load.Idlers(m.socket(), perKindUnix)...)
		w := load.Gather(context.Background(), kinds...)
		m.t.Cleanup(w.Close)
		m.WaitFor("all of them accepted", func() bool {
			open := 0
			for _, worker := range m.Workers(m.master) {
				open += m.descriptors(worker.PID)
			}
			return open >= all+webSockets // which have two each
		})
		hop()
		each := float64(m.usage().kilobytes-empty) / all
		m.t.Logf("%.1f KB resident for each connection", each)
		if each > most {
			m.t.Errorf("the new processes have %.1f KB resident for each connection, want at most %d", each, most)
		}
		w.Speak(context.Background())
		got := w.Report()
		m.t.Logf("idle connections: %v", got)
		if got.Failed() > 0 || got.Opened != all-webSockets {
			m.t.Errorf("idle connections were harmed:\n%v", got.Failures)
		}
		m.wantSocketsUnharmed(l, webSockets)
		m.wantAllMoved(all * len(m.took))
		w.Close()
	})
}

// wantAllMoved checks what retired workers said: at least n connections moved,
// none stayed behind, and it did not take long.
func (m *mover) wantAllMoved(n int) {
	m.t.Helper()
	moved := 0
	for _, line := range retiredLine.FindAllStringSubmatch(m.Log(), -1) {
		m.t.Log(line[0])
		count, _ := strconv.Atoi(line[1])
		moved += count
		if line[2] != "0" || line[3] != "0" {
			m.t.Errorf("not every connection moved: %s", line[0])
		}
		if took, err := time.ParseDuration(line[4]); err != nil || took > m.soon {
			m.t.Errorf("it took longer than %v: %s", m.soon, line[0])
		}
	}
	if moved < n {
		m.t.Errorf("%d connections moved, want %d", moved, n)
	}
}
