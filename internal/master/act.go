package master

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/shm"
	"golang.org/x/sys/unix"
)

// do does one action and returns its outcome, if it has one. It decides
// nothing.
func (m *Master) do(a action) event {
	switch a := a.(type) {
	case logLine:
		m.logf(a.level, "%s", a.text)
	case load:
		return m.load()
	case release:
		m.release(a.config, a.unlink)
	case spawn:
		return m.spawn(a)
	case retire:
		m.retire(a)
	case stop:
		m.signal(a.pid, syscall.SIGTERM)
	case kill:
		m.signal(a.pid, syscall.SIGKILL)
	case reopen:
		m.reopen()
	case setTimer:
		m.setTimer(a)
	case dropTimer:
		if t := m.timers[a.timer]; t != nil {
			t.Stop()
			delete(m.timers, a.timer)
		}
	case trimSockets:
		m.report("close sockets", m.sockets.Release(m.configs[a.config].Listens, a.unlink))
	case closeSockets:
		m.report("close sockets", m.sockets.Release(nil, a.unlink))
	case notify:
		m.notify(a.assignments)
	case tellReady:
		m.tellReady()
	case tellFailed:
		m.tellFailed(a.stage, a.reason)
	case exit:
		m.done, m.code = true, a.code
	default:
		return m.doKeep(a)
	}
	return nil
}

func (m *Master) setTimer(a setTimer) {
	if t := m.timers[a.timer]; t != nil {
		t.Stop()
	}
	m.timers[a.timer] = time.AfterFunc(a.after, func() { m.events <- fired{a.timer} })
}

// signal reaches the right process: a child's pid stays taken until reap.
func (m *Master) signal(pid int, sig syscall.Signal) {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		m.report(fmt.Sprintf("signal process %d", pid), err)
	}
}

func (m *Master) notify(assignments []string) {
	if slices.Contains(assignments, reloadingMark) {
		assignments = proc.Reloading()
	}
	m.report("notify", proc.Notify(assignments...))
}

// tellReady ends the start: whoever waits for it hears so, and from now on the
// error log is the only place where we speak.
func (m *Master) tellReady() {
	for _, c := range []*control.Conn{m.o.Old, m.o.Starter} {
		if c != nil {
			// Who does not listen any more does not need to know.
			_ = c.Post(control.KindReady, nil)
		}
	}
	if m.o.Starter != nil {
		m.o.Starter.Close()
		m.o.Starter = nil
	}
	m.redirect()
	m.quiet = true
}

func (m *Master) tellFailed(stage, reason string) {
	for _, c := range []*control.Conn{m.o.Old, m.o.Starter} {
		if c != nil {
			_ = c.Post(control.KindFailed, control.Failed{Stage: stage, Reason: reason})
		}
	}
}

// spawn starts one worker and gives it all it needs.
func (m *Master) spawn(a spawn) event {
	pid, err := m.startWorker(a)
	if err != nil {
		return spawnFailed{a.gen, a.slot, err.Error()}
	}
	return spawned{a.gen, a.slot, pid}
}

func (m *Master) startWorker(a spawn) (pid int, err error) {
	c := m.configs[a.config]
	conn, theirs, err := control.Pair()
	if err != nil {
		return 0, err
	}
	defer theirs.Close()
	fd, err := proc.FD(theirs)
	if err != nil {
		conn.Close()
		return 0, err
	}
	pid, err = proc.Start(proc.Spec{
		Path: proc.Image,
		Argv: proc.WorkerArgv(proc.Word(m.o.Argv[0])),
		Env:  append(m.workerEnv(c), EnvWorker+"=3"),
		FDs:  []int{0, 1, 2, fd},
	})
	if err != nil {
		conn.Close()
		return 0, err
	}
	conn.WhenLost(func(err error) {
		// Whatever it was not told, the end of its master means: go when you are done.
		conn.Close()
		m.events <- deaf{fmt.Sprintf("worker process %d", pid), err.Error()}
	})
	conn.MaxFiles(0)
	ch := &child{conn: conn, seat: m.freeSeat(), config: a.config, started: time.Now()}
	m.children[pid] = ch
	m.stats.Give(ch.seat, pid)
	go m.listen(pid, conn)
	if err := m.equip(ch, c, a); err != nil {
		// It will end by itself when its master hangs up.
		m.report(fmt.Sprintf("start worker process %d", pid), err)
		conn.Close()
	}
	return pid, nil
}

