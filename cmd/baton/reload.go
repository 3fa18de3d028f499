package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/report"
)

const (
	// reloadEvery is the time between two looks at a reload.
	reloadEvery = 50 * time.Millisecond
	// silencePatience is how long a master that has told of its reloads may say nothing.
	silencePatience = 10 * time.Second
)

// lastReload returns the last reload of the master pid; nil when it does not tell, as
// nginx, or when HUP means something else to it just now, in an upgrade.
func lastReload(ctx context.Context, pidFile string, pid int) *report.Reload {
	r, err := report.Ask(ctx, pidFile, pid)
	if err != nil || r.Successor != nil {
		return nil
	}
	return r.Reload
}

// awaitReload waits for the end of a reload that began after the one with this number. It
// returns why the new configuration does not serve, nil when it does.
func awaitReload(ctx context.Context, pidFile string, pid, number int) error {
	told := time.Now()
	every := time.NewTicker(reloadEvery)
	defer every.Stop()
	for {
		r, err := report.Ask(ctx, pidFile, pid)
		switch {
		case err != nil && proc.HasEnded(pid):
			return fmt.Errorf("the master process %d is gone", pid)
		case err != nil && time.Since(told) > silencePatience:
			return err
		case err != nil:
		case r.Reload != nil && r.Reload.Number > number && !r.Reload.Under:
			if r.Reload.Error != "" {
				return errors.New(r.Reload.Error)
			}
			return nil
		case r.Phase.Leaving():
			return fmt.Errorf("the master process %d was told to go", pid)
		default:
			told = time.Now()
		}
		<-every.C
	}
}
