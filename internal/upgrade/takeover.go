package upgrade

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// ErrNothingToDo says that there is no upgrade to go on with, or to undo.
var ErrNothingToDo = errors.New("no upgrade is under way")

// An intent is where an operator wants an upgrade to go that somebody began.
type intent string

const (
	toEnd    intent = "resume"   // on, as if nothing had happened
	toCommit intent = "commit"   // on, without a soak
	toBack   intent = "rollback" // back
)

// Resume goes on with an upgrade that was interrupted, from what the journal and the
// processes tell. One that was on its way back goes on back. Otherwise it is [Run].
func Resume(ctx context.Context, o Options) (Outcome, error) { return takeOver(ctx, o, toEnd) }

// Finish commits an upgrade: it ends the soak of the command that runs it, or does
// what is left after it was interrupted, or begun by hand.
func Finish(ctx context.Context, o Options) (Outcome, error) { return takeOver(ctx, o, toCommit) }

// Rollback goes back from an upgrade, whoever began it. The command that runs it is
// asked to do that. After a commit the old binary is upgraded to. [Done] means that
// the old version serves.
func Rollback(ctx context.Context, o Options) (Outcome, error) { return takeOver(ctx, o, toBack) }

func takeOver(ctx context.Context, o Options, want intent) (Outcome, error) {
	return newOperation(o).concluded(func(op *operation) (Outcome, error) {
		err := op.open(ctx)
		switch {
		case errors.Is(err, ErrBusy) && want != toEnd:
			return op.askOperator(ctx, want)
		case errors.Is(err, ErrNothingRuns) && want == toBack:
			return Failed, op.restoreAlone(ctx, err)
		}
		if err != nil {
			return Failed, err
		}
		defer op.close()
		return op.goOn(ctx, want)
	})
}

// goOn finds out where an upgrade stands and takes it where it is wanted.
func (op *operation) goOn(ctx context.Context, want intent) (Outcome, error) {
	a := last(op.journal.entries)
	interrupted := a != nil && a.closed.IsZero()
	if interrupted {
		op.settleDown(ctx, a)
	}
	s, err := examine(ctx, op.o.PidFile)
	if err == nil && s.phase() == Committed && want == toBack {
		s, err = op.awaitLeft(ctx, s.old)
	}
	switch {
	case err != nil:
		return Failed, err
	case !interrupted && s.phase() == Committed:
		return Failed, fmt.Errorf("%w: the last one is committed, and the old master %d finishes what it has", ErrNothingToDo, s.old.pid)
	case !interrupted && s.old == nil && a != nil && want == toBack:
		return op.backTo(ctx, s, a)
	case !interrupted && s.old == nil:
		return Failed, ErrNothingToDo
	case !interrupted:
		a = &account{} // begun by hand
	}
	if err := op.adopt(ctx, s, a); err != nil {
		return Failed, err
	}
	if interrupted {
		op.journal.id, op.opened = a.id, true
		// On its way back by itself already, it is not asked to be.
		op.asked = a.asked || want == toBack && !slices.ContainsFunc(a.begun, isUndo)
		err := op.journal.write(entry{Event: "resume", Asked: op.asked})
		if err != nil && want != toBack {
			return Failed, err
		}
		op.unwritten(err)
	}
	r := route(standing{
		masters: len(s.generations()), phase: s.phase(), begun: a.begun,
		oldLives: s.old != nil && !s.old.leaving || s.old == nil && s.new.pid == a.record.OldMaster && s.new.start == a.record.OldStart,
	}, want)
	if r.over {
		return op.over(ctx, s, want)
	}
	return op.travel(ctx, r, a.begun, want)
}

// settleDown waits for what a signal does that was maybe sent just before its sender
// was killed: a new master that comes, or an old one that goes.
func (op *operation) settleDown(ctx context.Context, a *account) {
	waits := func(s *sight) bool {
		old := s.old == nil && s.new.pid == a.record.OldMaster
		return slices.Contains(a.begun, Commit) && s.old != nil ||
			slices.Contains(a.begun, Switch) && !slices.Contains(a.begun, End) && old
	}
	// When nothing comes of it nothing was sent.
	_ = until(ctx, toldPatience, func() (bool, string, error) {
		s, err := glance(op.o.PidFile)
		return err == nil && !waits(s), "", nil
	})
	op.calm = true
}

