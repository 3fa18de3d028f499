package conf

import (
	"slices"
	"strings"
)

// logLevels are nginx's, the least severe first.
var logLevels = []string{"debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"}

// debugLevels are parts of debug in nginx; here each is all of it.
var debugLevels = []string{"debug_core", "debug_alloc", "debug_mutex", "debug_event", "debug_http", "debug_mail", "debug_stream"}

// ParseErrorLog reads an error_log directive.
func (c *Config) ParseErrorLog(d *Directive) (ErrorLog, error) {
	level, err := errorLogLevel(d)
	return ErrorLog{Path: c.logName(d.Arg(0)), Level: level}, err
}

// CheckErrorLog wants what [Config.ParseErrorLog] reads.
func CheckErrorLog(d *Directive) error {
	_, err := errorLogLevel(d)
	return err
}

// errorLogLevel checks the whole directive.
func errorLogLevel(d *Directive) (string, error) {
	name, level := d.Arg(0), "error"
	for _, scheme := range []string{"syslog:", "memory:"} {
		if strings.HasPrefix(name, scheme) {
			return "", Errorf(d, `"%s" in the "error_log" directive is not supported by baton`, scheme)
		}
	}
	levels := d.Args[min(1, len(d.Args)):]
	for i, arg := range levels {
		whole, part := slices.Contains(logLevels, arg), slices.Contains(debugLevels, arg)
		switch {
		case whole && i > 0:
			return "", Errorf(d, `duplicate log level "%s"`, arg)
		case whole:
			level = arg
		case part && slices.Contains(debugLevels, levels[0]):
			level = "debug"
		default:
			return "", Errorf(d, `invalid log level "%s"`, arg)
		}
	}
	return level, nil
}

// logName returns the full name of a log, or "stderr".
func (c *Config) logName(name string) string {
	if name == "stderr" || name == "" {
		return "stderr"
	}
	return c.Abs(name)
}

// readLogs fills in c.Logs.
func readLogs(c *Config) error {
	seen := make(map[string]bool)
	add := func(name string) {
		if name != "stderr" && !seen[name] {
			seen[name] = true
			c.Logs = append(c.Logs, name)
		}
	}
	for _, l := range c.Process.ErrorLogs {
		add(l.Path)
	}
	if c.needsAccessLog() {
		add(c.AccessLog)
	}
	var visit func(ds []*Directive) error
	visit = func(ds []*Directive) error {
		for _, d := range ds {
			switch d.Name {
			case "error_log":
				l, err := c.ParseErrorLog(d)
				if err != nil {
					return err
				}
				add(l.Path)
			case "access_log":
				if isLogFile(d.Arg(0)) {
					add(c.Abs(d.Arg(0)))
				}
			}
			if err := visit(d.Block); err != nil {
				return err
			}
		}
		return nil
	}
	return visit(c.Root.Block)
}

// isLogFile reports whether the first argument of access_log names a file that the
// master opens.
func isLogFile(name string) bool {
	return name != "" && name != "off" && !strings.HasPrefix(name, "syslog:") && !strings.Contains(name, "$")
}

// needsAccessLog reports whether some server logs to the default file.
func (c *Config) needsAccessLog() bool {
	h := c.HTTP()
	if h == nil || len(h.Own("access_log")) > 0 {
		return false
	}
	return slices.ContainsFunc(h.Own("server"), func(server *Directive) bool {
		return len(h.In(Server, server).Own("access_log")) == 0
	})
}
