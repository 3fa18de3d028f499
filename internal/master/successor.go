package master

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/report"
	"github.com/baton-deploy/baton/internal/sock"
)

// The environment variables between our processes. Each names descriptors.
const (
	// EnvSockets is nginx's: the listening sockets, for a new master.
	EnvSockets = "NGINX"
	// EnvOld is the control socket to the old master, for a new one, who asks there for
	// what else it inherits.
	EnvOld = "BATON_CONTROL"
	// EnvTickets is memory with what the keys of TLS session tickets are made of, from an old
	// master of a release that does not wait to be asked.
	EnvTickets = "BATON_TICKETS"
	// EnvStats is the memory in which all workers count, from the same: a version, a
	// descriptor, and where in it the new master's workers have their place.
	EnvStats = "BATON_STATS"
	// EnvStarter is the control socket to the command that started a master.
	EnvStarter = "BATON_STARTER"
	// EnvConfig is the snapshot of the configuration that the command has loaded which
	// starts a master: what can be read once only, a FIFO, is not read again.
	EnvConfig = "BATON_CONFIG"
	// EnvActivated is systemd's sockets, for a master that is not the process
	// which systemd started.
	EnvActivated = "BATON_LISTEN"
	// EnvWorker is the control socket to the master, for a worker.
	EnvWorker = "BATON_WORKER"
)

// lastWords is how long the messages of a new master that has ended are waited
// for: they are in the socket already, but nginx's workers may hold its other
// end open.
const lastWords = 100 * time.Millisecond

// A newMaster is the successor as a process.
type newMaster struct {
	pid  int
	conn *control.Conn
}

// doUpgrade does the actions that have to do with another master.
func (m *Master) doUpgrade(a action) event {
	switch a := a.(type) {
	case writePidFile:
		m.logf(errorlog.Debug, "a generation serves: %d goroutines, %d worker processes", runtime.NumGoroutine(), len(m.children))
		c := m.configs[a.config]
		if err := m.pid.write(c.Process.Pid, m.o.Self); err != nil {
			return pidWritten{err.Error()}
		}
		m.openTeller()
		return pidWritten{}
	case movePidFile:
		if err := m.pid.move(m.o.Argv[0]); err != nil {
			return pidMoved{err.Error()}
		}
		m.tellerFollows()
		return pidMoved{}
	case restorePidFile:
		m.report("restore pid file", m.pid.restore(m.o.Argv[0]))
		m.tellerFollows()
	case removePidFile:
		m.closeTeller()
		m.report("remove pid file", m.pid.remove(m.o.Self))
	case forgetParent:
		old := pidFile{path: m.pid.path, moved: true}
		m.report("remove pid file of old binary process", old.remove(m.o.Parent))
		m.report("remove socket of old binary process", report.Remove(old.name()))
	case readPidFile:
		pid, err := proc.ReadPidFile(m.pid.path)
		if err != nil {
			pid = 0 // not there yet
		}
		return pidFileNames{pid}
	case execute:
		return m.execute()
	case passLink:
		m.passLink(a)
	case bequeath:
		m.report("pass on what the new master inherits", m.bequeath(a.protocol))
	case hangUp:
		if conn := m.ear(); conn != nil {
			_ = conn.Close() // it may have been closed before
		}
	case reopenOther:
		m.reopenOther(a)
	case dropSuccessor:
		m.dropSuccessor()
	default:
		panic(fmt.Sprintf("master: unknown action %T", a))
	}
	return nil
}

// execute starts the binary on disk with our arguments and environment and the
// listening sockets, as nginx does, and with a control socket. Of all this only the
// sockets are of use to nginx: it does not look at the control socket, but its workers,
// who run as somebody else, have it open. So nothing that comes from another process
// than the one that we start is believed there, and it brings nothing by itself: a new
// master of ours asks for what it inherits.
func (m *Master) execute() event {
	path := proc.Resolve(m.o.Argv[0], m.o.Dir)
	pid, conn, err := m.startNew(path)
	if err != nil {
		return executed{path: m.o.Argv[0], reason: proc.Errno(err).Error()}
	}
	m.new = &newMaster{pid: pid, conn: conn}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		m.hear(pid, conn)
	}()
	go func() {
		_ = proc.Await(pid) // reap reports what is wrong
		_ = conn.SetReadTimeout(lastWords)
		<-heard
		m.ended <- pid
	}()
	return executed{pid: pid, path: m.o.Argv[0]}
}

func (m *Master) startNew(path string) (int, *control.Conn, error) {
	conn, theirs, err := control.Pair()
	if err != nil {
		return 0, nil, err
	}
	defer theirs.Close()
	fd, err := proc.FD(theirs)
	if err != nil {
		conn.Close()
		return 0, nil, err
	}
	if err := conn.WithSenders(); err != nil {
		conn.Close()
		return 0, nil, err
	}
	const first = 3
	fds := []int{0, 1, 2}
	for _, sk := range m.sockets.All() {
		fds = append(fds, sk.FD)
	}
	n := len(fds) - first
	env := append([]string(nil), m.o.Env...)
	env = append(env, EnvSockets+"="+sock.FormatList(first, n), EnvOld+"="+strconv.Itoa(first+n))
	fds = append(fds, fd)
	pid, err := proc.Start(proc.Spec{Path: path, Argv: m.o.Argv, Env: env, FDs: fds})
	if err != nil {
		conn.Close()
		return 0, nil, err
	}
	conn.OnlyFrom(pid)
	conn.MaxFiles(masterFiles)
	conn.WhenLost(m.isDeaf(fmt.Sprintf("new binary process %d", pid)))
	// A new master that has no ear for it does not mind.
	_ = conn.Post(control.KindHello, m.hello())
	return pid, conn, nil
}

// hear passes on what a new master says until it is silent for good, or breaks a rule:
// then it is not heard any more.
func (m *Master) hear(pid int, conn *control.Conn) {
	for protocol := 0; ; {
		msg, err := conn.Receive()
		if err != nil {
			if brokeRule(err) {
				m.events <- misled{who: fmt.Sprintf("control socket of new binary process %d", pid), reason: err.Error()}
				conn.Close()
			}
			return
		}
		ev := successorSaid{kind: msg.Kind}
		switch msg.Kind {
		case control.KindTake:
			m.takeLink(msg, protocol)
			continue
		case control.KindHello:
			protocol = m.agree(msg)
			ev.protocol = protocol
		case control.KindFailed:
			var f control.Failed
			if err := msg.Into(&f); err != nil {
				f.Reason = err.Error()
			}
			ev.stage, ev.reason = f.Stage, f.Reason
		}
		msg.Close()
		m.events <- ev
	}
}

// brokeRule reports whether Receive failed because of what was sent, and not because a
// process ended, the time was over, or the system refused.
func brokeRule(err error) bool {
	var errno syscall.Errno
	return !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.As(err, &errno)
}

// isDeaf returns what passes on that another master does not read what it is sent. We
// do not hang up on it: that would tell it that we are gone.
func (m *Master) isDeaf(who string) func(error) {
	return func(err error) { m.events <- deaf{who, err.Error()} }
}

// ear is the control socket to the new master, or nil when it has none.
func (m *Master) ear() *control.Conn {
	if m.new == nil {
		return nil
	}
	return m.new.conn
}

func (m *Master) dropSuccessor() {
	if m.new != nil {
		m.new.conn.Close()
		m.new = nil
	}
}
