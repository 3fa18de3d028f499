package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
)

// MaxMemory is more bytes than any configuration with all its files has.
const MaxMemory = 1 << 30

// gear is what a worker works with, all of it from the master.
type gear struct {
	config  *conf.Config
	log     *slog.Logger
	logs    map[string]*os.File
	service Service
}

// start makes the service out of the master's first message and begins to
// serve.
func (w *worker) start(m control.Message) error {
	if m.Kind != control.KindStart {
		m.Close()
		return fmt.Errorf("first message of the master is %q", m.Kind)
	}
	var s control.Start
	if err := m.Into(&s); err != nil {
		m.Close()
		return err
	}
	in, err := sortFiles(m)
	if err != nil {
		return err
	}
	if err := w.configure(s, in); err != nil {
		return err
	}
	stats, err := proc.Map(in.stats, s.StatsBytes)
	if err != nil {
		return err
	}
	in.stats.Close()
	if err := w.become(s, w.config.Process); err != nil {
		return err
	}
	env := Env{Log: w.log, Logs: w.logs, Zones: in.zones, Stats: stats, Slot: s.Seat, Generation: s.Generation}
	if in.tickets != nil {
		if env.Tickets, err = proc.ReadSealed(in.tickets, MaxMemory); err != nil {
			return err
		}
		in.tickets.Close()
	}
	if w.service, err = w.o.New(w.config, env); err != nil {
		return &failure{"config", err}
	}
	if err := w.service.Start(in.listeners); err != nil {
		w.service.Close()
		return &failure{"listen", err}
	}
	return nil
}

// configure decodes the configuration and opens the error log.
func (w *worker) configure(s control.Start, in received) error {
	snapshot, err := proc.ReadSealed(in.config, MaxMemory)
	if err != nil {
		return err
	}
	in.config.Close()
	if w.config, err = w.o.Decode(snapshot); err != nil {
		return &failure{"config", err}
	}
	w.logs = in.logs
	if w.log, err = w.o.NewLog(w.config.Process, in.logs); err != nil {
		return &failure{"config", err}
	}
	if err := w.redirect(); err != nil {
		return err
	}
	// All workers together get as many threads as there are cores for us.
	runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/max(1, s.Workers)))
	return nil
}

// become sets the limits of this process and then its user, in this order since
// raising a limit takes root, and then its working directory, which is where a
// core file goes. A limit that cannot be had is told and done without, as nginx
// does.
func (w *worker) become(s control.Start, p conf.Process) error {
	if p.Nofile > 0 {
		if err := proc.LimitFiles(p.Nofile); err != nil {
			w.log.Log(context.Background(), errorlog.Alert, err.Error())
		}
	}
	// Aside: nothing at the start needs the room, and making it takes a while.
	go func() {
		// A connection to a client and one to a server for each, and what else is open.
		room := uint64(p.WorkerConnections)*uint64(runtime.GOMAXPROCS(0))*2 + 64
		if err := proc.RoomForFiles(room); err != nil {
			w.log.Log(context.Background(), errorlog.Info, err.Error())
		}
	}()
	if p.Core >= 0 {
		if err := proc.LimitCore(uint64(p.Core)); err != nil {
			w.log.Log(context.Background(), errorlog.Alert, err.Error())
		}
	}
	if s.Identity != nil {
		if err := s.Identity.Assume(); err != nil {
			return err
		}
	}
	if p.WorkingDirectory != "" {
		if err := os.Chdir(p.WorkingDirectory); err != nil {
			return fmt.Errorf("chdir(%q) failed (%w)", p.WorkingDirectory, proc.Errno(err))
		}
	}
	return nil
}

// received is the descriptors of a start message by what they are.
type received struct {
	config, stats *os.File
	tickets       *os.File // nil: none came
	logs, zones   map[string]*os.File
	listeners     map[string][]net.Listener
}

// sortFiles takes m's descriptors apart.
func sortFiles(m control.Message) (received, error) {
	in := received{logs: map[string]*os.File{}, zones: map[string]*os.File{}, listeners: map[string][]net.Listener{}}
	for i, f := range m.Files {
		name := m.Names[i]
		switch {
		case name == control.FileConfig:
			in.config = f
		case name == control.FileStats:
			in.stats = f
		case name == control.FileTickets:
			in.tickets = f
		case strings.HasPrefix(name, control.FileLog):
			in.logs[strings.TrimPrefix(name, control.FileLog)] = f
		case strings.HasPrefix(name, control.FileZone):
			in.zones[strings.TrimPrefix(name, control.FileZone)] = f
		case strings.HasPrefix(name, control.FileListen):
			key := strings.TrimPrefix(name, control.FileListen)
			ln, err := net.FileListener(f)
			if err != nil {
				return in, &failure{"listen", fmt.Errorf("take listening socket %s: %w", key, err)}
			}
			// FileListener has its own duplicate; this one must not keep the
			// runtime's eye on the socket.
			f.Close()
			in.listeners[key] = append(in.listeners[key], ln)
		default: // a newer master's
			f.Close()
		}
	}
	if in.config == nil || in.stats == nil {
		return in, fmt.Errorf("start message without configuration or shared memory: %q", m.Names)
	}
	return in, nil
}

// reopen puts the new log files of m in the place of the open ones.
func (w *worker) reopen(m control.Message) error {
	defer m.Close()
	w.log.Log(context.Background(), errorlog.Notice, "reopening logs")
	for i, f := range m.Files {
		path, ok := strings.CutPrefix(m.Names[i], control.FileLog)
		if !ok || w.logs[path] == nil {
			continue
		}
		if err := proc.Replace(w.logs[path], f); err != nil {
			return err
		}
	}
	w.service.Reopen(w.logs)
	return w.redirect()
}

// reopenMine is USR1. Whoever runs as the workers' user may send that, so the log files are
// opened with the rights of this process and no other's, as by nginx's workers: one that
// it may not open stays what it is.
func (w *worker) reopenMine() {
	ctx := context.Background()
	w.log.Log(ctx, errorlog.Notice, "reopening logs")
	for path, old := range w.logs {
		f, err := proc.OpenLog(path, nil)
		if err == nil {
			err = proc.Replace(old, f)
			f.Close()
		}
		if err != nil {
			w.log.Log(ctx, errorlog.Emerg, err.Error())
		}
	}
	w.service.Reopen(w.logs)
	if err := w.redirect(); err != nil {
		w.log.Log(ctx, errorlog.Alert, err.Error())
	}
}

// redirect makes standard error the error log: what we got from our master may
// be the terminal that it was started from.
func (w *worker) redirect() error {
	var paths []string
	for _, l := range w.config.Process.ErrorLogs {
		paths = append(paths, l.Path)
	}
	return proc.RedirectStderr(paths, w.logs)
}
