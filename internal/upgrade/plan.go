package upgrade

import "slices"

// A Step is one thing that an upgrade or its undo does. The texts are part of the
// output and of the journal.
type Step string

const (
	// Check looks whether the upgrade can work. It changes nothing.
	Check Step = "check"
	// Replace keeps the old binary and puts the new one in its place.
	Replace Step = "replace"
	// Switch has the old master execute the new binary and waits until it serves.
	Switch Step = "switch"
	// Probe asks the server while both generations answer.
	Probe Step = "probe"
	// Retire ends the old workers and waits for what they have.
	Retire Step = "retire"
	// Soak watches the new generation serve alone.
	Soak Step = "soak"
	// Commit ends the old master. There is no way back after it.
	Commit Step = "commit"

	// Restore puts the old binary back. Undoes Replace.
	Restore Step = "restore"
	// Revive starts the old workers again. Undoes Retire.
	Revive Step = "revive"
	// End ends the new master. Undoes Switch.
	End Step = "end"
	// Verify makes sure that all is as before: pid file, workers, probes.
	Verify Step = "verify"
)

// forward are the steps of an upgrade, each with the step that undoes it.
func forward() []struct{ do, undo Step } {
	return []struct{ do, undo Step }{
		{Check, ""},
		{Replace, Restore},
		{Switch, End},
		{Probe, ""},
		{Retire, Revive},
		{Soak, ""},
		{Commit, ""},
	}
}

// undoing is the order in which steps are undone: the old binary is in place before
// anything may start it, and the old workers serve before the new ones go.
func undoing() []Step { return []Step{Restore, Revive, End, Verify} }

// An Outcome is how an upgrade ended. The texts are part of the output.
type Outcome string

const (
	// Done: the new version serves, and the old one is gone.
	Done Outcome = "done"
	// Unchanged: the version that was asked for serves already.
	Unchanged Outcome = "unchanged"
	// Failed: the old version serves as before.
	Failed Outcome = "failed"
	// Stuck: it could not be undone, and a person must look.
	Stuck Outcome = "stuck"
)

// undoNow, as the step that has ended, begins to undo what was begun.
const undoNow Step = "undo"

// A plan decides what comes next from what came before. It does no I/O.
type plan struct {
	begun []Step // forward steps that were begun, in order
	undo  []Step // what is left to undo; nil while all goes well
	back  bool   // on the way back
	stuck bool   // something could not be undone
}

// next returns the step that follows. last is the step that has ended, "" for none
// yet, and ok whether it went well. The step is "" when there is nothing left to do,
// and outcome then says how it ended.
func (p *plan) next(last Step, ok bool) (step Step, outcome Outcome) {
	switch {
	case p.back:
		// A failure to undo one thing is no reason not to undo the next: the more is
		// as before, the less there is to look at.
		p.stuck = p.stuck || !ok
		return p.nextUndo()
	case last == undoNow:
		return p.goBack()
	case last == Commit && !ok:
		return "", Stuck // it may be too late for going back
	case !ok:
		return p.goBack()
	}
	steps := forward()
	i := slices.IndexFunc(steps, func(s struct{ do, undo Step }) bool { return s.do == last })
	if i+1 == len(steps) {
		return "", Done
	}
	p.begun = append(p.begun, steps[i+1].do)
	return steps[i+1].do, ""
}

// goBack begins to undo all that was begun.
func (p *plan) goBack() (Step, Outcome) {
	p.back = true
	for _, u := range undoing() {
		undoes := func(s struct{ do, undo Step }) bool { return s.undo == u && slices.Contains(p.begun, s.do) }
		if slices.ContainsFunc(forward(), undoes) {
			p.undo = append(p.undo, u)
		}
	}
	if len(p.undo) > 0 {
		p.undo = append(p.undo, Verify)
	}
	return p.nextUndo()
}

func (p *plan) nextUndo() (Step, Outcome) {
	switch {
	case len(p.undo) > 0:
		step := p.undo[0]
		p.undo = p.undo[1:]
		return step, ""
	case p.stuck:
		return "", Stuck
	}
	return "", Failed
}
