package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/report"
)

// ErrNothingRuns says that no master was found where we were sent.
var ErrNothingRuns = errors.New("nothing is running there")

// oldBin is what the pid file of the old master has at its end during an upgrade.
const oldBin = proc.OldBin

// A Phase is where a server is on its way from one binary to the next. The texts
// are part of the output of status.
type Phase string

const (
	// Serving: one master, and its workers serve. No upgrade is under way.
	Serving Phase = "serving"
	// Stopped: one master, and no worker of it serves.
	Stopped Phase = "stopped"
	// Starting: a new master is there and does not serve yet, the old one does.
	Starting Phase = "starting"
	// Both: workers of the old and of the new master serve.
	Both Phase = "both serve"
	// Draining: only the new master's workers serve; old ones finish what they have.
	Draining Phase = "draining"
	// Committed: only the new master serves, and the old one was told to go: it finishes
	// what it has and cannot come back.
	Committed Phase = "committed"
	// Soaking: only the new master has workers; the old one waits for the commit.
	Soaking Phase = "soaking"
	// RolledBack: only the old master's workers serve, and the new master is still there.
	RolledBack Phase = "rolled back"
	// Silent: two masters, and nobody serves.
	Silent Phase = "nobody serves"
)

// A generation is one master with its workers, as seen at one moment.
type generation struct {
	process
	// named: a pid file says that it is a master. One that was just executed has
	// written none.
	named   bool
	workers []process
	// pidFile is the one that names it; "" when none does yet.
	pidFile string
	// report is what it says of itself; nil when it says nothing. [examine] asks.
	report *report.Report
	// leaving: it was told to go. It says so, or closed its listening sockets, as nginx
	// does. [examine] finds that out.
	leaving bool
	image   fileID
	held    *os.File // the image, see [process.hold]; nil before it was studied
	version string   // "" when its binary does not tell

	argv   []string // as started
	dir    string   // working directory
	env    []string // nil: the master wrote over it
	binary string   // absolute path of the file that USR2 executes
	exe    string   // what the kernel calls the image
}

func (g *generation) serving() (n int) {
	for _, w := range g.workers {
		if !w.isRetiring() {
			n++
		}
	}
	return n
}

// runs reports whether path is what g runs: the same file, or a copy of it, as after a
// roll-back by hand.
func (g *generation) runs(path string) bool {
	id, err := identify(path)
	return err == nil && (id == g.image || sameBytes(path, g.imagePath()))
}

// imagePath is a name of the image that g runs, whatever became of the file, for those who
// have the right to open that.
func (g *generation) imagePath() string {
	if g.held == nil {
		return procPath(g.pid, "exe")
	}
	return heldPath(g.held)
}

// A sight is what Look saw.
type sight struct {
	pidFile string
	// old is nil when there is one master only; that is the new one.
	old, new *generation
	// lost: the pid file does not name the one there is.
	lost bool
}

func (s *sight) phase() Phase {
	switch {
	case s.old == nil && s.new.serving() > 0:
		return Serving
	case s.old == nil:
		return Stopped
	case !s.new.named && s.old.serving() > 0:
		return Starting
	case s.old.leaving && s.new.serving() > 0:
		return Committed
	case s.old.serving() > 0 && s.new.serving() > 0:
		return Both
	case s.new.serving() > 0 && len(s.old.workers) > 0:
		return Draining
	case s.new.serving() > 0:
		return Soaking
	case s.old.serving() > 0:
		return RolledBack
	}
	return Silent
}

// glance finds the masters that pidFile and its .oldbin name, and their workers.
// It runs nothing, so it can be called often.
func glance(pidFile string) (*sight, error) {
	for {
		before, _ := proc.ReadPidFile(pidFile) // the error is told below
		was, _ := markOf(pidFile)
		s, err := glanceOnce(pidFile)
		if !errors.Is(err, ErrNothingRuns) {
			return s, err
		}
		// The end of a new master may have come between: behind our reading of its pid
		// file and ahead of that of .oldbin the old one has given its own the first name.
		is, _ := markOf(pidFile)
		if after, _ := proc.ReadPidFile(pidFile); after == before && is == was {
			return nil, err
		}
	}
}

