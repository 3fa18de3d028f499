package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

const (
	oldVersion     = "1.0.0"
	newVersion     = "2.0.0"
	newConnections = "new connections" // the group that must lose nothing

	questions = 12  // asked after each step, to see who answers
	answers   = 150 // that the load gets for each group between two steps
)

// What the processes look like in the course of an upgrade.
const (
	nobody   = ""
	oneAlone = `nginx: master process
  nginx: worker process
  nginx: worker process
`
	bothServe = oneAlone + `  nginx: master process
    nginx: worker process
    nginx: worker process
`
	newServes = `nginx: master process
  nginx: master process
    nginx: worker process
    nginx: worker process
`
	oldServes = `nginx: master process
  nginx: worker process
  nginx: worker process
  nginx: master process
`
)

// A step is one thing an operator does and what must come of it.
type step struct {
	what    string // in words
	command string // {old} and {new} stand for the masters' process ids
	shape   string // of the processes, afterwards
	by      string // whose workers answer then: "old", "new", "both" or "nobody"
	quiet   bool   // a change on disk only: nothing to look at
}

// commands is how our own commands do it: from end to end, back from there, and back
// from where somebody else left off.
func commands(start string) []step {
	const (
		at      = " --pid-file $P/logs/nginx.pid"
		upgrade = "$BATON upgrade" + at + " --to $NEW --probe http://$ADDR/"
	)
	return []step{
		{what: "start the old version", command: start, shape: oneAlone, by: "old"},
		{what: "upgrade: check, replace, switch, probe, retire, watch, commit", command: upgrade + " --soak 2s", shape: oneAlone, by: "old"},
		{what: "roll back after the commit: upgrade to the binary that was kept", command: "$BATON rollback" + at, shape: oneAlone, by: "old"},

		{what: "begin by hand: put the new binary in its place", command: "cp -f $NEW $P/sbin/nginx", shape: oneAlone, by: "old", quiet: true},
		{what: "a new master with workers of its own; both accept", command: "kill -USR2 {old}", shape: bothServe, by: "both"},
		{what: "the old workers finish and go; the old master stays", command: "kill -WINCH {old}", shape: newServes, by: "new"},
		{what: "where are we, and what can be done?", command: "$BATON status" + at, shape: newServes, by: "new", quiet: true},
		{what: "roll back: all is as it was", command: "$BATON rollback" + at + " --probe http://$ADDR/", shape: oneAlone, by: "old"},

		{what: "upgrade, once and for all", command: upgrade + " --soak 0", shape: oneAlone, by: "old"},
		{what: "what was there?", command: "$BATON history" + at, shape: oneAlone, by: "old", quiet: true},
	}
}

// procedure is how a binary is replaced, rolled back and replaced again by hand.
func procedure(start string) []step {
	return []step{
		{what: "start the old version", command: start, shape: oneAlone, by: "old"},
		{what: "back up the old binary", command: "cp $P/sbin/nginx $P/sbin/nginx.old", shape: oneAlone, by: "old", quiet: true},
		{what: "put the new binary in its place", command: "cp -f $NEW $P/sbin/nginx", shape: oneAlone, by: "old", quiet: true},
		{what: "upgrade: a new master with workers of its own; both accept", command: "kill -USR2 {old}", shape: bothServe, by: "both"},
		{what: "the old workers finish and go; the old master stays", command: "kill -WINCH {old}", shape: newServes, by: "new"},

		{what: "roll back: the old binary returns to its place", command: "cp -f $P/sbin/nginx.old $P/sbin/nginx", shape: newServes, by: "new", quiet: true},
		{what: "the old master starts its workers again", command: "kill -HUP {old}", shape: bothServe, by: "both"},
		{what: "changes nothing: the old master still lives", command: "kill -USR2 {new}", shape: bothServe, by: "both", quiet: true},
		{what: "the new workers finish and go", command: "kill -WINCH {new}", shape: oldServes, by: "old"},
		{what: "the new master goes; all is as it was", command: "kill -QUIT {new}", shape: oneAlone, by: "old"},

		{what: "once more: put the new binary in its place", command: "cp -f $NEW $P/sbin/nginx", shape: oneAlone, by: "old", quiet: true},
		{what: "upgrade", command: "kill -USR2 {old}", shape: bothServe, by: "both"},
		{what: "the old workers finish and go", command: "kill -WINCH {old}", shape: newServes, by: "new"},
		{what: "commit: the old master goes, the new one is on its own", command: "kill -QUIT {old}", shape: oneAlone, by: "old"},
	}
}

// lastStep ends the server, when the load has stopped.
var lastStep = step{what: "stop the server", command: "kill -QUIT {old}", shape: nobody, by: "nobody"}

