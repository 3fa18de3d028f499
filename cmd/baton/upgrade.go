package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// upgradeCommand is "baton upgrade".
func (p *program) upgradeCommand() *cobra.Command {
	var resume bool
	op := operation{verb: "upgrade"}
	op.run = func(ctx context.Context, o upgrade.Options) (upgrade.Outcome, error) {
		if resume {
			return upgrade.Resume(ctx, o)
		}
		return upgrade.Run(ctx, o)
	}
	c := &cobra.Command{
		Use:   "upgrade {--to NEW | --resume} [--pid-file F | --prefix DIR] [--probe URL]... [--soak D]",
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
			if resume == (op.o.To != "") {
				return misuse{errors.New("give either --to NEW or --resume")}
			}
			op.o.SoakAsBegun = resume && !c.Flags().Changed("soak")
			return op.do(c.Context(), p)
		},
	}
	op.flags(c)
	f := c.Flags()
	f.StringVar(&op.o.To, "to", "", "the new binary, `NEW`")
	f.DurationVar(&op.o.Soak, "soak", 30*time.Second, "watch the new version for this `time` before there is no way back; 0 does not")
	f.BoolVar(&op.o.AllowMissingModules, "allow-missing-modules", false, "take a binary that lacks modules of the running one")
	f.BoolVar(&op.o.Retry, "retry", false, "take a build that has failed here before")
	f.BoolVar(&op.o.DryRun, "dry-run", false, "check all that can be checked, and change nothing")
	f.BoolVar(&resume, "resume", false, "go on with an upgrade that was interrupted")
	return c
}