// awaitLeft waits for the end of an old master that was told to go: it cannot come
// back, and until it is gone its successor does not upgrade.
func (op *operation) awaitLeft(ctx context.Context, old *generation) (*sight, error) {
	op.note("the upgrade is committed: waiting for the old master %d, which finishes what it has", old.pid)
	err := until(ctx, op.o.DrainTimeout, func() (bool, string, error) { return !old.same(), "its end", nil })
	if err != nil {
		return nil, fmt.Errorf("%w: it is committed, and the old master %d, which cannot come back, finishes what it has: %w; once it is gone (%s ends it) rollback upgrades to the old version",
			ErrBusy, old.pid, err, old.endDrain())
	}
	return examine(ctx, op.o.PidFile)
}

// backTo goes back after a commit, by an upgrade to what was kept.
func (op *operation) backTo(ctx context.Context, s *sight, a *account) (Outcome, error) {
	r := a.record
	if a.outcome != Done || !exists(r.Backup) {
		return Failed, ErrNothingToDo
	}
	if !r.isOf(s.new) {
		return Failed, fmt.Errorf("%w: the last one was of %s, and %s runs", ErrNothingToDo, r.Binary, s.new.binary)
	}
	if err := r.believedOf(s.new); err != nil {
		return Failed, err
	}
	op.note("the upgrade to %s was committed: upgrading to the %s that was kept", r.NewVersion, r.OldVersion)
	op.o.To, op.o.Retry, op.o.AllowMissingModules = r.Backup, true, true
	return op.follow(ctx, &plan{}, "")
}

// isOf reports whether the upgrade that r tells of was of what g executes.
func (r *record) isOf(g *generation) bool {
	if r.Link != "" {
		return r.Binary == g.binary
	}
	found, err := filepath.EvalSymlinks(g.binary)
	return err == nil && found == r.Binary
}

// believedOf finds that r names other files than an upgrade of g would.
func (r *record) believedOf(g *generation) error {
	found, err := filepath.EvalSymlinks(g.binary)
	if err != nil {
		found = g.binary // it is missing
	}
	return r.believed(g.binary, found)
}

// adopt makes the operation what it was for whoever began it.
func (op *operation) adopt(ctx context.Context, s *sight, a *account) error {
	op.old, op.new = s.old, s.new
	if s.old == nil {
		op.old, op.new = s.new, nil
	}
	op.newTells = op.new != nil && op.new.report != nil
	op.log, op.before = findErrorLog(op.old.process), op.old.answersSoFar(ctx)
	var err error
	if op.wanted, err = listenersOf(op.old); err != nil {
		return err
	}
	if op.pidMark, err = markOf(op.o.PidFile); err != nil && !isMissing(err) {
		return err
	}
	if a.id != "" {
		if err := a.record.believedOf(op.old); err != nil {
			return err
		}
		op.told = slices.Contains(a.begun, Retire)
		op.recall(a.record)
		return nil
	}
	op.told = true
	// Begun by hand: what is not known is what a person would take.
	r := &op.record
	r.OldVersion, r.NewVersion = op.old.version, s.new.version
	r.OldMaster, r.OldStart = op.old.pid, op.old.start
	r.OldWorkers = max(1, op.old.serving())
	if _, real, err := wayTo(op.old.binary); err == nil && op.planLink(real) {
		return nil
	}
	r.Binary, err = filepath.EvalSymlinks(op.old.binary)
	if isMissing(err) {
		r.Binary, err = op.old.binary, nil
	}
	if err == nil {
		r.Backup, err = planBackup(r.Binary, op.old.imagePath(), op.old.version)
	}
	return err
}

// recall goes on as the command was told that is not there any more. What it was
// allowed to take, it was allowed to.
func (op *operation) recall(r record) {
	op.record, op.o.To = r, r.To
	op.o.Retry, op.o.AllowMissingModules = true, true
	if len(op.o.Probes) == 0 {
		op.o.Probes = r.Probes
	}
	if op.o.SoakAsBegun {
		op.o.Soak = time.Duration(r.SoakSeconds * float64(time.Second))
	}
}

// A standing is what the way on depends on.
type standing struct {
	masters  int
	phase    Phase
	oldLives bool   // the master that was to be replaced is there, and was not told to go
	begun    []Step // by whoever was interrupted; none when begun by hand
}

// A way is a part of a plan.
type way struct {
	// after is the step that counts as done; what follows it is to be done.
	after Step
	// back: undo instead.
	back bool
	// over: there is nothing left to do: the new version serves alone.
	over bool
}