// play performs steps under load and shows what they cost.
func (s *stage) play(ctx context.Context, show *screen, steps []step) error {
	show.note("P=%s", s.prefix.Dir)
	show.note("orphans get parent %d here, as they would get process 1 elsewhere", s.tree.Root())
	for i, st := range steps {
		if err := s.perform(ctx, show, i+1, st); err != nil {
			return s.explain(err)
		}
		if i > 0 {
			continue
		}
		if err := s.startLoad(); err != nil {
			return err
		}
		show.note("load is on: %d groups of clients, on new and on kept connections, "+
			"the last of them through the proxy to an echo backend", len(s.load.Report().Groups))
		if s.foreign {
			continue // workers of others would stay for as long as these connections
		}
		if err := s.hold(); err != nil {
			return err
		}
		show.note("and held open: %s", s.held.now())
	}
	report := s.load.Stop()
	s.load = nil
	if s.held != nil {
		if err := s.held.finish(ctx); err != nil {
			return s.explain(err)
		}
	}
	if err := s.perform(ctx, show, len(s.done)+1, lastStep); err != nil {
		return s.explain(err)
	}
	show.title("What it cost")
	show.text(stepTable(s.done))
	show.text(report.String())
	err := verdict(show, report, s.foreign)
	if s.held != nil {
		err = errors.Join(err, s.held.verdict(show))
	}
	return err
}

// perform does one step, waits for what must come of it and shows it.
func (s *stage) perform(ctx context.Context, show *screen, number int, st step) error {
	command, err := s.fill(st.command)
	if err != nil {
		return err
	}
	show.step(number, st.what, command)
	rec := stepRecord{name: st.command}
	if s.load != nil {
		rec.before = s.load.Report()
	}
	began := time.Now()
	said, err := s.shell(ctx, command)
	if err != nil {
		return err
	}
	if said != "" {
		show.text(strings.ReplaceAll(said, s.prefix.Dir, "$P"))
	}
	if err := s.waitShape(ctx, st.shape); err != nil {
		return err
	}
	rec.took = time.Since(began)
	if st.by != "nobody" {
		if err := s.letLoadRun(ctx, answers); err != nil {
			return err
		}
	}
	if s.load != nil {
		rec.after = s.load.Report()
	}
	s.done = append(s.done, rec)
	if err := s.look(ctx, show, st); err != nil {
		return err
	}
	show.took(rec)
	if s.held != nil && st.by != "nobody" {
		show.note("%s", s.held.now())
	}
	return nil
}

// masters returns the process ids of the old master and of the new one, 0
// where there is none. A committed new master is the old one of what follows.
func masters(found []tree.Process) (oldPid, newPid int) {
	for i, p := range testbed.Masters(found) {
		switch i {
		case 0:
			oldPid = p.PID
		case 1:
			newPid = p.PID
		}
	}
	return oldPid, newPid
}

// fill puts the masters' process ids into a command.
func (s *stage) fill(command string) (string, error) {
	found, err := s.tree.Processes()
	if err != nil {
		return "", err
	}
	oldPid, newPid := masters(found)
	for name, pid := range map[string]int{"{old}": oldPid, "{new}": newPid} {
		if strings.Contains(command, name) && pid == 0 {
			return "", fmt.Errorf("fill in %q: no such master", command)
		}
		command = strings.ReplaceAll(command, name, strconv.Itoa(pid))
	}
	return command, nil
}

// look shows the processes and who answers, and checks both.
func (s *stage) look(ctx context.Context, show *screen, st step) error {
	found, err := s.tree.Processes()
	if err != nil {
		return err
	}
	if got := testbed.Shape(s.tree.Root(), found); got != st.shape {
		return fmt.Errorf("check processes: they changed again, to\n%swant\n%s", got, st.shape)
	}
	if st.quiet {
		return nil
	}
	ps, err := testbed.PS(ctx, found)
	if err != nil {
		return err
	}
	if st.by == "nobody" {
		show.note("no process is left")
		return nil
	}
	show.text(strings.ReplaceAll(ps, s.prefix.Dir, "$P"))
	return s.askAround(ctx, show, found, st.by)
}

// askAround asks on connections of their own who answers.
func (s *stage) askAround(ctx context.Context, show *screen, found []tree.Process, by string) error {
	oldPid, newPid := masters(found)
	parent := make(map[int]int)
	for _, p := range found {
		parent[p.PID] = p.PPID
	}
	heard := make(map[string]int)
	for range questions {
		a, err := testbed.Ask(ctx, s.tree, s.port.Addr(), "/")
		if err != nil {
			return err
		}
		if a.Status != 200 || !strings.Contains(a.Body, testbed.Welcome) {
			return fmt.Errorf("ask for the welcome page: status %d, %q", a.Status, a.Body)
		}
		master := parent[a.PID]
		if (by == "old" && master != oldPid) || (by == "new" && master != newPid) {
			return fmt.Errorf("ask who answers: process %d, a child of %d; want the %s workers only", a.PID, master, by)
		}
		heard[fmt.Sprintf("%s (worker %d)", a.Server, a.PID)]++
	}
	for _, name := range slices.Sorted(maps.Keys(heard)) {
		show.answer(name, heard[name])
	}
	return nil
}

// explain adds the error log's end to a failure.
func (s *stage) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w\nThe error log ends with:\n%s", err, s.logTail())
}
