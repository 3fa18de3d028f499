package master

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/sock"
)

const (
	// bindTries and bindPause are nginx's: a server that is just going away may
	// hold the address a little longer.
	bindTries = 5
	bindPause = 500 * time.Millisecond

	// coresPerWorker is how many cores one worker is meant for when
	// worker_processes is auto.
	coresPerWorker = 8
)

// A config is a loaded configuration with all that it holds open.
type config struct {
	Config
	facts    configFacts
	logs     map[string]*os.File
	log      *slog.Logger
	snapshot int // descriptor
	zones    []*zone
	identity *proc.Identity
}

// A stageError says at what stage a start failed.
type stageError struct {
	stage string
	err   error
}

func (e *stageError) Error() string { return e.err.Error() }
func (e *stageError) Unwrap() error { return e.err }

func stageOf(err error) string {
	var se *stageError
	if errors.As(err, &se) {
		return se.stage
	}
	return "config"
}

// levelOf is the level that nginx logs err with.
func levelOf(err error) slog.Level {
	var ce *conf.Error
	if errors.As(err, &ce) {
		if l, perr := errorlog.ParseLevel(ce.Level); perr == nil {
			return l
		}
	}
	return errorlog.Emerg
}

// begin does what comes before the first worker: configuration, sockets, logs,
// shared memory.
func (m *Master) begin() (configFacts, error) {
	m.adopt()
	c, err := m.prepare()
	if err != nil {
		return configFacts{}, err
	}
	if err := m.open(c); err != nil {
		return configFacts{}, err
	}
	if err := proc.CheckPidFile(c.Process.Pid); err != nil {
		return configFacts{}, &stageError{"pid", err}
	}
	m.findParent(c.Process.Pid)
	if !m.o.Upgrade || !m.parentLives() {
		// Left by a master that was killed during an upgrade; scripts take it for a
		// sign that one is under way.
		m.report("remove stale pid file", proc.RemoveStalePidFile(c.Process.Pid+proc.OldBin))
	}
	if m.stats, err = openStats(m.o.Stats, m.o.ClearSeat); err != nil {
		return configFacts{}, &stageError{"start", err}
	}
	m.use(c)
	m.shared.disinherit()
	m.closeStartLog()
	for _, l := range c.Process.ErrorLogs {
		// The log is the terminal: no need to say everything twice.
		m.quiet = m.quiet || l.Path == "stderr"
	}
	m.introduce(c)
	// Inherited sockets that this configuration does not name. Their files are
	// the old master's.
	m.report("close inherited sockets", m.sockets.Release(c.Listens, false))
	return c.facts, nil
}

// adopt takes the sockets that somebody passed to us.
func (m *Master) adopt() {
	if m.o.Upgrade {
		m.logf(errorlog.Notice, "using inherited sockets from %q", m.o.InheritedText)
	}
	for _, fds := range [][]int{m.o.Inherited, m.o.Activated} {
		if err := m.sockets.Take(fds); err != nil {
			m.logf(errorlog.Warn, "ignoring inherited descriptors: %v", err)
		}
	}
}

// introduce writes nginx's first lines.
func (m *Master) introduce(c *config) {
	m.logf(errorlog.Notice, "using the %q event method", "epoll")
	m.logf(errorlog.Notice, "baton/%s", m.o.Version)
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.logf(errorlog.Notice, "OS: %s %s", unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]))
	}
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil {
		m.logf(errorlog.Notice, "getrlimit(RLIMIT_NOFILE): %d:%d", lim.Cur, lim.Max)
	}
	for _, w := range c.Warnings {
		m.logf(errorlog.Warn, "%s", w)
	}
}

// prepare loads the configuration and opens what has nothing to do with
// sockets. On failure nothing is left open.
func (m *Master) prepare() (_ *config, err error) {
	loaded, err := m.o.Load()
	if err != nil {
		return nil, &stageError{"config", err}
	}
	m.lastLoad++
	c := &config{Config: *loaded, logs: map[string]*os.File{}, snapshot: -1}
	c.facts = configFacts{id: m.lastLoad, workers: workers(c.Process.Workers), upgradeTimeout: c.Process.UpgradeTimeout}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if proc.Privileged() {
		if c.identity, err = proc.Lookup(c.Process.User, c.Process.Group); err != nil {
			return nil, &stageError{"config", err}
		}
	}
	if err := m.makeTemps(c); err != nil {
		return nil, &stageError{"config", err}
	}
	for _, path := range c.Logs {
		// Not given to the user: nginx does that only when it opens them again.
		if c.logs[path], err = proc.OpenLog(path, nil); err != nil {
			delete(c.logs, path)
			return nil, &stageError{"logs", err}
		}
	}
	if c.log, err = m.o.NewLog(c.Process, c.logs); err != nil {
		return nil, &stageError{"logs", err}
	}
	if c.zones, err = m.shared.zones(c.Zones, m.configs, m.logf); err != nil {
		return nil, &stageError{"config", err}
	}
	if c.snapshot, err = proc.Sealed("configuration", c.Snapshot); err != nil {
		return nil, &stageError{"start", err}
	}
	// The tree of directives and the compiled sites were for the check only, and
	// a master is to stay small.
	c.Snapshot = nil
	debug.FreeOSMemory()
	return c, nil
}