func glanceOnce(pidFile string) (*sight, error) {
	current, err := namedMaster(pidFile)
	if err != nil && !errors.Is(err, ErrNothingRuns) {
		return nil, err
	}
	old, oldErr := namedMaster(pidFile + oldBin)
	if oldErr != nil && !errors.Is(oldErr, ErrNothingRuns) {
		return nil, oldErr
	}
	s := &sight{pidFile: pidFile, old: old, new: current}
	switch {
	case current == nil && old == nil:
		return nil, err
	case current == nil:
		s.old, s.new = nil, old
	case old != nil && old.pid == current.pid:
		s.old = nil
	}
	return s, s.family()
}

// namedMaster returns the master that a pid file names, or an error that wraps
// [ErrNothingRuns].
func namedMaster(pidFile string) (*generation, error) {
	pid, err := proc.ReadPidFile(pidFile)
	if isMissing(err) {
		return nil, fmt.Errorf("%w: there is no pid file %s", ErrNothingRuns, pidFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNothingRuns, err)
	}
	p, err := look(pid)
	if errors.Is(err, errGone) || err == nil && p.zombie() {
		return nil, fmt.Errorf("%w: %s names process %d, which does not exist", ErrNothingRuns, pidFile, pid)
	}
	if err != nil {
		return nil, err
	}
	if !p.isMaster() {
		return nil, fmt.Errorf("%w: %s names process %d, which is no master: %q", ErrNothingRuns, pidFile, pid, p.title)
	}
	if !p.ours() && p.same() {
		return nil, fmt.Errorf("look into master process %d: %w", pid, p.denied(fs.ErrPermission))
	}
	return &generation{process: p, named: true, pidFile: pidFile}, nil
}

// family finds workers, and a new master that has written no pid file yet.
func (s *sight) family() error {
	pids := []int{s.new.pid}
	if s.old != nil {
		pids = append(pids, s.old.pid)
	}
	below, err := children(pids...)
	if err != nil {
		return err
	}
	s.new.workers = workersIn(below[s.new.pid])
	if s.old != nil {
		s.old.workers = workersIn(below[s.old.pid])
		return nil
	}
	// Only while the pid file has its other name is a child that is no worker a new
	// master: at any other time it is a worker that has no title yet.
	if _, err := os.Lstat(s.pidFile); err == nil {
		return nil
	}
	for _, c := range below[s.new.pid] {
		if !c.ours() || c.isWorker() || strings.Contains(c.title, ": cache ") || strings.Contains(c.title, ": privileged ") {
			continue
		}
		s.old, s.new = s.new, &generation{process: c}
		if below, err = children(c.pid); err != nil {
			return err
		}
		s.new.workers = workersIn(below[c.pid])
		return nil
	}
	return nil
}

func workersIn(ps []process) (workers []process) {
	for _, p := range ps {
		if p.isWorker() {
			workers = append(workers, p)
		}
	}
	return workers
}

// study fills in what a generation runs.
func (g *generation) study(ctx context.Context) error {
	var err error
	if g.exe, err = g.link("exe"); err != nil {
		return fmt.Errorf("look into master process %d: %w", g.pid, g.denied(err))
	}
	if g.held, err = g.hold("exe"); err != nil {
		return fmt.Errorf("look into master process %d: %w", g.pid, g.denied(err))
	}
	if g.image, err = identify(g.imagePath()); err != nil {
		return fmt.Errorf("look into master process %d: %w", g.pid, g.denied(err))
	}
	if g.dir, err = g.link("cwd"); err != nil {
		return fmt.Errorf("look into master process %d: %w", g.pid, g.denied(err))
	}
	if err := g.sameRoot(); err != nil {
		return err
	}
	if g.env, err = environment(g.pid); err != nil {
		return fmt.Errorf("look into master process %d: %w", g.pid, g.denied(err))
	}
	g.argv = originalArgv(g.process.argv, func(path string) bool {
		fi, err := os.Stat(executable(path, g.dir, lookupEnv(g.env, "PATH"), true))
		return err == nil && fi.Mode().IsRegular()
	})
	if !g.named || len(g.argv) == 0 {
		return nil // just executed: it is no use to ask what will be another program in a moment
	}
	// That it does not tell is no reason to stop: what is done about it is.
	g.version, _ = askVersion(ctx, g.imagePath(), g.argv[0])
	g.binary = executable(g.argv[0], g.dir, lookupEnv(g.env, "PATH"), isBaton(g.version))
	return nil
}

