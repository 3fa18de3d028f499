package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// statusCommand is "baton status".
func (p *program) statusCommand() *cobra.Command {
	var at place
	var asJSON, watch bool
	c := &cobra.Command{
		Use:   "status [--pid-file F | --prefix DIR] [--watch] [--json]",
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
			v := view{out: p.stdout, json: asJSON, clear: watch && !asJSON && isTerminal(p.stdout)}
			if watch {
				return v.watch(c.Context(), pidFile)
			}
			st, err := upgrade.Look(c.Context(), pidFile)
			if err != nil {
				return err
			}
			return v.show(st)
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.Flags().BoolVar(&watch, "watch", false, "go on until interrupted, and print it again when it has changed")
	return c
}

// A view shows what status tells.
type view struct {
	out   io.Writer
	json  bool
	clear bool // the screen, first: it is a terminal that is looked at all the time
}

func (v view) show(st *upgrade.Status) error {
	if v.json {
		return json.NewEncoder(v.out).Encode(st)
	}
	if v.clear {
		fmt.Fprint(v.out, "\x1b[H\x1b[2J")
	}
	_, err := fmt.Fprint(v.out, printable(st.String()))
	return err
}

// watchEvery is the time between two looks.
const watchEvery = time.Second

// watch shows the server until it is interrupted: on a terminal at every look, else when
// it is not as before. That nothing runs is told once, and may change.
func (v view) watch(ctx context.Context, pidFile string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	every := time.NewTicker(watchEvery)
	defer every.Stop()
	for last := ""; ; {
		st, err := upgrade.Look(ctx, pidFile)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, upgrade.ErrNothingRuns):
			if err := v.nothing(err, &last); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			if now := st.Facts(); v.clear || now != last {
				if last != "" && !v.clear && !v.json {
					fmt.Fprintln(v.out)
				}
				if err := v.show(st); err != nil {
					return err
				}
				last = now
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// nothing tells that nothing runs, unless it was the last to be told.
func (v view) nothing(why error, last *string) error {
	if why.Error() == *last {
		return nil
	}
	*last = why.Error()
	if v.json {
		return json.NewEncoder(v.out).Encode(map[string]any{"schema": upgrade.Schema, "error": why.Error()})
	}
	_, err := fmt.Fprintln(v.out, printable(why.Error()))
	return err
}
