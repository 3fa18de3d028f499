package conf

import (
	"net/netip"
	"os"
	"strings"
	"time"
)

// Options say what to load.
type Options struct {
	// Prefix is the installation's folder, which relative names of logs and roots
	// start from. It must be absolute.
	Prefix string
	// File is the main configuration file; relative to Prefix when it is relative.
	// "" means conf/nginx.conf.
	File string
	// Globals is the text of -g: directives of the main context, before the file's.
	Globals string

	// What holds when the configuration does not say, built in or from the command
	// line; relative to Prefix when relative. "" means nginx's: logs/nginx.pid,
	// logs/error.log ("stderr" is allowed), logs/access.log.
	Pid, ErrorLog, AccessLog string

	// Resolve looks up the hosts that directives name. With nil a configuration that
	// names one is refused.
	Resolve Resolve

	// Patience bounds how long the load waits for files that somebody else writes while
	// it reads (a FIFO), all of them together, and for any file of a file system that
	// hangs. A master that loads hears no signals. 0 means 20s.
	Patience time.Duration
}

// Resolve returns the addresses of a host, one at least. Its error is put before
// "in upstream …", as nginx words it: "host not found".
type Resolve func(host string) ([]netip.Addr, error)

func (o Options) withDefaults() Options {
	def := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	def(&o.File, "conf/nginx.conf")
	def(&o.Pid, "logs/nginx.pid")
	def(&o.ErrorLog, "logs/error.log")
	def(&o.AccessLog, "logs/access.log")
	if o.Patience == 0 {
		o.Patience = 20 * time.Second
	}
	return o
}

// A Config is a checked configuration: every directive in it is known, stands in a
// context it may stand in and has a possible number of arguments. What the values
// of HTTP directives mean is for their modules to check. It is never changed after
// [Load] returned it.
type Config struct {
	Root    *Scope
	File    string // the main file's full name
	Process Process
	Listens []Listen     // the sockets to open, one for each [Listen.Key]
	Logs    []string     // full names of all log files, of every level, each once
	Temps   []TempFolder // each once
	// Zones is the shared memory that modules asked for, each once. It is filled in when
	// the configuration is compiled.
	Zones    []Zone
	Warnings []string // with their place, without "[warn]"
	Snapshot *Snapshot
	// AccessLog is the full name of the log of servers that have no access_log at
	// any level.
	AccessLog string
	// Hostname is the name of this host in lower case, as it was when the
	// configuration was loaded.
	Hostname string

	files   *reader
	options Options // with defaults
}

// Process is what the master and the workers need to know of the main context.
type Process struct {
	// User and Group are what workers run as when the master is root. Group "" is
	// the primary group of User: no "user" directive names one.
	User, Group string
	Workers     int    // 0 is "auto"
	Nofile      uint64 // worker_rlimit_nofile; 0: not set
	Core        int64  // worker_rlimit_core in bytes; -1: not set
	// ShutdownTimeout bounds how long a retiring worker drains; 0: for ever.
	ShutdownTimeout time.Duration
	// UpgradeTimeout bounds how long a new master may take to be ready.
	UpgradeTimeout    time.Duration
	Pid               string // full name
	ErrorLogs         []ErrorLog
	Daemon, Master    bool
	Env               []string // NAME or NAME=value, as written
	WorkingDirectory  string   // "" for none
	WorkerConnections int
}

// A Zone is memory with a name that all workers share.
type Zone struct {
	Name string `json:"name"`
	// Kind is what uses it, in nginx's word for messages: "limit_req".
	Kind string `json:"kind"`
	// Key is the text that keys of the entries are made of.
	Key  string `json:"key,omitempty"`
	Size int64  `json:"size"`
}

// An ErrorLog is one error_log: messages of Level and worse go to Path.
type ErrorLog struct {
	Path  string // full name, or "stderr"
	Level string // "debug", "info", "notice", "warn", "error", "crit", "alert" or "emerg"
}

// HTTP returns the http block, or nil when there is none.
func (c *Config) HTTP() *Scope {
	if ds := c.Root.Own("http"); len(ds) > 0 {
		return c.Root.In(HTTP, ds[0])
	}
	return nil
}

// Abs returns the full name of a file that is relative to the prefix: a log, a root,
// a pid file. An absolute one stays. Nothing is cleaned: nginx shows names as they
// were put together.
func (c *Config) Abs(path string) string { return under(c.options.Prefix, path) }

// AbsConf returns the full name of a file that is relative to the folder of the main
// configuration file: an include, a certificate, a password file.
func (c *Config) AbsConf(path string) string { return under(folder(c.File), path) }

// ReadFile returns the content of a file named by a directive, relative to the folder
// of the main configuration file. It becomes part of the snapshot, and of a
// configuration from a snapshot it is what was read then. A failure is in nginx's
// words, `open() "/x" failed (2: No such file or directory)`, and wraps its errno.
func (c *Config) ReadFile(path string) ([]byte, error) { return c.files.read(c.AbsConf(path), false) }

// LookupHost returns the addresses of a host that a directive names, one at least.
// They become part of the snapshot, and of a configuration from a snapshot they are
// what was found then. Within one configuration a host is looked up once, so a name
// stands for the same addresses wherever it is written. Like [Config.ReadFile] it is
// for the goroutine that loads.
func (c *Config) LookupHost(host string) ([]netip.Addr, error) { return c.files.addresses(host) }

// under returns name as it is seen from dir.
func under(dir, name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	if !strings.HasSuffix(dir, "/") {
		dir += "/"
	}
	return dir + name
}

// folder returns the folder of a file, with the slash.
func folder(file string) string { return file[:strings.LastIndexByte(file, '/')+1] }

// Load reads and checks a configuration. Errors are of type *[Error]; the first one
// is returned, as nginx stops there.
func Load(t *Table, o Options) (*Config, error) {
	s := newSnapshot(o, os.Geteuid() == 0)
	if host, err := os.Hostname(); err == nil { // without it $hostname is empty
		s.hostname = strings.ToLower(host)
	}
	return load(t, &reader{into: s, resolve: o.Resolve})
}

func load(t *Table, r *reader) (*Config, error) {
	c := &Config{files: r, options: r.options().withDefaults(), Snapshot: r.into}
	c.File = under(c.options.Prefix, c.options.File)
	c.AccessLog = c.Abs(c.options.AccessLog)
	c.Hostname = r.into.hostname
	ch := &checker{table: t, config: c, left: maxIncluded}
	if err := ch.run(); err != nil {
		return nil, err
	}
	for _, step := range []func(*Config) error{readProcess, readListens, readLogs, readTemps} {
		if err := step(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (r *reader) options() Options { return r.into.options }