// equip sends a new worker its configuration and descriptors.
func (m *Master) equip(ch *child, c *config, a spawn) error {
	files, err := c.logFiles()
	if err != nil {
		return err
	}
	tickets, err := m.sealTickets()
	if err != nil {
		return err
	}
	defer unix.Close(tickets)
	files = append(files,
		control.File{Name: control.FileTickets, FD: tickets},
		control.File{Name: control.FileConfig, FD: c.snapshot},
		control.File{Name: control.FileStats, FD: m.stats.FD()})
	files = append(files, zoneFiles(c.zones)...)
	for _, sk := range m.sockets.ForWorker(c.Listens, a.slot, a.workers) {
		files = append(files, control.File{Name: control.FileListen + sk.Key, FD: sk.FD})
	}
	return ch.tell(control.KindStart, control.Start{
		Generation: a.gen,
		Seat:       ch.seat,
		Workers:    a.workers,
		StatsBytes: shm.TableBytes,
		Identity:   c.identity,
	}, files...)
}

// sealTickets returns memory with what a process makes the keys of session tickets of.
func (m *Master) sealTickets() (fd int, err error) {
	return proc.Sealed("tickets", m.tickets.Encode(time.Now()))
}

// freeSeat returns the lowest number that no living worker has.
func (m *Master) freeSeat() int {
	taken := map[int]bool{}
	for _, ch := range m.children {
		taken[ch.seat] = true
	}
	m.sweepStats()
	return m.stats.Free(taken)
}

// workerEnv is nginx's: TZ and what "env" names, and what Go's runtime looks
// at. The rest of the environment is no business of a worker's.
func (m *Master) workerEnv(c *config) []string {
	var env []string
	for _, kv := range m.o.Env {
		name, _, _ := strings.Cut(kv, "=")
		if name == "TZ" || slices.Contains(goVariables(), name) || slices.Contains(c.Process.Env, name) {
			env = append(env, kv)
		}
	}
	for _, kv := range c.Process.Env {
		if strings.Contains(kv, "=") {
			env = append(env, kv)
		}
	}
	return env
}

func goVariables() []string {
	return []string{"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK", "GOCOVERDIR"}
}

// retire tells a worker to go when it is done. One that cannot be told is hung
// or ending; hanging up has the same meaning.
func (m *Master) retire(a retire) {
	ch := m.children[a.pid]
	if ch == nil {
		return
	}
	var files []control.File
	if giver := m.link(a); giver != nil {
		defer giver.Close()
		files = linkEnd(control.FileGive, giver)
	}
	if err := ch.tell(control.KindRetire, control.Retire{Successor: a.heirs != toNobody}, files...); err != nil {
		if !hasGone(err) {
			m.report(fmt.Sprintf("retire worker process %d", a.pid), err)
		}
		ch.conn.Close()
	}
}

// hasGone reports whether a worker could not be told because it has gone by itself, or was
// hung up on.
func hasGone(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) }

// tell never waits for the worker. One that reads nothing any more is hung up on: it
// would not hear either that it is to go.
func (ch *child) tell(kind string, body any, files ...control.File) error {
	err := ch.conn.Post(kind, body, files...)
	if errors.Is(err, control.ErrNotRead) {
		ch.conn.Close()
	}
	return err
}

// A pidFile is the pid file of this master, and what it is called now.
type pidFile struct {
	path  string // as configured; "" before it was written
	moved bool   // it is called path + .oldbin
}

func (p *pidFile) name() string {
	if p.moved {
		return p.path + proc.OldBin
	}
	return p.path
}

// write makes path name pid; a file of an earlier configuration goes.
func (p *pidFile) write(path string, pid int) error {
	if p.path == path {
		return nil
	}
	if err := proc.WritePidFile(path, pid); err != nil {
		return err
	}
	old := *p
	*p = pidFile{path: path}
	if old.path != "" {
		return old.remove(pid)
	}
	return nil
}

// move makes room for the new master's file.
func (p *pidFile) move(binary string) error {
	if err := os.Rename(p.path, p.path+proc.OldBin); err != nil {
		return fmt.Errorf("rename() %q to %q failed before executing new binary process %q (%w)",
			p.path, p.path+proc.OldBin, binary, proc.Errno(err))
	}
	p.moved = true
	return nil
}

// restore undoes move; whatever the new master left there goes.
func (p *pidFile) restore(binary string) error {
	if !p.moved {
		return nil
	}
	p.moved = false
	if err := os.Rename(p.path+proc.OldBin, p.path); err != nil {
		return fmt.Errorf("rename() %q back to %q failed after an attempt to execute new binary process %q (%w)",
			p.path+proc.OldBin, p.path, binary, proc.Errno(err))
	}
	return nil
}

// remove removes the file if it is still ours.
func (p *pidFile) remove(pid int) error {
	named, err := proc.ReadPidFile(p.name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && named != pid {
		return nil
	}
	if err := os.Remove(p.name()); err != nil {
		return fmt.Errorf("unlink() %q failed (%w)", p.name(), proc.Errno(err))
	}
	return nil
}
