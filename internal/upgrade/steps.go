package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/report"
)

const (
	// askTimes is how often each URL is asked, since workers differ.
	askTimes = 10
	// soakEvery is the time between two looks in the soak.
	soakEvery = 250 * time.Millisecond
)

// replace keeps the old binary and puts the new one in its place. What is in the
// place and does not run is kept too.
func (op *operation) replace() (string, error) {
	r := &op.record
	switch {
	case r.AsIs:
		return r.Binary + " is the new one already", nil
	case r.Link != "":
		return fmt.Sprintf("%s leads to %s; the old one is %s", r.Link, r.LinkTo, r.Backup), moveLink(r.Link, r.LinkTo)
	}
	if err := backUp(r.Binary, op.old.imagePath(), r.Backup); err != nil {
		return "", err
	}
	op.o.Fault("backed up")
	if exists(r.Binary) && !op.old.runs(r.Binary) {
		if err := keepStranger(r.Binary, r.Checksum); err != nil {
			return "", err
		}
	}
	if err := moveTo(op.staged, r.Binary); err != nil {
		return "", err
	}
	op.staged = ""
	return fmt.Sprintf("%s is the new one; the old one is %s", r.Binary, r.Backup), nil
}

// switchOver has the old master execute the new binary, and waits for facts: a new
// master that the pid file names, of the right image, on the same sockets, with
// workers that live.
func (op *operation) switchOver(ctx context.Context) (string, error) {
	if op.new != nil { // resumed: it was started by who was killed
		return op.awaitReady(ctx)
	}
	op.calm = false
	if err := op.old.signal(syscall.SIGUSR2); err != nil {
		return "", err
	}
	op.signalled = time.Now()
	op.o.Fault("USR2")
	return op.awaitReady(ctx)
}

// awaitReady waits until the new master serves.
func (op *operation) awaitReady(ctx context.Context) (string, error) {
	if err := until(ctx, op.o.ReadyTimeout, func() (bool, string, error) { return op.isReady(ctx) }); err != nil {
		return "", err
	}
	return fmt.Sprintf("master %d, %s, serves with %s on the same sockets",
		op.new.pid, op.record.NewVersion, count(len(op.crew.alive), "worker")), nil
}

// isReady is one look at the new master.
func (op *operation) isReady(ctx context.Context) (ready bool, missing string, err error) {
	// Before the processes are looked at: what it says was so by then.
	returned := false
	if m, err := markOf(op.o.PidFile); err == nil && m != op.pidMark {
		returned = op.old.isNamedBy(op.o.PidFile) && !exists(op.o.PidFile+oldBin)
	}
	s, err := glance(op.o.PidFile)
	if errors.Is(err, ErrNothingRuns) && op.old.same() {
		return false, "a pid file that names a master", nil // between two renames
	}
	switch {
	case err != nil:
		return false, "", err
	case !op.old.same():
		return false, "", fmt.Errorf("the old master %d is gone", op.old.pid)
	case s.old == nil && returned:
		return false, "", errors.New("the new master did not come to serve and is gone")
	case s.old == nil && op.new != nil:
		return false, "the end of what the new master left", nil
	case s.old == nil && op.strayed():
		return false, "", fmt.Errorf("master %d has another pid file than %s: its new master %d came, and that file was left alone", op.old.pid, op.o.PidFile, op.new.pid)
	case s.old == nil && op.ignored():
		return false, "", fmt.Errorf("master %d ignores USR2: nginx does so in the foreground (\"daemon off\") while its parent lives, "+
			"and while the master lives that it was upgraded from; the error log says why, at level notice", op.old.pid)
	case s.old == nil:
		return false, "a new master (does the error log say why USR2 was ignored?)", nil
	case s.old.pid != op.old.pid:
		return false, "", fmt.Errorf("master %d is the old one now, and not %d", s.old.pid, op.old.pid)
	}
	op.new = s.new
	if !s.new.named {
		return false, fmt.Sprintf("the new master %d has written no pid file", s.new.pid), nil
	}
	if err := op.crew.look(s.new); err != nil {
		return false, "", err
	}
	if n := s.new.serving(); n == 0 || !op.crew.settled(op.o.Pace.Settle) {
		return false, fmt.Sprintf("the new master %d has %s that live for %v", s.new.pid, count(op.crew.steady(), "worker"), op.o.Pace.Settle), nil
	}
	r := s.new.ask(ctx)
	op.newTells, op.crew.load = r != nil, loadOf(r)
	if r != nil && r.Phase != report.Serving {
		return false, fmt.Sprintf("the new master %d says that it is %s", s.new.pid, r.Phase), nil
	}
	return true, "", op.whoEnded(op.isRight(s.new))
}

