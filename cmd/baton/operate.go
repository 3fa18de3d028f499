package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// A place is how a verb is told which server it is about.
type place struct{ pidFile, prefix string }

// flags adds the flags of a place to a verb.
func (l *place) flags(c *cobra.Command) {
	c.Flags().StringVar(&l.pidFile, "pid-file", "", "the server whose pid file is `F`")
	c.Flags().StringVar(&l.prefix, "prefix", "", "the server whose prefix is `DIR`: its configuration names the pid file")
	// A shell completes folders for the one, and files for the other by itself.
	if err := c.MarkFlagDirname("prefix"); err != nil {
		panic(err) // the flag is there
	}
}

// find returns the absolute path of the pid file. Without any flag it is the one
// that -s would take.
func (l *place) find(p *program) (string, error) {
	if l.pidFile != "" && l.prefix != "" {
		return "", misuse{errors.New("--pid-file and --prefix both say which server: give one")}
	}
	if l.pidFile != "" {
		path, err := filepath.Abs(l.pidFile)
		if err != nil {
			return "", fmt.Errorf("find pid file: %w", err)
		}
		return path, nil
	}
	var o options
	dir := ""
	if l.prefix != "" {
		o.prefix = &l.prefix
		var err error
		if dir, err = os.Getwd(); err != nil && !filepath.IsAbs(l.prefix) {
			return "", fmt.Errorf("find working directory: %w", err)
		}
	}
	there := *p
	there.paths = p.paths.with(o, dir)
	cfg, err := there.load(o)
	if err == nil {
		return cfg.Process.Pid, nil
	}
	// A configuration that is not for us, or broken just now, is no reason not to
	// find a server that runs.
	path := there.paths.full(there.paths.pid)
	if _, serr := os.Stat(path); serr != nil {
		return "", fmt.Errorf("find pid file: %w (and there is no %s): name it with --pid-file", err, path)
	}
	return path, nil
}

// An ended is a verb that has told why it failed, with the exit status for it.
type ended struct{ status int }

func (e ended) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// exitStatus returns the exit status that stands for err, which is not nil; doc.go tells
// what each means.
func exitStatus(err error) int {
	var m misuse
	var e ended
	switch {
	case errors.As(err, &e):
		return e.status
	case errors.As(err, &m):
		return 2
	case errors.Is(err, upgrade.ErrNothingRuns):
		return 3
	}
	return 1
}