// route returns the way from where an upgrade stands to where it is wanted. It does
// no I/O.
func route(s standing, want intent) way {
	goesBack := slices.ContainsFunc(s.begun, isUndo)
	switch {
	case !s.oldLives:
		return way{over: true}
	case want == toBack || goesBack || s.masters == 1 && want == toCommit:
		return way{back: true}
	case s.masters == 1:
		return way{after: ""} // from the start: what is in place already is taken as it is
	}
	switch s.phase {
	case Starting, Both, RolledBack, Silent:
		return way{after: Replace}
	}
	return way{after: Retire}
}

// travel goes a way. begun are the steps that somebody else began: whatever fails
// now, these are undone too.
func (op *operation) travel(ctx context.Context, r way, begun []Step, want intent) (Outcome, error) {
	if want == toCommit {
		op.o.Soak = 0
	}
	p := &plan{begun: begun}
	if op.new != nil {
		p.begun = []Step{Replace, Switch, Retire} // at most; what was not is found as it should be
	}
	if r.after == Retire && op.muster() != nil {
		r.back = true
	}
	if !r.back {
		return op.follow(ctx, p, r.after)
	}
	op.asked = op.asked || want == toBack && !slices.ContainsFunc(begun, isUndo)
	outcome, err := op.follow(ctx, p, undoNow)
	switch {
	case outcome == Failed && err == nil && want == toBack:
		return Done, nil
	case err == nil:
		err = errors.New("it was on its way back: the old version serves as before")
	}
	return outcome, err
}

// muster takes the new workers that are there for those that shall stay.
func (op *operation) muster() error {
	s, err := op.see()
	if err != nil {
		return err
	}
	op.crew.load = loadOf(op.new.report)
	return op.crew.look(s.new)
}

// over ends an upgrade whose old master is gone.
func (op *operation) over(ctx context.Context, s *sight, want intent) (Outcome, error) {
	sum, err := checksum(s.new.imagePath())
	if err != nil {
		return Failed, fmt.Errorf("look at what runs: %w", err)
	}
	if s.old == nil && sum != op.record.Checksum {
		// The machine was started anew, before the new binary was in its place.
		op.record.OldMaster, op.record.OldStart = s.new.pid, s.new.start
		op.record.OldVersion, op.record.OldWorkers = s.new.version, 1
		return op.travel(ctx, way{back: true}, []Step{Replace}, want)
	}
	if s.old == nil {
		op.note("the old master is gone: %s serves", op.record.NewVersion)
	} else {
		op.note("%s serves; the old master %d finishes what it has", op.record.NewVersion, s.old.pid)
	}
	if op.unwritten(op.journal.write(entry{Event: "close", Outcome: Done})); want != toBack {
		return Done, nil
	}
	a := account{record: op.record, outcome: Done}
	op.journal.id += "b" // a record of its own
	op.opened, op.new = false, nil
	return op.backTo(ctx, s, &a)
}

// askOperator has the command that runs the upgrade do what is wanted, and tells how
// that ended.
func (op *operation) askOperator(ctx context.Context, want intent) (Outcome, error) {
	entries, err := readJournal(op.o.PidFile)
	if err != nil {
		return Failed, err
	}
	a := last(entries)
	if a == nil || !a.closed.IsZero() {
		return Failed, fmt.Errorf("%w, which has not begun to change anything", ErrBusy)
	}
	sig := syscall.SIGTERM // SIGINT may be ignored there
	if want == toCommit {
		sig = syscall.SIGUSR1
	}
	if err := a.operator.signal(sig); err != nil {
		return Failed, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	op.note("asked process %d, which runs the upgrade", a.operator.pid)
	limit := op.o.ReadyTimeout + 2*op.o.DrainTimeout + revivePatience
	var end *account
	err = until(ctx, limit, func() (bool, string, error) {
		entries, err := readJournal(op.o.PidFile)
		if err != nil {
			return false, "", err
		}
		for _, b := range accounts(entries) {
			if b.id == a.id && !b.closed.IsZero() {
				end = b
			}
		}
		if end == nil && !a.operator.same() {
			return false, "", errors.New("the command that ran the upgrade is gone: once more, please")
		}
		return end != nil, "the end of the upgrade", nil
	})
	switch {
	case err != nil:
		return Failed, err
	case end.outcome == Stuck:
		return Stuck, errors.New(end.err)
	case want == toBack && end.outcome == Done:
		return Failed, errors.New("it was too late: the upgrade is committed; once more goes back to the old version")
	case want == toCommit && end.outcome == Failed:
		return Failed, errors.New(end.err)
	}
	return Done, nil
}