// ignored finds that nothing has come of USR2: the first thing that a master does is to
// rename its pid file.
func (op *operation) ignored() bool {
	m, err := markOf(op.o.PidFile)
	return err == nil && m == op.pidMark && !op.signalled.IsZero() && time.Since(op.signalled) > op.o.Pace.Obey
}

// strayed finds a new master that came without the pid file: that names the old one by
// chance, or is a copy. It is ours all the same, and ours to end.
func (op *operation) strayed() bool {
	below, err := children(op.old.pid)
	if err != nil {
		return false
	}
	for _, c := range below[op.old.pid] {
		if !c.isMaster() || !c.ours() {
			continue
		}
		// The file is renamed before a new master comes: it would not be as it was.
		if m, err := markOf(op.o.PidFile); err == nil && m == op.pidMark && op.old.isNamedBy(op.o.PidFile) {
			op.new = &generation{process: c}
			return true
		}
	}
	return false
}

// isRight makes sure that a new master runs the new binary on the old sockets.
func (op *operation) isRight(g *generation) error {
	image, err := g.identify("exe")
	if err != nil {
		return fmt.Errorf("look into master process %d: %w", g.pid, err)
	}
	if want, err := identify(op.record.Binary); err != nil || image != want {
		return fmt.Errorf("master %d runs another file than %s", g.pid, op.record.Binary)
	}
	have, err := listenersOf(g)
	if err != nil {
		return err
	}
	for key, inodes := range op.wanted {
		for _, inode := range inodes {
			if !slices.Contains(have[key], inode) {
				return fmt.Errorf("master %d does not have the old socket of %s: has the configuration changed? Reload first", g.pid, address(key))
			}
		}
	}
	return nil
}

func listenersOf(g *generation) (map[string][]string, error) {
	all, err := sockets(g.pid)
	if err != nil {
		return nil, err
	}
	return listeners(g.pid, all)
}

