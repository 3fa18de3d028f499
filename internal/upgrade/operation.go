package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Run upgrades a server as o says, and returns how that ended. A nil error means
// [Done]; with a dry run that it would be tried. With an error the outcome tells
// whether the old version serves as before. The error wraps [ErrNothingRuns],
// [ErrBusy], or is what o.Validate says.
//
// When ctx is cancelled what was done is undone before Run returns.
func Run(ctx context.Context, o Options) (Outcome, error) {
	if err := o.Validate(); err != nil {
		return Failed, err
	}
	return newOperation(o).concluded(func(op *operation) (Outcome, error) { return op.run(ctx) })
}

func newOperation(o Options) *operation { return &operation{o: o.withDefaults(), began: time.Now()} }

// concluded runs one way to go and tells how it ended.
func (op *operation) concluded(way func(*operation) (Outcome, error)) (Outcome, error) {
	outcome := Failed
	if op.o.To != "" {
		op.fresh = openFor(op.o.To)
	}
	var err error
	if aerr := actFor(op.o.PidFile, func() {
		outcome, err = way(op)
		op.conclude(outcome, err)
	}); aerr != nil {
		op.conclude(Failed, aerr)
		return Failed, aerr
	}
	return outcome, err
}

// An operation is one upgrade under way. One goroutine runs it.
type operation struct {
	o     Options
	began time.Time

	journal *journal // nil for a dry run where there is none
	record  record
	opened  bool // the record is in the journal
	// silenced: the journal could not be written, and that was told.
	silenced bool
	staged   string // the new binary, beside the place that it is for; "" when it went there
	// fresh is the new binary, open; nil until it is looked at, unless root has opened it
	// for the user whose server it is.
	fresh *os.File
	// same: the new binary is what runs, and there is nothing to do.
	same bool

	old *generation
	// new is the new master; nil while none was seen.
	new      *generation
	newTells bool // of itself
	// replaced is the new binary that was in the place of the old one, until that came back.
	replaced fileID
	// wanted are the old master's listening sockets, by address.
	wanted  map[string][]string
	pidMark mark
	// signalled is when the old master was sent USR2; zero when it was not by us.
	signalled time.Time
	// told: the old workers were told to go, or may have been.
	told bool
	// calm: whatever a signal to the old master does was waited for.
	calm bool
	// asked: an operator asked for the way back.
	asked bool
	log   errorLog
	// before is how the old generation answered until the upgrade began.
	before answers
	crew   crew
}

// exitStatuses are part of the interface of the command.
const (
	exitDone        = 0
	exitFailed      = 1
	exitNothingRuns = 3
	exitBusy        = 4
	exitStuck       = 5
)

// ExitStatus returns the exit status that tells of an outcome and its error.
func ExitStatus(outcome Outcome, err error) int {
	switch {
	case err == nil:
		return exitDone
	case outcome == Stuck:
		return exitStuck
	case errors.Is(err, ErrNothingRuns):
		return exitNothingRuns
	case errors.Is(err, ErrBusy):
		return exitBusy
	}
	return exitFailed
}

func (op *operation) run(ctx context.Context) (Outcome, error) {
	if err := op.open(ctx); err != nil {
		return Failed, err
	}
	defer op.close()
	if op.journal != nil {
		if a := last(op.journal.entries); a != nil && a.closed.IsZero() {
			return Failed, fmt.Errorf("the upgrade of %s was interrupted: \"baton upgrade --resume\" goes on with it, \"baton rollback\" goes back",
				a.opened.Format(time.DateTime))
		}
	}
	return op.follow(ctx, &plan{}, "")
}

// follow does the steps of p that come after last, to the end.
func (op *operation) follow(ctx context.Context, p *plan, last Step) (Outcome, error) {
	var cause error
	step, outcome := p.next(last, true)
	for step != "" {
		if p.back {
			ctx = context.WithoutCancel(ctx) // going back is not cancelled
		}
		err := op.perform(ctx, step)
		if err != nil {
			cause = errors.Join(cause, err)
			op.asked = op.asked || ctx.Err() != nil
		}
		if step == Check && err == nil && op.same {
			return Unchanged, nil
		}
		if step == Check && err == nil && op.o.DryRun {
			return Done, nil
		}
		if errors.Is(err, errNotBegun) {
			p.begun = slices.DeleteFunc(p.begun, func(s Step) bool { return s == step })
			step = undoNow
		}
		step, outcome = p.next(step, err == nil)
	}
	if op.opened {
		e := entry{Event: "close", Outcome: outcome, Error: text(cause), Asked: op.asked}
		if outcome == Failed && cause == nil {
			e.Error = "rolled back"
		}
		op.unwritten(op.journal.write(e))
	}
	return outcome, cause
}

