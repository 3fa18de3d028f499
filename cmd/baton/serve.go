package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/master"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/sock"
	"github.com/baton-deploy/baton/internal/ticketkeys"
	"github.com/baton-deploy/baton/internal/worker"
)

// runRole runs this process as what another process of ours started it as. ok
// is false when it is none of these but a start by an operator.
//
// A worker is told by its environment. A master that executed itself again to
// be called master in ps has its title in argv[0]; without it, argv is that of
// the start.
func runRole(argv []string, stdout, stderr io.Writer) (code int, ok bool) {
	forgetStrangers()
	if fd, ok := takeDescriptor(master.EnvWorker); ok {
		return worker.Run(fd, workerOptions()), true
	}
	if proc.IsWorkerArgv(argv) {
		return 1, true // whoever started this was no master: there is nothing to do
	}
	if original, titled := proc.OriginalArgv(argv); titled {
		return run(original, stdout, stderr), true
	}
	return 0, false
}

// takeDescriptor reads a descriptor's number from the environment and removes
// it there: it is meant for this process alone.
func takeDescriptor(name string) (fd int, ok bool) {
	value, ok := os.LookupEnv(name)
	if !ok {
		return 0, false
	}
	// Unsetenv fails for names that are none, only.
	_ = os.Unsetenv(name)
	fd, err := strconv.Atoi(value)
	return fd, err == nil && fd > 2
}

// serve starts the server and returns the exit status: of the start command
// when the server goes into the background, else of the server.
func serve(o serveOptions) int {
	if _, titled := proc.OriginalArgv(os.Args); titled {
		return serveAsMaster(o)
	}
	_ = os.Unsetenv(master.EnvConfig) // it is for us to say; fails for names that are none, only
	if _, upgrade := os.LookupEnv(master.EnvSockets); upgrade {
		// As nginx: a new binary never goes into the background, it is there.
		return becomeMaster(o, -1)
	}
	cfg, err := o.Load()
	if err != nil {
		return o.fail(err)
	}
	config, err := sealConfig(cfg)
	if err != nil {
		return o.fail(err)
	}
	if cfg.Process.Daemon {
		return startDaemon(o, config)
	}
	return becomeMaster(o, config)
}

// becomeMaster executes this process's image again under the master's title. config is
// its first configuration, as [sealConfig] returns it; -1 for none.
func becomeMaster(o serveOptions, config int) int {
	keep := activated()
	if config >= 0 {
		keep = append(keep, config)
		if err := os.Setenv(master.EnvConfig, strconv.Itoa(config)); err != nil {
			return o.fail(err)
		}
	}
	if text, ok := os.LookupEnv(master.EnvSockets); ok {
		inherited, _ := sock.ParseList(text) // the error is told by whom we become
		keep = append(keep, inherited...)
	}
	for _, name := range []string{master.EnvOld, master.EnvTickets} {
		if fd, err := strconv.Atoi(os.Getenv(name)); err == nil {
			keep = append(keep, fd)
		}
	}
	if fd, ok := master.StatsDescriptor(os.Getenv(master.EnvStats)); ok {
		keep = append(keep, fd)
	}
	keep = slices.DeleteFunc(keep, func(fd int) bool { return !proc.IsOpen(fd) })
	return o.fail(proc.Become(proc.MasterArgv(o.Argv), os.Environ(), keep))
}

func (o serveOptions) fail(err error) int {
	log, closeLog := o.OpenLog()
	defer closeLog()
	logFailure(log, err)
	return 1
}

// activated returns the sockets that systemd passed.
func activated() []int {
	return sock.Activated(os.Getpid(), os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"))
}

// startDaemon starts the master in a session of its own, and waits until it
// serves or says why not.
func startDaemon(o serveOptions, config int) int {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return o.fail(err)
	}
	defer null.Close()
	conn, theirs, err := control.Pair()
	if err != nil {
		return o.fail(err)
	}
	defer conn.Close()
	pid, err := spawnDaemon(o, null, theirs, config)
	theirs.Close()
	if err != nil {
		return o.fail(err)
	}
	for {
		m, err := conn.Receive()
		if err != nil {
			break // it ended, or it closed the socket after a failure
		}
		m.Close()
		switch m.Kind {
		case control.KindReady:
			return 0
		case control.KindFailed:
			// It has told the reason itself: standard error is its own until it is
			// ready. Once it is gone its addresses are free for the next try.
			if _, err := proc.Reap(pid); err != nil {
				return o.fail(err)
			}
			return 1
		}
	}
	exit, err := proc.Reap(pid)
	if err == nil {
		err = fmt.Errorf("master process %d %s before it was ready", pid, exit)
	}
	return o.fail(err)
}

func spawnDaemon(o serveOptions, null, theirs *os.File, config int) (pid int, err error) {
	fds := make([]int, 0, 8)
	for _, f := range []*os.File{null, null, os.Stderr, theirs} {
		fd, err := proc.FD(f)
		if err != nil {
			return 0, err
		}
		fds = append(fds, fd)
	}
	fds = append(fds, config)
	env := append(os.Environ(), master.EnvStarter+"=3", master.EnvConfig+"=4")
	if fds2 := activated(); len(fds2) > 0 {
		env = append(env, master.EnvActivated+"="+sock.FormatList(len(fds), len(fds2)))
		fds = append(fds, fds2...)
	}
	return proc.Start(proc.Spec{Path: proc.Image, Argv: proc.MasterArgv(o.Argv), Env: env, FDs: fds, Session: true})
}