// accepts reports whether a worker of g still has a listening socket open.
func (g *generation) accepts() (bool, error) {
	all, err := sockets(g.pid)
	if err != nil {
		return false, err
	}
	for _, w := range g.workers {
		// One that ended meanwhile has none.
		if open, err := listeners(w.pid, all); err == nil && len(open) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// probeBoth asks while both generations answer.
func (op *operation) probeBoth(ctx context.Context) (string, error) {
	if len(op.o.Probes) == 0 {
		return "no probes were given", nil
	}
	if err := op.askRounds(ctx, askTimes); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s answered, %d times each", count(len(op.o.Probes), "probe"), askTimes), nil
}

// askRounds asks each URL n times.
func (op *operation) askRounds(ctx context.Context, n int) error {
	for range n {
		if err := probe(ctx, op.o.Probes); err != nil {
			return err
		}
		if err := op.wellNow(ctx); err != nil {
			return err
		}
	}
	return nil
}

// retire ends the old workers, and waits for what they have. As soon as they accept
// nothing it probes again: before, all answers may have been theirs.
func (op *operation) retire(ctx context.Context) (string, error) {
	before := op.old.nowCalled(op.o.PidFile + oldBin).ask(ctx)
	op.told = true
	if err := op.old.signal(syscall.SIGWINCH); err != nil {
		return "", err
	}
	op.o.Fault("WINCH")
	if err := op.awaitAlone(ctx); err != nil {
		return "", err
	}
	if err := op.askRounds(ctx, askTimes); err != nil {
		return "", err
	}
	did, err := op.drain(ctx)
	if err == nil {
		did += op.old.nowCalled(op.o.PidFile+oldBin).retiredSince(ctx, before, op.record.OldWorkers)
	}
	return did, err
}

// awaitAlone waits until no old worker accepts: what is answered from then on, the new
// ones answer.
func (op *operation) awaitAlone(ctx context.Context) error {
	return until(ctx, op.o.Pace.Obey, func() (bool, string, error) {
		s, err := op.see()
		if err != nil {
			return false, "", err
		}
		if s.old.serving() > 0 {
			return false, fmt.Sprintf("master %d still has workers that serve; nginx ignores WINCH under \"daemon off\"", op.old.pid), nil
		}
		accepts, err := s.old.accepts()
		return !accepts, fmt.Sprintf("workers of master %d were told to go and still accept connections", op.old.pid), op.whoEnded(err)
	})
}

// errDraining ends the wait for old workers, and no more.
var errDraining = errors.New("old workers have connections left")

func (op *operation) drain(ctx context.Context) (string, error) {
	began, most, left := time.Now(), 0, 0
	err := until(ctx, op.o.DrainTimeout+lookEvery, func() (bool, string, error) {
		s, err := op.see()
		if err != nil || len(s.old.workers) == 0 {
			return err == nil, "", err
		}
		told, err := s.old.tell()
		if err != nil {
			return false, "", op.whoEnded(err)
		}
		left = told.Connections
		most = max(most, left)
		op.tell(Event{Event: "progress", Step: Retire, Count: most - left, Of: most, Unit: "connections"})
		if time.Since(began) > op.o.DrainTimeout {
			return false, "", errDraining
		}
		return false, "the end of the old workers", nil
	})
	if errors.Is(err, errDraining) {
		return fmt.Sprintf("only the new workers take connections; old ones still have %d and go on", left), nil
	}
	return "only the new workers serve; the old ones are gone", err
}

// soak watches the new generation serve alone.
func (op *operation) soak(ctx context.Context) (string, error) {
	if err := op.awaitAlone(ctx); err != nil { // who goes on after another command was not there then
		return "", err
	}
	if op.o.Soak == 0 {
		return "no soak was asked for", op.askRounds(ctx, 1) // after it there is no way back
	}
	began, counted := time.Now(), op.new.openLedger(ctx, op.newTells)
	every := time.NewTicker(soakEvery)
	defer every.Stop()
	for {
		if err := op.wellNow(ctx); err != nil {
			return "", err
		}
		if err := probe(ctx, op.o.Probes); err != nil {
			return "", err
		}
		is, err := counted.answers(ctx, op.o.Pace.Obey)
		if err == nil {
			err = checkAnswers(op.before, is)
		}
		if err != nil {
			return "", err
		}
		over := time.Since(began)
		op.tell(Event{Event: "progress", Step: Soak, Count: int(over.Seconds()), Of: int(op.o.Soak.Seconds()), Unit: "seconds"})
		if over >= op.o.Soak {
			return fmt.Sprintf("all went well for %v", op.o.Soak), nil
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-op.o.CommitNow:
			return fmt.Sprintf("all went well for %v; it was ended by commit", over.Round(time.Second/10)), nil
		case <-every.C:
		}
	}
}

// see looks at the two masters, which must be those that we know.
func (op *operation) see() (*sight, error) {
	s, err := glance(op.o.PidFile)
	switch {
	case err != nil:
		return nil, err
	case !op.old.same():
		return nil, fmt.Errorf("the old master %d is gone", op.old.pid)
	case s.old == nil || !op.new.same():
		return nil, fmt.Errorf("the new master %d is gone", op.new.pid)
	case s.old.pid != op.old.pid || s.new.pid != op.new.pid:
		return nil, fmt.Errorf("masters %d and %d run, and not %d and %d", s.old.pid, s.new.pid, op.old.pid, op.new.pid)
	}
	return s, nil
}

// whoEnded words an error of a look into a master that ended meanwhile: that it did is the
// cause, and not what could not be read any more.
func (op *operation) whoEnded(err error) error {
	if err == nil {
		return nil
	}
	if _, gone := op.see(); gone != nil {
		return gone
	}
	return err
}

// commit ends the old master. Workers of it that are still draining go on, and so
// does it until they are done.
func (op *operation) commit(ctx context.Context) (string, error) {
	s, err := op.see()
	if err != nil && op.old.same() {
		return "", fmt.Errorf("%w: %w", errNotBegun, err) // it was told nothing: there is a way back
	} else if err != nil {
		return "", err
	}
	draining := len(s.old.workers) > 0
	if err := op.old.signal(syscall.SIGQUIT); err != nil {
		return "", err
	}
	op.o.Fault("QUIT")
	if draining {
		return fmt.Sprintf("the old master %d goes when its last connections end; %s ends them", op.old.pid, s.old.nowCalled(op.o.PidFile+oldBin).asking(ctx).endDrain()), nil
	}
	err = until(context.WithoutCancel(ctx), op.o.Pace.Obey, func() (bool, string, error) {
		gone := !op.old.same() && !exists(op.o.PidFile+oldBin)
		return gone, fmt.Sprintf("the end of the old master %d", op.old.pid), nil
	})
	if err != nil {
		return "", err
	}
	if !op.new.same() || !op.new.isNamedBy(op.o.PidFile) {
		return "", fmt.Errorf("%s does not name the new master %d", op.o.PidFile, op.new.pid)
	}
	return fmt.Sprintf("the old master %d is gone, %s serves", op.old.pid, op.record.NewVersion), nil
}
