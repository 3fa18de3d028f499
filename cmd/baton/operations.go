package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// An operation is how a verb that changes something is carried out.
type operation struct {
	verb string
	at   place
	o    upgrade.Options
	json bool
	run  func(context.Context, upgrade.Options) (upgrade.Outcome, error)
}

// flags adds the flags that all such verbs have.
func (op *operation) flags(c *cobra.Command) {
	op.at.flags(c)
	f := c.Flags()
	f.StringArrayVar(&op.o.Probes, "probe", nil, "a `URL` that must answer with a status below 400, before and after; may be given again")
	f.DurationVar(&op.o.ReadyTimeout, "ready-timeout", time.Minute, "`time` in which a new version must serve")
	f.DurationVar(&op.o.DrainTimeout, "drain-timeout", 5*time.Minute, "`time` to wait for workers that go; what they have goes on after it, too; 0 does not wait")
	f.BoolVar(&op.json, "json", false, "print one JSON object for each event")
}

// do carries the operation out and shows it.
func (op *operation) do(ctx context.Context, p *program) error {
	if err := op.limits(); err != nil {
		return misuse{err}
	}
	var err error
	if op.o.PidFile, err = op.at.find(p); err != nil {
		return err
	}
	op.o.Tell = newScreen(p, op.verb).show
	if op.json {
		op.o.Tell = func(e upgrade.Event) { _ = json.NewEncoder(p.stdout).Encode(e) } // nobody is left to tell
	}
	// Asked to stop it goes back. A second time it is not heard: half way back is
	// where nobody wants to be left.
	ctx, stop := signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	// That nobody reads what it tells any more is no reason to be left half way: writing
	// fails then, and ends nothing as long as somebody listens to the signal.
	deaf := make(chan os.Signal, 1)
	signal.Notify(deaf, syscall.SIGPIPE)
	defer signal.Stop(deaf)
	commit := make(chan os.Signal, 1)
	signal.Notify(commit, syscall.SIGUSR1)
	defer signal.Stop(commit)
	op.o.CommitNow = commit
	op.o.Fault = faultPoint()
	outcome, err := op.run(ctx, op.o)
	if status := upgrade.ExitStatus(outcome, err); status != 0 {
		return ended{status}
	}
	return nil
}

// limits finds what is wrong with the flags, and makes of the time-outs what was said.
func (op *operation) limits() error {
	if op.o.ReadyTimeout == 0 {
		return errors.New("the ready time-out is 0: nothing serves at once")
	}
	if op.o.DrainTimeout == 0 {
		op.o.DrainTimeout = time.Nanosecond // as options 0 is not said, and the usual time
	}
	return op.o.ValidateLimits()
}

// stopSignals returns the signals that ask a command to stop, but for those that
// whoever started it wants it not to hear: nohup(1), or a shell that runs it in the
// background. "baton rollback" sends SIGTERM, which is always heard.
func stopSignals() []os.Signal {
	heard := []os.Signal{syscall.SIGTERM}
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			heard = append(heard, sig)
		}
	}
	return heard
}

// rollbackCommand is "baton rollback".
func (p *program) rollbackCommand() *cobra.Command {
	op := operation{verb: "rollback", run: upgrade.Rollback}
	c := &cobra.Command{
		Use:   "rollback [--pid-file F | --prefix DIR]",
		Short: "go back from an upgrade to the old version",
		Long: `Go back from an upgrade: one that runs, was interrupted, or was begun by hand. The
old binary is put back, the old workers serve again, then the new master goes. After
a commit the binary that was kept is upgraded to. Exit status as for upgrade.`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error { return op.do(c.Context(), p) },
	}
	op.flags(c)
	return c
}

// commitCommand is "baton commit".
func (p *program) commitCommand() *cobra.Command {
	op := operation{verb: "commit", run: upgrade.Finish}
	c := &cobra.Command{
		Use:   "commit [--pid-file F | --prefix DIR]",
		Short: "end an upgrade now: the old version goes",
		Long: `End the soak of an upgrade that runs, or do what is left of one that was interrupted
or begun by hand, without a soak. Exit status as for upgrade.`,
		Args: exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error { return op.do(c.Context(), p) },
	}
	op.flags(c)
	return c
}

// historyCommand is "baton history".
func (p *program) historyCommand() *cobra.Command {
	var at place
	var asJSON bool
	c := &cobra.Command{
		Use:   "history [--pid-file F | --prefix DIR] [--json]",
		Short: "tell of the upgrades there were",
		Long:  "Tell of the upgrades of a server that its journal has, a line for each, oldest first.",
		Args:  exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			pidFile, err := at.find(p)
			if err != nil {
				return err
			}
			past, err := upgrade.History(pidFile)
			if err != nil {
				return err
			}
			for _, u := range past {
				if !asJSON {
					fmt.Fprintln(p.stdout, printable(u.String()))
				} else if err := json.NewEncoder(p.stdout).Encode(u); err != nil {
					return err
				}
			}
			return nil
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object for each upgrade")
	return c
}