// mayLook finds that the masters belong to somebody else.
func (s *sight) mayLook() error {
	for _, g := range s.generations() {
		if _, err := g.link("exe"); errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("look into master process %d: %w", g.pid, g.denied(err))
		}
	}
	return nil
}

// sameRoot finds that a process sees other files than we do.
func (p process) sameRoot() error {
	theirs, err := p.identify("root")
	if err != nil {
		return fmt.Errorf("look at the root of process %d: %w", p.pid, err)
	}
	if ours, err := identify("/"); err == nil && ours != theirs {
		return fmt.Errorf("process %d sees other files than we do (a container, or chroot): run this there", p.pid)
	}
	return nil
}

// Look looks at the server whose pid file is given. It returns an error wrapping
// [ErrNothingRuns] when there is none.
//
// Root looks with the rights of the server's user.
func Look(ctx context.Context, pidFile string) (st *Status, err error) {
	if aerr := actFor(pidFile, func() { st, err = lookAt(ctx, pidFile) }); aerr != nil {
		return nil, aerr
	}
	return st, err
}

func lookAt(ctx context.Context, pidFile string) (*Status, error) {
	for {
		s, err := examine(ctx, pidFile)
		if errors.Is(err, ErrNothingRuns) {
			if found := lost(ctx, pidFile); found != nil {
				s, err = found, found.examine(ctx)
			}
		}
		var st *Status
		if err == nil {
			st, err = s.status()
		}
		ended := err != nil && s.changed()
		s.release()
		if !ended {
			return st, leftBehind(pidFile, orLost(ctx, pidFile, err))
		}
		// A master ended while it was looked at: what was seen is no state that was.
	}
}

// release closes what was opened to look at s, which may be nil.
func (s *sight) release() {
	if s == nil {
		return
	}
	for _, g := range s.generations() {
		if g.held != nil {
			g.held.Close()
		}
	}
}

// examine is glance, and what the generations run. On an error the sight tells what
// was seen until then, if anything was.
func examine(ctx context.Context, pidFile string) (*sight, error) {
	s, err := glance(pidFile)
	if err != nil {
		return nil, err
	}
	return s, s.examine(ctx)
}

// examine fills in what the generations run, and what they say of themselves.
func (s *sight) examine(ctx context.Context) (err error) {
	for _, g := range s.generations() {
		if err := g.study(ctx); err != nil {
			return err
		}
	}
	for _, g := range s.generations() {
		g.report = g.ask(ctx)
	}
	if s.old == nil || !s.new.named {
		return nil
	}
	s.old.leaving, err = s.oldLeaves()
	return err
}

// oldLeaves finds out whether the old master was told to go.
func (s *sight) oldLeaves() (bool, error) {
	if s.old.report != nil {
		return s.old.report.Phase.Leaving(), nil
	}
	// When neither master has any there is nothing to tell them apart by.
	old, err := listenersOf(s.old)
	if err != nil {
		return false, err
	}
	open, err := listenersOf(s.new)
	return len(old) == 0 && len(open) > 0, err
}

// generations returns those there are, the old one first.
func (s *sight) generations() []*generation {
	if s.old == nil {
		return []*generation{s.new}
	}
	return []*generation{s.old, s.new}
}

// changed reports whether a master that was seen is gone, or goes: one that ends has no
// image any more a moment before it is a zombie.
func (s *sight) changed() bool {
	return s != nil && slices.ContainsFunc(s.generations(), func(g *generation) bool {
		_, err := g.link("exe")
		return !g.same() || isMissing(err)
	})
}
