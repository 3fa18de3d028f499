package master

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/report"
	"github.com/baton-deploy/baton/internal/shm"
	"github.com/baton-deploy/baton/internal/sock"
	"github.com/baton-deploy/baton/internal/ticketkeys"
)

// A Master is the operating system's side of a master: what it holds open and
// whom it started. It belongs to the goroutine of Run.
type Master struct {
	o     Options
	state state
	log   *slog.Logger
	// quiet: nothing goes to the terminal any more.
	quiet bool

	sockets  sock.Set
	configs  map[int]*config // loaded and not released
	lastLoad int
	children map[int]*child   // by pid, workers only
	new      *newMaster       // the successor, or nil
	stats    *shm.Table       // in which all workers count
	shared   sharing          // what else concerns memory that workers share
	links    map[int]*os.File // hand-over links that another master sent, by number
	lastLink int
	pid      pidFile
	// teller is where operators are told, beside the pid file; nil when there is none.
	teller   *report.Listener
	tellerAt string           // path of the pid file that it was opened beside
	tickets  *ticketkeys.Ring // what all workers make the keys of session tickets of

	events  chan event       // from goroutines
	ended   chan int         // pids of children that ended
	signals chan os.Signal   // sent to us
	held    []syscall.Signal // of these, what waits for the fence
	sent    chan *os.File    // links from another master
	asked   chan chan answer
	timers  map[timerID]*time.Timer
	// exitPatience is how long a worker may live that cannot be told to go.
	exitPatience time.Duration
	done         bool
	code         int
	// reloadAt is when the last reload began or ended.
	reloadAt time.Time
}

// A child is a worker process as its master sees it.
type child struct {
	conn    *control.Conn
	seat    int
	config  int
	started time.Time
}

// Run is the whole life of a master process. It returns the exit status, after
// its last worker is gone.
func Run(o Options) int {
	m := &Master{
		o:        o,
		log:      o.StartLog,
		configs:  map[int]*config{},
		children: map[int]*child{},
		links:    map[int]*os.File{},
		sent:     make(chan *os.File),
		asked:    make(chan chan answer),
		// Unbuffered but for signals: who sends waits, nothing is lost.
		events:  make(chan event),
		ended:   make(chan int),
		signals: make(chan os.Signal, 64),
		timers:  map[timerID]*time.Timer{},

		exitPatience: exitPatience,
	}
	m.state.self = o.Self
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(m.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT,
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCHLD, fence)
	if o.Old != nil {
		o.Old.WhenLost(m.isDeaf(fmt.Sprintf("old binary process %d", o.Parent)))
	}
	m.greet()
	protocol := m.askParent()
	if m.tickets = m.o.Tickets; m.tickets == nil {
		m.tickets = ticketkeys.New(time.Now())
	}
	facts, err := m.begin()
	if err != nil {
		m.logf(levelOf(err), "%v", err)
		m.tellFailed(stageOf(err), err.Error())
		m.closeStartLog()
		return 1
	}
	m.watchParent(protocol)
	m.apply(began{config: facts, parent: o.Upgrade && m.parentLives(), keep: o.Keep})
	m.loop()
	return m.code
}

// loop waits for events until the state says exit. The goroutines that feed it
// end with their processes; the one that waits for a successor outlives the
// loop when the successor does, and ends with ours.
func (m *Master) loop() {
	var watchdog <-chan time.Time
	if every := proc.WatchdogEvery(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		watchdog = t.C
	}
	for !m.done {
		if ev := m.next(watchdog); ev != nil {
			m.apply(ev)
		}
	}
}

// next waits for what happens next and returns it, nil when it means nothing to the
// state. Signals come first: an operator who goes back tells us to serve again and
// then another master to give us its connections, and its links must find workers.
func (m *Master) next(watchdog <-chan time.Time) event {
	select {
	case s := <-m.signals:
		m.signalled(s)
		return nil
	default:
	}
	select {
	case s := <-m.signals:
		m.signalled(s)
	case ev := <-m.events:
		return ev
	case pid := <-m.ended:
		return m.reap(pid)
	case link := <-m.sent:
		m.lastLink++
		m.links[m.lastLink] = link
		return linkCame{m.lastLink}
	case asked := <-m.asked:
		asked <- answer{m.account(), m.changed()}
	case <-m.shared.strangers:
		m.sweepStats()
	case <-watchdog:
		if m.state.phase != starting { // systemd waits for READY first
			m.report("notify", proc.Notify("WATCHDOG=1"))
		}
	}
	return nil
}

