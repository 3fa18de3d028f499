package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// revivePatience is how long the old master may take to start its workers again.
	revivePatience = 30 * time.Second
	// toldPatience is how long a signal may take until its effect shows.
	toldPatience = 3 * time.Second
	// killPatience is how long what was killed may take to go.
	killPatience = 10 * time.Second
)

// restore puts the old binary back.
func (op *operation) restore() (string, error) {
	r := &op.record
	if id, err := identify(r.Binary); err == nil && op.old != nil && id != op.old.image {
		op.replaced = id
	}
	switch {
	case r.AsIs:
		return r.Binary + " stays: it was put there by somebody else, and the old one is not kept", nil
	case r.Link != "":
		return r.restoreLink()
	}
	if err := os.Remove(stagedPath(r.Binary)); err != nil && !isMissing(err) {
		return "", err
	}
	if op.old == nil {
		return op.restoreKept()
	}
	if id, err := identify(r.Binary); err == nil && id == op.old.image {
		return r.Binary + " is the old one", nil // it had not been replaced
	}
	if !exists(r.Backup) {
		// Kept by nobody, or under another name: what runs can always be had.
		if err := backUp(r.Binary, op.old.imagePath(), r.Backup); err != nil {
			return "", err
		}
	}
	if err := moveTo(r.Backup, r.Binary); err != nil {
		return "", fmt.Errorf("put %s back: %w", r.Backup, err)
	}
	return r.Binary + " is the old one again", nil
}

// noteStrays tells of processes that run the new binary when its master is gone: it may
// have left some that hold the listening sockets. Workers go by themselves, and another
// server may have been started from the same file: so nothing is done to them.
func (op *operation) noteStrays() {
	if op.replaced == (fileID{}) || op.newNow() != nil { // that one serves alone, and shall stay
		return
	}
	for _, p := range processesOf(op.replaced) {
		if !p.isWorker() {
			op.note("process %d runs the new binary still: kill %d, unless it is another server's", p.pid, p.pid)
		}
	}
}

// revive has the old master start its workers again, unless they run: nginx would
// start them a second time.
func (op *operation) revive(ctx context.Context) (string, error) {
	if op.newNow() == nil {
		// A master whose successor died starts its workers by itself.
		if did, err := op.waitOld(ctx, toldPatience); err == nil {
			return did, nil
		}
	}
	if op.told {
		// A moment ago, maybe: they may still look as if they stayed. Those that do not
		// go in this time were not told.
		_ = until(ctx, toldPatience, func() (bool, string, error) {
			g, err := op.oldNow()
			return err == nil && g.serving() == 0, "", err
		})
	}
	if g, err := op.oldNow(); err != nil {
		return "", err
	} else if g.serving() > 0 {
		return count(g.serving(), "old worker") + " had not gone", nil
	}
	if err := op.old.signal(syscall.SIGHUP); err != nil {
		return "", err
	}
	op.o.Fault("HUP")
	return op.waitOld(ctx, revivePatience)
}

// oldNow returns the old master with the workers it has now.
func (op *operation) oldNow() (*generation, error) {
	if !op.old.same() {
		return nil, fmt.Errorf("the old master %d is gone", op.old.pid)
	}
	below, err := children(op.old.pid)
	if err != nil {
		return nil, err
	}
	g := *op.old
	g.workers = workersIn(below[g.pid])
	return &g, nil
}

// waitOld waits until the old master has as many workers as before.
func (op *operation) waitOld(ctx context.Context, limit time.Duration) (string, error) {
	err := until(ctx, limit, func() (bool, string, error) {
		g, err := op.oldNow()
		if err != nil {
			return false, "", err
		}
		return g.serving() >= op.record.OldWorkers, fmt.Sprintf("%d of %d workers of the old master %d", g.serving(), op.record.OldWorkers, g.pid), nil
	})
	if op.record.OldWorkers == 1 {
		return "1 old worker serves again", err
	}
	return count(op.record.OldWorkers, "old worker") + " serve again", err
}