// open takes the lock.
func (op *operation) open(ctx context.Context) error {
	// First, so that where nothing runs no file is created.
	s, err := glance(op.o.PidFile)
	if err != nil {
		return leftBehind(op.o.PidFile, orLost(ctx, op.o.PidFile, err))
	}
	if err := s.mayLook(); err != nil {
		return err
	}
	if op.o.DryRun && !exists(op.o.PidFile+journalSuffix) {
		return ctx.Err()
	}
	op.journal, err = openJournal(op.o.PidFile, op.began)
	return err
}

func (op *operation) close() {
	op.unstage()
	if op.fresh != nil {
		op.fresh.Close()
	}
	if op.journal != nil {
		op.journal.close()
	}
}

// errNotBegun says that a step was not begun: it could not be written down, or what it
// ends had ended before.
var errNotBegun = errors.New("not begun")

// perform does one step, and tells and writes down that it begins and how it ends.
func (op *operation) perform(ctx context.Context, step Step) error {
	began := time.Now()
	op.tell(Event{Event: "begin", Step: step})
	did, err := op.carryOut(ctx, step)
	op.tell(Event{Event: "end", Step: step, Text: did, Seconds: seconds(time.Since(began)), Error: text(err)})
	return err
}

func (op *operation) carryOut(ctx context.Context, step Step) (did string, err error) {
	// What is done is not made better by stopping here.
	final := isUndo(step) || step == Commit
	if err := op.write(step, entry{Event: "begin"}); err != nil && !isUndo(step) {
		return "", fmt.Errorf("%s: %w: %w", step, errNotBegun, err)
	} else if err != nil {
		op.unwritten(err)
	}
	op.o.Fault("begun " + string(step))
	did, err = op.do(ctx, step)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // and not what was broken off
	}
	op.o.Fault("did " + string(step))
	e := entry{Event: "done"}
	if err != nil {
		err = fmt.Errorf("%s: %w", step, err)
		e = entry{Event: "failed", Error: text(err), Asked: ctx.Err() != nil}
	}
	if werr := op.write(step, e); final {
		op.unwritten(werr)
	} else {
		err = errors.Join(err, werr)
	}
	return did, err
}

// unwritten tells, once, that the journal is not true any more: no reason not to undo,
// and no failure of what is done. nil is none.
func (op *operation) unwritten(err error) {
	if err == nil || op.silenced {
		return
	}
	op.silenced = true
	op.note("%v: status will take this for an interrupted upgrade", err)
}

// write writes e about step to the journal. Checking changes nothing, so there is
// nothing to remember.
func (op *operation) write(step Step, e entry) error {
	if step == Check {
		return nil
	}
	if !op.opened {
		// The record is there before anything needs an undo.
		if err := op.journal.write(entry{Event: "open", Record: &op.record}); err != nil {
			return err
		}
		op.opened = true
	}
	e.Step = step
	return op.journal.write(e)
}

func isUndo(step Step) bool { return slices.Contains(undoing(), step) }

// do does one step and returns what it did, in words.
func (op *operation) do(ctx context.Context, step Step) (string, error) {
	switch step {
	case Check:
		return op.check(ctx)
	case Replace:
		return op.replace()
	case Switch:
		return op.switchOver(ctx)
	case Probe:
		return op.probeBoth(ctx)
	case Retire:
		return op.retire(ctx)
	case Soak:
		return op.soak(ctx)
	case Commit:
		return op.commit(ctx)
	case Restore:
		return op.restore()
	case Revive:
		return op.revive(ctx)
	case End:
		return op.end(ctx)
	case Verify:
		return op.verify(ctx)
	}
	panic("upgrade: no such step: " + string(step))
}

func (op *operation) tell(e Event) {
	e.Schema, e.Time = Schema, time.Now()
	op.o.Tell(e)
}

func (op *operation) note(format string, args ...any) {
	op.tell(Event{Event: "note", Text: fmt.Sprintf(format, args...)})
}

// conclude tells how it ended.
func (op *operation) conclude(outcome Outcome, err error) {
	status := ExitStatus(outcome, err)
	e := Event{Event: "result", Result: outcome, ExitStatus: &status, Error: text(err), Seconds: seconds(time.Since(op.began))}
	// Before it was opened nobody had a reason to log anything, and who asked knows why.
	if err != nil && op.opened && (outcome == Stuck || !op.asked) {
		const lastLines = 5
		e.Log = op.log.trouble(lastLines)
	}
	e.Next = op.next(outcome, err)
	op.tell(e)
}

// next returns what to type after that.
func (op *operation) next(outcome Outcome, err error) []Command {
	look := Command{at(op.o.PidFile, "status"), "see what runs"}
	switch {
	case errors.Is(err, ErrNothingRuns):
		return nil
	case errors.Is(err, ErrBusy):
		return []Command{look}
	case outcome == Failed && op.opened && op.o.To != "":
		again := at(op.o.PidFile, "upgrade") + " " + command("--to", op.o.To)
		if !op.asked {
			again += " --retry"
		}
		return []Command{{again, "try the same build again"}}
	case outcome != Stuck:
		return nil
	}
	return append([]Command{look}, op.wayOut()...)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
