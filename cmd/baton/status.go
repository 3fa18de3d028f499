package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// statusCommand is "baton status".
func (p *program) statusCommand() *cobra.Command {
	var at place
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [--pid-file F | --prefix DIR] [--json]",
		Short: "tell which binaries serve, and what to do next",
		Long: `Look at a running server from outside: its masters and workers, what versions
they are, how old, how many connections each has, what is shutting down, and on
which step of an upgrade it stands. It changes nothing. It works for Baton and for
nginx. Exit status 3: nothing is running there.`,
		Example: "  " + p.word + " status --prefix /srv/web\n  " + p.word + " status --pid-file /run/nginx.pid --json",
		Args:    exactArgs(),
		RunE: func(c *cobra.Command, _ []string) error {
			pidFile, err := at.find(p)
			if err != nil {
				return err
			}
			st, err := upgrade.Look(c.Context(), pidFile)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(p.stdout).Encode(st)
			}
			fmt.Fprint(p.stdout, st)
			return nil
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}