// apply lets the state decide about ev and does what it decided; then the same
// with what came of that.
func (m *Master) apply(ev event) {
	for queue := []event{ev}; len(queue) > 0; {
		ev, queue = queue[0], queue[1:]
		before := m.state.reload
		actions := m.state.step(ev)
		if m.state.reload != before {
			m.reloadAt = time.Now()
		}
		for _, a := range actions {
			if outcome := m.do(a); outcome != nil {
				queue = append(queue, outcome)
			}
		}
	}
}

func (m *Master) logf(level slog.Level, format string, args ...any) {
	logf(m.log, level, format, args...)
	if !m.quiet && m.log != m.o.StartLog {
		logf(m.o.Terminal, level, format, args...)
	}
}

// report logs a failure that changes nothing.
func (m *Master) report(what string, err error) {
	if err != nil {
		m.logf(errorlog.Alert, "%s: %v", what, err)
	}
}

// closeStartLog closes the log of the time before the first configuration, if
// it is still in use.
func (m *Master) closeStartLog() {
	if m.o.CloseStartLog != nil {
		m.o.CloseStartLog()
		m.o.CloseStartLog = nil
	}
}

// reap takes the end of child pid and says what it was.
func (m *Master) reap(pid int) event {
	ev := exited{pid: pid}
	exit, err := proc.Reap(pid)
	m.report("reap", err)
	ev.exit = exit
	if c := m.children[pid]; c != nil {
		ev.lived = time.Since(c.started)
		c.conn.Close()
		delete(m.children, pid)
	}
	m.sweepStats()
	return ev
}

// knows reports whether pid is a child that we started, whose end is waited for
// and means something.
func (m *Master) knows(pid int) bool {
	return m.children[pid] != nil || m.new != nil && m.new.pid == pid
}

// greet says hello to whoever started us, so that it knows it need not guess.
func (m *Master) greet() {
	for _, c := range []*control.Conn{m.o.Old, m.o.Starter} {
		if c == nil {
			continue
		}
		// A failure shows as the end of the socket.
		_ = c.Post(control.KindHello, m.hello())
	}
}

func (m *Master) hello() control.Hello {
	return control.Hello{Version: m.o.Version, Pid: m.o.Self, Min: control.ProtocolMin, Max: control.ProtocolMax}
}

// findParent finds out who started us when that one died so soon that we have had
// another parent ever since: it left its pid file.
func (m *Master) findParent(pidFile string) {
	if !m.o.Upgrade {
		return
	}
	if pid, err := proc.ReadPidFile(pidFile + proc.OldBin); err == nil && pid != m.o.Parent && proc.HasEnded(pid) {
		m.o.Parent = pid
	}
}

// parentLives is false when the old master died between starting us and now.
func (m *Master) parentLives() bool {
	return m.o.Old != nil || os.Getppid() == m.o.Parent && m.o.Parent > 1
}

// watchParent turns the end of the old master into an event. Ours holds a
// control socket, and has said already which version of the protocol it speaks, or else
// says so now; nginx is watched as a process.
func (m *Master) watchParent(protocol int) {
	switch {
	case m.o.Old != nil:
		m.o.Old.MaxFiles(masterFiles)
		go m.hearParent(protocol)
	case m.o.Upgrade:
		w, err := proc.WatchPid(m.o.Parent)
		if err != nil {
			return // gone already: parentLives says so
		}
		go func() {
			defer w.Close()
			if w.Wait() == nil {
				m.events <- parentGone{}
			}
		}()
	}
}

// hearParent passes on what the old master says until it is no more.
func (m *Master) hearParent(protocol int) {
	if protocol > 0 {
		m.events <- parentSaid{protocol}
	}
	for {
		msg, err := m.o.Old.Receive()
		if err != nil {
			m.o.Old.Close()
			m.events <- parentGone{}
			return
		}
		switch msg.Kind {
		case control.KindTake:
			m.takeLink(msg, protocol)
		case control.KindHello:
			protocol = m.agree(msg)
			msg.Close()
			m.events <- parentSaid{protocol}
		case control.KindReopen:
			msg.Close()
			if protocol >= control.ProtocolInherit {
				m.events <- otherReopens{}
			}
		default:
			msg.Close() // a later version's word
		}
	}
}

func logf(log *slog.Logger, level slog.Level, format string, args ...any) {
	ctx := context.Background()
	if log.Enabled(ctx, level) {
		log.Log(ctx, level, sprintf(format, args...))
	}
}
