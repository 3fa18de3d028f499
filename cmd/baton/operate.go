package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/upgrade"
)

// A place is how a verb is told which server it is about.
type place struct {
	pidFile, prefix string
	verb            *cobra.Command
}

// flags adds the flags of a place to a verb.
func (l *place) flags(c *cobra.Command) {
	l.verb = c
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
	for _, name := range []string{"pid-file", "prefix"} {
		// A variable of a script that is not set must not lead to another server.
		if f := l.verb.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			return "", misuse{fmt.Errorf("--%s is empty", name)}
		}
	}
	if l.pidFile != "" {
		return behindLinks(l.pidFile)
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
	path, err := there.configuredPid(o)
	if err == nil {
		return path, nil
	}
	// A configuration that is not for us, or broken just now, is no reason not to
	// find a server that runs.
	path = there.paths.full(there.paths.pid)
	if _, serr := os.Stat(path); serr != nil {
		return "", fmt.Errorf("find pid file: %w (and there is no %s): name it with --pid-file", err, path)
	}
	return path, nil
}

// configPatience is how long a configuration may take to be read: it may name a pipe.
const configPatience = 10 * time.Second

// configuredPid returns the pid file that the configuration names. Root reads somebody
// else's with the rights of that user, and nobody needs those to keys and the like.
func (p *program) configuredPid(o options) (string, error) {
	c := p.confOptions(o)
	table, err := modules.Table()
	if err != nil {
		return "", err
	}
	rights, err := upgrade.RightsToRead(c.File)
	if err != nil {
		return "", err
	}
	type result struct {
		path string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		var r result
		err := rights.Use(func() {
			cfg, err := conf.Load(table, c)
			if r.err = err; err == nil {
				r.path = cfg.Process.Pid
			}
		})
		read <- result{r.path, errors.Join(err, r.err)}
	}()
	select {
	case r := <-read:
		return r.path, r.err
	case <-time.After(configPatience):
		return "", fmt.Errorf("read %s: no end within %v", c.File, configPatience)
	}
}

// behindLinks returns the absolute path of the file that a pid file's path leads to, also
// when that is not there just now. The master knows it by its own name, and renames it: a
// link would lead nowhere then. Links to folders stay as they are.
func behindLinks(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find pid file: %w", err)
	}
	const most = 40 // as many as the kernel follows
	first := path
	for range most {
		to, err := os.Readlink(path)
		if err != nil {
			_, err = upgrade.RightsToRead(first)
			return path, err // it is no link, or not there
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = filepath.Clean(to)
	}
	return "", fmt.Errorf("find pid file: %s is a link that leads to itself", path)
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
