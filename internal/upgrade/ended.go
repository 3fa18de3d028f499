package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// leftBehind adds to an error that wraps [ErrNothingRuns] what an upgrade left that was
// interrupted, by the end of the machine maybe, and how to go on from there.
func leftBehind(pidFile string, err error) error {
	if !errors.Is(err, ErrNothingRuns) {
		return err
	}
	entries, jerr := readJournal(pidFile)
	a := last(entries)
	switch {
	case jerr != nil:
		return errors.Join(err, jerr)
	case a == nil || !a.closed.IsZero() || a.operator.same():
		return err
	}
	which := "not the new one"
	if berr := a.record.believed("", ""); berr != nil {
		return errors.Join(err, berr)
	}
	if sum, serr := checksum(a.record.Binary); serr == nil && sum == a.record.Checksum {
		which = "the new one"
	}
	return fmt.Errorf("%w; the upgrade of %s to %s was interrupted in %s, and %s is %s: "+
		"\"baton rollback\" puts the old one there, or start the server and \"baton upgrade --resume\" goes on",
		err, a.opened.Local().Format(time.DateTime), a.record.NewVersion, a.lastStep(), a.record.Binary, which)
}

// lastStep returns the step that was begun last, "" for none.
func (a *account) lastStep() Step {
	if len(a.begun) == 0 {
		return ""
	}
	return a.begun[len(a.begun)-1]
}

// restoreAlone goes back from an interrupted upgrade of a server that does not run any
// more: whoever starts it starts the old version. It returns nothing, the error that
// says that nothing runs, when there is nothing to undo.
func (op *operation) restoreAlone(ctx context.Context, nothing error) error {
	if !exists(op.o.PidFile + journalSuffix) {
		return nothing
	}
	var err error
	if op.journal, err = openJournal(op.o.PidFile, op.began); errors.Is(err, ErrBusy) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w; %w", nothing, err)
	}
	defer op.close()
	a := last(op.journal.entries)
	if a == nil || !a.closed.IsZero() {
		return nothing
	}
	if err := a.record.believed("", ""); err != nil {
		return fmt.Errorf("%w; %w", nothing, err)
	}
	op.recall(a.record)
	op.journal.id, op.opened = a.id, true
	op.asked = a.asked || !slices.ContainsFunc(a.begun, isUndo)
	op.unwritten(op.journal.write(entry{Event: "resume", Asked: op.asked}))
	return op.restoreOnly(context.WithoutCancel(ctx))
}

// restoreOnly does that one step, and closes the upgrade when it went well.
func (op *operation) restoreOnly(ctx context.Context) error {
	if err := op.perform(ctx, Restore); err != nil {
		return fmt.Errorf("%w; %w", ErrNothingRuns, err)
	}
	op.unwritten(op.journal.write(entry{Event: "close", Outcome: Failed, Error: "rolled back while nothing ran", Asked: op.asked}))
	return fmt.Errorf("%w; the old version is in its place again: start it", ErrNothingRuns)
}

// restoreKept puts back what was kept of the old binary, when no process has it any more.
func (op *operation) restoreKept() (string, error) {
	r := op.record
	sum, err := checksum(r.Binary)
	switch {
	case err != nil && !isMissing(err):
		return "", err
	case err == nil && sum != r.Checksum:
		return r.Binary + " is not the new one", nil // it had not been replaced
	case !exists(r.Backup):
		return "", fmt.Errorf("%s is the new one, and the old one was not kept as %s", r.Binary, r.Backup)
	}
	if err := moveTo(r.Backup, r.Binary); err != nil {
		return "", fmt.Errorf("put %s back: %w", r.Backup, err)
	}
	return r.Binary + " is the old one again", nil
}

// wayOut returns what a person types where nothing could be undone.
func (op *operation) wayOut() (next []Command) {
	r := op.record
	s, err := glance(op.o.PidFile)
	switch {
	case err != nil:
	case s.phase() == Serving && s.new.pid == op.old.pid:
		for _, url := range op.o.Probes {
			next = append(next, Command{command("curl", "-i", url), "see what the old version answers"})
		}
	case s.phase() == Serving: // the old master is gone
		again := at(op.o.PidFile, "upgrade", "--retry", "--allow-missing-modules") + " --to "
		return []Command{
			{again + shellWord(r.To), "stay with " + r.NewVersion + ": its file is put in place"},
			{again + shellWord(r.Binary), "or go back to " + r.OldVersion},
		}
	default:
		next = s.next()
	}
	if r.inPlace() {
		if now, err := os.Readlink(r.Link); r.Link != "" && (err != nil || now != r.LinkFrom) {
			next = append(next, Command{command("ln", "-sfn", r.LinkFrom, r.Link), "have the link lead to the old release"})
		}
		return next
	}
	if id, err := identify(r.Binary); exists(r.Backup) && (err != nil || id != op.old.image) {
		next = append(next, Command{command("mv", r.Backup, r.Binary), "put the old binary back"})
	}
	return next
}
