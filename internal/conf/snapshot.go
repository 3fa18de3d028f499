package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// maxFile bounds one file, maxSnapshot all of them together. No configuration that
// anybody writes comes near; a device or a log included by mistake does.
const (
	maxFile     = 64 << 20
	maxSnapshot = 256 << 20
	maxFiles    = 100_000

	// maxNames bounds the names that are looked up, maxAddresses the addresses of all
	// of them together: what a name server answers is not for us to choose.
	maxNames     = 100_000
	maxAddresses = 1 << 20
)

// A Snapshot is all that a configuration was made from: the options it was loaded
// with, every file that was read for it, what each pattern of an include matched,
// the addresses that each name of a host stood for, and the name of this host.
// Loading it again gives the same configuration, whatever lies on disk or a name
// server answers by then, in this process or in one that got it over a descriptor.
//
// A Snapshot belongs to the Config that [Load] made and grows when that Config reads
// a file, so it is for one goroutine until loading is done.
type Snapshot struct {
	options  Options // without Resolve
	root     bool    // loaded by the super-user: the default listen port depends on it
	hostname string
	files    []file
	index    map[string]int // name → place in files
	globs    []glob
	names    []name
	hosts    map[string]int // host → place in names
	size     int            // bytes in files
	ips      int            // addresses in names
}

// A file is one that was read. Included says that it is part of the configuration's
// text, so that [Config.Dump] shows it.
type file struct {
	name     string
	data     []byte
	included bool
}

// A glob is what one pattern matched.
type glob struct {
	pattern string
	names   []string
}

// A name is the addresses, one at least, of a host that a directive names.
type name struct {
	host string // in lower case
	ips  []netip.Addr
}

// Format writes how large the snapshot is and nothing of its content, for every verb:
// private keys are in it, and no log may show them.
func (s *Snapshot) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "snapshot of %d files, %d bytes", len(s.files), s.size)
}

// Load parses the configuration again from what was recorded, with no access to the
// disk and no look-up of a name.
func (s *Snapshot) Load(t *Table) (*Config, error) {
	again := newSnapshot(s.options, s.root)
	again.hostname = s.hostname
	return load(t, &reader{into: again, from: s})
}

func newSnapshot(o Options, root bool) *Snapshot {
	o.Resolve = nil // whoever loads a snapshot must have no way to look names up
	return &Snapshot{options: o, root: root, index: make(map[string]int), hosts: make(map[string]int)}
}

func (s *Snapshot) lookup(name string) (file, bool) {
	i, ok := s.index[name]
	if !ok {
		return file{}, false
	}
	return s.files[i], true
}

func (s *Snapshot) lookupGlob(pattern string) ([]string, bool) {
	for _, g := range s.globs {
		if g.pattern == pattern {
			return g.names, true
		}
	}
	return nil, false
}

// add records a file; one that is there already only can become an included one.
func (s *Snapshot) add(f file) error {
	if i, ok := s.index[f.name]; ok {
		s.files[i].included = s.files[i].included || f.included
		return nil
	}
	if len(f.data) > maxFile || s.size+len(f.data) > maxSnapshot || len(s.files) >= maxFiles {
		return fmt.Errorf("read file %q: the configuration is larger than %d MB or has more than %d files",
			f.name, maxSnapshot>>20, maxFiles)
	}
	s.size += len(f.data)
	s.index[f.name] = len(s.files)
	s.files = append(s.files, f)
	return nil
}

func (s *Snapshot) lookupName(host string) ([]netip.Addr, bool) {
	i, ok := s.hosts[host]
	if !ok {
		return nil, false
	}
	return s.names[i].ips, true
}

// addName records the addresses of a host that is not there yet.
func (s *Snapshot) addName(n name) error {
	if len(s.names) >= maxNames || s.ips+len(n.ips) > maxAddresses {
		return fmt.Errorf("record host %q: the configuration names more than %d hosts or they have more than %d addresses",
			n.host, maxNames, maxAddresses)
	}
	s.ips += len(n.ips)
	s.hosts[n.host] = len(s.names)
	s.names = append(s.names, n)
	return nil
}

// A reader gives files, matches of patterns and addresses of hosts, and records each
// in into. They come from the disk and from resolve when from is nil, and from an
// older snapshot otherwise.
type reader struct {
	into    *Snapshot
	from    *Snapshot
	resolve Resolve
	waited  time.Duration // for files that others write
}

// read returns the content of a file by its full name. What was read once is not
// read again: within one load a file does not change.
func (r *reader) read(name string, included bool) ([]byte, error) {
	f, ok := r.into.lookup(name)
	if !ok {
		data, err := r.fetch(name)
		if err != nil {
			return nil, err
		}
		f = file{name: name, data: data}
	}
	f.included = included
	return f.data, r.into.add(f)
}

func (r *reader) fetch(name string) ([]byte, error) {
	if r.from == nil {
		data, slow, err := readWithin(name, maxFile, r.patience()-r.waited, r.patience())
		r.waited += slow
		return data, err
	}
	f, ok := r.from.lookup(name)
	if !ok {
		return nil, fileError("open", name, syscall.ENOENT)
	}
	return f.data, nil
}

func (r *reader) patience() time.Duration { return r.into.options.withDefaults().Patience }

// glob returns the names that pattern matches, sorted.
func (r *reader) glob(pattern string) ([]string, error) {
	if names, ok := r.into.lookupGlob(pattern); ok {
		return names, nil
	}
	var names []string
	if r.from == nil {
		var ok bool
		if names, ok = within(r.patience(), func() []string { return matchDisk(pattern) }); !ok {
			return nil, fileError("glob", pattern, syscall.ETIMEDOUT)
		}
	} else {
		names, _ = r.from.lookupGlob(pattern)
	}
	r.into.globs = append(r.into.globs, glob{pattern, names})
	return names, nil
}

var (
	errNotRecorded = errors.New("host not among those that were looked up when the configuration was loaded")
	errNoResolve   = errors.New("host cannot be looked up here")
	errNoAddress   = errors.New("host not found")
)

// addresses returns the addresses of host. What was looked up once is not looked up
// again: within one load a name stands for the same addresses everywhere.
func (r *reader) addresses(host string) ([]netip.Addr, error) {
	host = strings.ToLower(host)
	if ips, ok := r.into.lookupName(host); ok {
		return ips, nil
	}
	ips, err := r.lookUp(host)
	if err != nil {
		return nil, err
	}
	return ips, r.into.addName(name{host, ips})
}

func (r *reader) lookUp(host string) ([]netip.Addr, error) {
	if r.from != nil {
		ips, ok := r.from.lookupName(host)
		if !ok {
			return nil, errNotRecorded
		}
		return ips, nil
	}
	if r.resolve == nil {
		return nil, errNoResolve
	}
	ips, err := r.resolve(host)
	if err == nil && len(ips) == 0 {
		err = errNoAddress
	}
	return ips, err
}
