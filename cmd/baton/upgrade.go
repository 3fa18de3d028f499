package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// upgradeCommand is "baton upgrade".
func (p *program) upgradeCommand() *cobra.Command {
	var at place
	var o upgrade.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "upgrade --to NEW [--pid-file F | --prefix DIR] [--probe URL]... [--soak D]",
		Short: "replace the running binary, and go back by itself when that fails",
		Long: `Replace the binary of a running server, Baton or nginx, without a client noticing:
check the new one, keep the old one, put the new one in its place, start it beside
the old (USR2), wait until it serves, probe it, retire the old workers (WINCH), watch
for the length of the soak, end the old master (QUIT). Whatever fails before that is
undone, and the old version serves as before.

Exit status: 0 done; 1 failed, and the old version serves as before; 2 misuse;
3 nothing is running there; 4 another upgrade is under way; 5 failed, and a person
must look: it says what to type.`,
		Example: "  " + p.word + " upgrade --prefix /srv/web --to build/baton --probe http://127.0.0.1/ --soak 30s",
		Args:    exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			o.Tell = newScreen(p, "upgrade").show
			if asJSON {
				o.Tell = func(e upgrade.Event) { _ = json.NewEncoder(p.stdout).Encode(e) } // nobody is left to tell
			}
			return p.upgrade(c.Context(), o, at)
		},
	}
	at.flags(c)
	f := c.Flags()
	f.StringVar(&o.To, "to", "", "the new binary, `NEW`")
	f.StringArrayVar(&o.Probes, "probe", nil, "a `URL` that must answer with a status below 400, before and after; may be given again")
	f.DurationVar(&o.Soak, "soak", 0, "watch the new version for this `time` before there is no way back: 30s, 5m")
	f.DurationVar(&o.ReadyTimeout, "ready-timeout", time.Minute, "`time` in which the new version must serve")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", 5*time.Minute, "`time` to wait for old workers; what they have goes on after it, too")
	f.BoolVar(&o.AllowMissingModules, "allow-missing-modules", false, "take a binary that lacks modules of the running one")
	f.BoolVar(&o.Retry, "retry", false, "take a build that has failed here before")
	f.BoolVar(&o.DryRun, "dry-run", false, "check all that can be checked, and change nothing")
	f.BoolVar(&asJSON, "json", false, "print one JSON object for each event")
	return c
}

func (p *program) upgrade(ctx context.Context, o upgrade.Options, at place) error {
	err := o.Validate()
	if err == nil && (o.ReadyTimeout == 0 || o.DrainTimeout == 0) {
		err = errors.New("a time-out of 0 leaves no time")
	}
	if err != nil {
		return misuse{err}
	}
	if o.PidFile, err = at.find(p); err != nil {
		return err
	}
	// Asked to stop it goes back. A second time it is not heard: half way back is
	// where nobody wants to be left.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	outcome, err := upgrade.Run(ctx, o)
	if status := upgrade.ExitStatus(outcome, err); status != 0 {
		return ended{status}
	}
	return nil
}
