package main

import (
	"os"
	"os/user"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"github.com/baton-deploy/baton/internal/report"
)

// loadConfig loads the configuration and checks all of it: also what only the
// modules understand, and that the users it names exist. Errors are in nginx's
// words. The master calls it for each load, the command line for -t and -s. With an error
// that is Late there is a configuration, too.
func loadConfig(o conf.Options) (*conf.Config, error) {
	table, err := modules.Table()
	if err != nil {
		return nil, err
	}
	cfg, err := conf.Load(table, o)
	if err != nil {
		return nil, err
	}
	return checkConfig(cfg)
}

// checkConfig is what loadConfig checks of a configuration that is well-formed.
func checkConfig(cfg *conf.Config) (*conf.Config, error) {
	if err := checkUser(cfg); err != nil {
		return nil, err
	}
	site, err := httpd.Compile(cfg, modules.All(), product())
	if err != nil {
		return nil, err
	}
	cfg.Warnings = append(cfg.Warnings, site.Warnings()...)
	if err := cfg.CheckEvents(); err != nil {
		return cfg, err
	}
	cfg.Zones, err = site.Zones()
	return cfg, err
}

// count reads what all workers of a master counted.
func count(shared []byte) report.Counters {
	t := httpd.Sum(shared)
	return report.Counters{
		Accepted: t.Accepted, Handled: t.Handled, Requests: t.Requests,
		Reading: t.Reading, Writing: t.Writing, Waiting: t.Waiting,
		Answered: t.Answered, Failed: t.Failed,
	}
}

// product is what the server calls itself in responses.
func product() string { return "baton/" + version }

// decodeConfig is loadConfig for a snapshot, in a worker: its master has checked
// the configuration, and nothing is read from disk and no name is looked up.
func decodeConfig(snapshot []byte) (*conf.Config, error) {
	table, err := modules.Table()
	if err != nil {
		return nil, err
	}
	s, err := conf.DecodeSnapshot(snapshot)
	if err != nil {
		return nil, err
	}
	return s.Load(table)
}

// load loads the configuration that the options name.
func (p *program) load(o options) (*conf.Config, error) { return loadConfig(p.confOptions(o)) }

// confOptions returns what configuration the options name. o is part of
// p.paths already.
func (p *program) confOptions(o options) conf.Options {
	c := conf.Options{
		Prefix:    p.paths.prefix,
		File:      p.paths.full(p.paths.conf),
		Pid:       p.paths.pid,
		ErrorLog:  p.paths.errorLog,
		AccessLog: p.paths.httpLog,
		Resolve:   httpd.LookupHost,
	}
	if o.globals != nil {
		c.Globals = *o.globals
	}
	return c
}

// checkUser finds that the user or group of the workers does not exist. As
// nginx it looks only when root starts it: otherwise they are not used.
func checkUser(cfg *conf.Config) error {
	d := cfg.Root.One("user")
	if os.Geteuid() != 0 || d == nil {
		return nil
	}
	if _, err := user.Lookup(cfg.Process.User); err != nil {
		return conf.Errorf(d, "getpwnam(\"%s\") failed", cfg.Process.User)
	}
	if cfg.Process.Group == "" {
		return nil
	}
	if _, err := user.LookupGroup(cfg.Process.Group); err != nil {
		return conf.Errorf(d, "getgrnam(\"%s\") failed", cfg.Process.Group)
	}
	return nil
}