// makeTemps makes sure of the folders for temporary files. One that nobody asked for
// may be missing: it may never be used, and what needs it tells.
func (m *Master) makeTemps(c *config) error {
	for _, t := range c.Temps {
		err := proc.MakeTemp(t.Path, c.identity)
		switch {
		case err == nil:
		case t.Named:
			return err
		default:
			c.Warnings = append(c.Warnings, err.Error())
		}
	}
	return nil
}

// workers resolves worker_processes auto.
func workers(configured int) int {
	if configured > 0 {
		return configured
	}
	return (runtime.GOMAXPROCS(0) + coresPerWorker - 1) / coresPerWorker
}

// open opens the sockets of a first start, with nginx's patience. An inherited
// start has none: the old master goes on serving, and hears why.
func (m *Master) open(c *config) error {
	for try := 1; ; try++ {
		err := m.sockets.Open(c.Listens, c.facts.workers)
		var be *sock.BindError
		if !errors.As(err, &be) || !be.Busy() || m.o.Upgrade {
			if err != nil {
				return &stageError{"listen", err}
			}
			return nil
		}
		m.logf(errorlog.Emerg, "%v", err)
		if try == bindTries {
			return &stageError{"listen", errors.New("still could not bind()")}
		}
		m.logf(errorlog.Notice, "try again to bind() after %v", bindPause)
		if !m.pause(bindPause) {
			return &stageError{"listen", errors.New("told to exit")}
		}
	}
}

// pause waits, and returns false when a signal says that there is no point.
func (m *Master) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return true
		case s := <-m.signals:
			if s == os.Signal(unix.SIGTERM) || s == os.Signal(unix.SIGINT) || s == os.Signal(unix.SIGQUIT) {
				return false
			}
		}
	}
}

// use makes c one of the configurations of this master and logs to its log
// from now on.
func (m *Master) use(c *config) {
	m.configs[c.facts.id] = c
	m.log = c.log
	m.report("adjust sockets", m.sockets.Adjust(c.Listens))
}

// load is HUP's work: all of it or nothing.
func (m *Master) load() event {
	c, err := m.prepare()
	if err == nil {
		if err = m.sockets.Open(c.Listens, c.facts.workers); err != nil {
			c.close()
		}
	}
	if err != nil {
		return loadFailed{err.Error()}
	}
	m.use(c)
	for _, w := range c.Warnings {
		m.logf(errorlog.Warn, "%s", w)
	}
	return loaded{c.facts}
}

// release lets go of configuration id.
func (m *Master) release(id int, unlink bool) {
	c := m.configs[id]
	if c == nil {
		return
	}
	delete(m.configs, id)
	var wanted []conf.Listen
	var newest *config
	for _, o := range m.configs {
		wanted = append(wanted, o.Listens...)
		if newest == nil || o.facts.id > newest.facts.id {
			newest = o
		}
	}
	if m.log == c.log && newest != nil {
		m.log = newest.log
	}
	m.report("close sockets", m.sockets.Release(wanted, unlink))
	c.close()
}

func (c *config) close() {
	for _, f := range c.logs {
		f.Close()
	}
	if c.snapshot >= 0 {
		unix.Close(c.snapshot)
	}
	releaseZones(c.zones)
	c.zones = nil
}

// logFiles returns the log files of c as they travel to a worker.
func (c *config) logFiles() ([]control.File, error) {
	var files []control.File
	for path, f := range c.logs {
		fd, err := proc.FD(f)
		if err != nil {
			return nil, err
		}
		files = append(files, control.File{Name: control.FileLog + path, FD: fd})
	}
	return files, nil
}

// reopen opens every log file again and passes it on to every worker, also to
// those that are retiring.
func (m *Master) reopen() {
	for _, c := range m.configs {
		for path, old := range c.logs {
			f, err := proc.OpenLog(path, c.identity)
			if err == nil {
				err = proc.Replace(old, f)
				f.Close()
			}
			if err != nil {
				m.logf(errorlog.Emerg, "%v", err)
			}
		}
	}
	m.redirect()
	for pid, ch := range m.children {
		c := m.configs[ch.config]
		if c == nil {
			continue
		}
		files, err := c.logFiles()
		if err == nil {
			err = ch.tell(control.KindReopen, nil, files...)
		}
		if err != nil && !hasGone(err) {
			m.logf(errorlog.Alert, "pass log files to worker process %d: %v", pid, err)
		}
	}
}

// redirect makes standard error the error log, as nginx does: a crash of ours
// or of a worker is told there.
func (m *Master) redirect() {
	c := m.configs[m.state.config.id]
	if c == nil || m.state.phase == starting {
		return
	}
	var paths []string
	for _, l := range c.Process.ErrorLogs {
		paths = append(paths, l.Path)
	}
	m.report("redirect", proc.RedirectStderr(paths, c.logs))
}

func sprintf(format string, args ...any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}