// serveAsMaster is the master.
func serveAsMaster(o serveOptions) int {
	startLog, closeLog := o.OpenLog()
	load := loadOnce(o.Load)
	m := master.Options{
		Argv: o.Argv, Version: o.Version, Self: os.Getpid(), Parent: os.Getppid(),
		Load:   func() (*master.Config, error) { return masterConfig(load) },
		NewLog: newErrorLog, Count: count, ClearSeat: httpd.ClearSeat,
		StartLog: startLog, CloseStartLog: closeLog,
		Terminal:  errorlog.New(errorlog.NewConsole(o.Stderr, o.Word, errorlog.Warn)),
		Activated: activated(),
	}
	if err := describeStart(&m, o); err != nil {
		logFailure(startLog, err)
		closeLog()
		return 1
	}
	return master.Run(m)
}

// describeStart finds out who started this master and with what.
func describeStart(m *master.Options, o serveOptions) error {
	if err := proc.SetComm(o.Word); err != nil {
		return err
	}
	var err error
	if m.Dir, err = os.Getwd(); err != nil && strings.Contains(o.Argv[0], "/") && !filepath.IsAbs(o.Argv[0]) {
		return fmt.Errorf("find working directory: %w", err)
	}
	if fd, ok := takeDescriptor(master.EnvStarter); ok {
		proc.ClearUmask() // as a daemon of nginx
		if m.Starter, err = control.Open(fd); err != nil {
			return err
		}
	}
	if fd, ok := takeDescriptor(master.EnvOld); ok {
		// Not fatal: a variable that somebody made up must not stop a server.
		m.Old, _ = control.Open(fd)
	}
	if fd, ok := takeDescriptor(master.EnvTickets); ok {
		m.Tickets = readTickets(fd)
	}
	m.InheritedText, m.Upgrade = os.LookupEnv(master.EnvSockets)
	if m.Upgrade {
		if m.Inherited, err = sock.ParseList(m.InheritedText); err != nil {
			logFailure(m.StartLog, err)
		}
	}
	m.Keep = isKnown(m)
	m.Stats = os.Getenv(master.EnvStats)
	if text, ok := os.LookupEnv(master.EnvActivated); ok {
		if m.Activated, err = sock.ParseList(text); err != nil {
			return err
		}
	}
	m.Env = inheritableEnv(os.Environ())
	return nil
}

// isKnown reports whether somebody outside knows the server by this process: it is the
// first one of a container, or runs in the foreground, where a supervisor would start it
// again when it ends. systemd is told by a message which process is the main one.
func isKnown(m *master.Options) bool {
	return os.Getpid() == 1 || m.Starter == nil && !m.Upgrade && os.Getenv("NOTIFY_SOCKET") == ""
}

// readTickets reads what an old master passed; nil when that is not what it should be,
// which costs clients no more than a new session.
func readTickets(fd int) *ticketkeys.Ring {
	f := os.NewFile(uintptr(fd), "tickets")
	defer f.Close()
	return master.ReadTickets(f)
}

// inheritableEnv is the environment for a later master: what describes this
// process alone is not part of it. WATCHDOG_PID goes and WATCHDOG_USEC stays:
// whoever is the main process keeps systemd's watchdog quiet.
func inheritableEnv(env []string) []string {
	own := []string{
		master.EnvSockets, master.EnvOld, master.EnvStats, master.EnvStarter, master.EnvActivated, master.EnvWorker,
		master.EnvTickets, master.EnvConfig,
		"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "WATCHDOG_PID",
	}
	return slices.DeleteFunc(env, func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(own, name)
	})
}

// masterConfig reduces a configuration to what a master needs.
func masterConfig(load func() (*conf.Config, error)) (*master.Config, error) {
	cfg, err := load()
	if err != nil {
		return nil, err
	}
	snapshot, err := cfg.Snapshot.Encode()
	if err != nil {
		return nil, err
	}
	c := &master.Config{
		Process: cfg.Process, Listens: cfg.Listens, Logs: cfg.Logs, Temps: cfg.Temps, Zones: cfg.Zones,
		Warnings: cfg.Warnings, Snapshot: snapshot, Changed: changed(cfg.Snapshot.Sources()),
	}
	if !c.Process.Master {
		// master_process off: one worker, still a process of its own. There is no
		// mode without a master, since nobody could replace such a binary.
		c.Process.Workers = 1
	}
	return c, nil
}

// changed keeps no more of a configuration than what tells whether its files have changed.
func changed(s *conf.Sources) func() []string {
	const most = 10
	return func() []string { return s.Changed(most) }
}

// newErrorLog returns the error log of a configuration.
func newErrorLog(p conf.Process, logs map[string]*os.File) (*slog.Logger, error) {
	var outs []*errorlog.Output
	for _, l := range p.ErrorLogs {
		level, err := errorlog.ParseLevel(l.Level)
		if err != nil {
			return nil, err
		}
		f := os.Stderr
		if l.Path != "stderr" {
			f = logs[l.Path]
		}
		if f == nil {
			return nil, fmt.Errorf("error log %s is not among the open log files", l.Path)
		}
		outs = append(outs, errorlog.NewOutput(f, level))
	}
	return errorlog.NewIn(zoneNow(localtime), outs...), nil
}