// end ends the new master: it is asked to serve what it has, then told to exit, then
// killed, with its workers.
func (op *operation) end(ctx context.Context) (string, error) {
	g, err := op.awaitNew(ctx)
	if g == nil {
		return "there is no new master", err
	}
	// Whoever serves alone is left alone, however bad: worse than a bad answer is none.
	if err := until(ctx, toldPatience, func() (bool, string, error) {
		old, err := op.oldNow()
		return err == nil && old.serving() > 0, "workers of the old master", err
	}); err != nil {
		return "", fmt.Errorf("the new master %d goes on, since nobody else serves: %w", g.pid, err)
	}
	for _, try := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGQUIT, max(op.o.DrainTimeout, op.o.Pace.Obey)}, {syscall.SIGTERM, op.o.Pace.Obey}} {
		if err := g.signal(try.sig); err != nil {
			break // gone, or not ours: the kill below tells
		}
		if op.waitGone(ctx, g, try.wait) == nil {
			return fmt.Sprintf("the new master %d is gone", g.pid), nil
		}
	}
	if g.same() {
		for _, p := range append([]process{g.process}, g.workers...) {
			if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, errGone) {
				return "", err
			}
		}
	}
	err = until(ctx, killPatience, func() (bool, string, error) {
		return !g.same(), fmt.Sprintf("the end of the new master %d, which was killed", g.pid), nil
	})
	return fmt.Sprintf("the new master %d had to be killed", g.pid), err
}

// awaitNew returns the new master, or nil when there is none and none will come: a
// signal that was sent just now may still have its effect.
func (op *operation) awaitNew(ctx context.Context) (*generation, error) {
	g := op.newNow()
	if g != nil || op.new != nil || op.calm {
		return g, nil
	}
	err := until(ctx, toldPatience, func() (bool, string, error) {
		if m, err := markOf(op.o.PidFile); err == nil && m != op.pidMark && op.old.isNamedBy(op.o.PidFile) && !exists(op.o.PidFile+oldBin) {
			return true, "", nil // it was there, and the old master has tidied up
		}
		g = op.newNow()
		return g != nil, "", nil
	})
	if ctx.Err() != nil {
		return nil, err
	}
	return g, nil
}

// waitGone waits for the end of a master that was asked to go. It gives up at once,
// in a way, when the master does not begin to: then more time helps nobody.
func (op *operation) waitGone(ctx context.Context, g *generation, limit time.Duration) error {
	began := time.Now()
	return until(ctx, limit, func() (bool, string, error) {
		if !g.same() {
			return true, "", nil
		}
		below, err := children(g.pid)
		if err != nil {
			return false, "", err
		}
		// Whoever came since is to be killed, too.
		g.workers = workersIn(below[g.pid])
		if time.Since(began) > op.o.Pace.Obey/2 && (len(g.workers) == 0 || g.serving() > 0) {
			return false, "", errors.New("it does not go")
		}
		return false, "its end", nil
	})
}

// newNow returns the new master, whether or not it ever came to serve, or nil.
func (op *operation) newNow() *generation {
	if s, err := glance(op.o.PidFile); err == nil && s.old != nil && s.old.pid == op.old.pid {
		op.new = s.new
	}
	if op.new == nil || !op.new.same() {
		return nil
	}
	g := *op.new
	if below, err := children(g.pid); err == nil {
		g.workers = workersIn(below[g.pid])
	}
	return &g
}

// verify makes sure that all is as before.
func (op *operation) verify(ctx context.Context) (string, error) {
	op.noteStrays()
	f := op.o.PidFile
	err := until(ctx, op.o.Pace.Obey, func() (bool, string, error) {
		if !op.old.same() {
			return false, "", fmt.Errorf("the old master %d is gone", op.old.pid)
		}
		return op.old.isNamedBy(f) && !exists(f+oldBin), "the old pid file", nil
	})
	// A master that missed the end of the new one does not rename the file.
	if err != nil && op.old.isNamedBy(f+oldBin) && op.newNow() == nil {
		err = os.Rename(f+oldBin, f)
	}
	if err != nil {
		return "", err
	}
	if _, err := op.waitOld(ctx, revivePatience); err != nil {
		return "", err
	}
	if err := until(ctx, probePatience, func() (bool, string, error) {
		err := probe(ctx, op.o.Probes)
		return err == nil, text(err), nil
	}); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, master %d, serves as before", op.record.OldVersion, op.old.pid), syncFolder(filepath.Dir(op.record.Binary))
}
