package conf

import "time"

// readProcess fills in c.Process from the main context and events.
func readProcess(c *Config) error {
	p := &c.Process
	*p = Process{}
	for _, read := range []func(*Config, *Process) error{readUser, readWorkers, readTimes, readFiles, readFlags, readEvents} {
		if err := read(c, p); err != nil {
			return err
		}
	}
	return nil
}

// readUser takes nobody as the default, as nginx does.
func readUser(c *Config, p *Process) error {
	p.User = "nobody"
	d := c.Root.One("user")
	if d == nil {
		return nil
	}
	if !c.Snapshot.root {
		c.warn(d, `the "user" directive makes sense only if the master process runs with super-user privileges, ignored`)
		return nil
	}
	p.User, p.Group = d.Arg(0), d.Arg(0)
	if len(d.Args) == 2 {
		p.Group = d.Args[1]
	}
	return nil
}

// warn adds a warning about d.
func (c *Config) warn(d *Directive, msg string) {
	c.Warnings = append(c.Warnings, msg+place(d.File, d.Line))
}

func readWorkers(c *Config, p *Process) (err error) {
	p.Workers = 1
	if d := c.Root.One("worker_processes"); d != nil {
		if p.Workers, err = workers(d); err != nil {
			return err
		}
	}
	nofile, err := c.Root.Int("worker_rlimit_nofile", 0)
	if err != nil {
		return err
	}
	p.Nofile = uint64(nofile)
	p.Core, err = c.Root.Offset("worker_rlimit_core", -1)
	return err
}

// workers returns 0 for "auto". The number 0, which nginx accepts and then serves
// nobody, is refused.
func workers(d *Directive) (int, error) {
	if d.Arg(0) == "auto" {
		return 0, nil
	}
	n, err := parseCount(d.Arg(0))
	if err != nil || n == 0 {
		return 0, Errorf(d, `"worker_processes" directive invalid value`)
	}
	return n, nil
}

func checkWorkers(d *Directive) error {
	_, err := workers(d)
	return err
}

func readTimes(c *Config, p *Process) (err error) {
	if p.ShutdownTimeout, err = c.Root.Time("worker_shutdown_timeout", 0); err != nil {
		return err
	}
	p.UpgradeTimeout, err = c.Root.Time("upgrade_timeout", time.Minute)
	return err
}

func readFiles(c *Config, p *Process) error {
	p.Pid = c.Abs(c.Root.String("pid", c.options.Pid))
	p.WorkingDirectory = c.Root.String("working_directory", "")
	for _, d := range c.Root.Own("env") {
		p.Env = append(p.Env, d.Arg(0))
	}
	for _, d := range c.Root.Own("error_log") {
		l, err := c.ParseErrorLog(d)
		if err != nil {
			return err
		}
		p.ErrorLogs = append(p.ErrorLogs, l)
	}
	if len(p.ErrorLogs) == 0 {
		p.ErrorLogs = []ErrorLog{{Path: c.logName(c.options.ErrorLog), Level: "error"}}
	}
	return nil
}

func readFlags(c *Config, p *Process) (err error) {
	if p.Daemon, err = c.Root.Flag("daemon", true); err != nil {
		return err
	}
	p.Master, err = c.Root.Flag("master_process", true)
	return err
}

func readEvents(c *Config, p *Process) error {
	p.WorkerConnections = 512
	blocks := c.Root.Own("events")
	if len(blocks) == 0 {
		return nil
	}
	d := c.Root.In(Events, blocks[0]).One("worker_connections")
	if d == nil {
		return nil
	}
	n, err := connections(d)
	p.WorkerConnections = n
	return err
}

// CheckEvents finds what is wrong with the events block as a whole. nginx does it when
// everything else was found right, and says so before: the error is [Error.Late].
func (c *Config) CheckEvents() error {
	var e *Error
	switch n := c.Process.WorkerConnections; {
	case len(c.Root.Own("events")) == 0:
		e = Errorf(nil, `no "events" section in configuration`)
	case n < len(c.Listens)+1:
		e = Errorf(nil, "%d worker_connections are not enough for %d listening sockets", n, len(c.Listens))
	default:
		return nil
	}
	e.Late = true
	return e
}

// connections words a bad number as nginx does for this directive alone.
func connections(d *Directive) (int, error) {
	n, err := parseCount(d.Arg(0))
	if err != nil {
		return 0, Errorf(d, `invalid number "%s"`, d.Arg(0))
	}
	return n, nil
}

func checkConnections(d *Directive) error {
	_, err := connections(d)
	return err
}
