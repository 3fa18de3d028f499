package conf

import (
	"fmt"
	"syscall"
)

// maxFile bounds one file, maxSnapshot all of them together. No configuration that
// anybody writes comes near; a device or a log included by mistake does.
const (
	maxFile     = 64 << 20
	maxSnapshot = 256 << 20
	maxFiles    = 100_000
)

// A Snapshot is all that a configuration was made from: the options it was loaded
// with, every file that was read for it, and what each pattern of an include
// matched. Loading it again gives the same configuration, whatever lies on disk by
// then, in this process or in one that got it over a descriptor.
//
// A Snapshot belongs to the Config that [Load] made and grows when that Config reads
// a file, so it is for one goroutine until loading is done.
type Snapshot struct {
	options Options
	root    bool // loaded by the super-user: the default listen port depends on it
	files   []file
	index   map[string]int // name → place in files
	globs   []glob
	size    int // bytes in files
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

// Format writes how large the snapshot is and nothing of its content, for every verb:
// private keys are in it, and no log may show them.
func (s *Snapshot) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "snapshot of %d files, %d bytes", len(s.files), s.size)
}

// Load parses the configuration again from what was recorded, with no access to the
// disk.
func (s *Snapshot) Load(t *Table) (*Config, error) {
	again := newSnapshot(s.options, s.root)
	return load(t, &reader{into: again, from: s})
}

func newSnapshot(o Options, root bool) *Snapshot {
	return &Snapshot{options: o, root: root, index: make(map[string]int)}
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

// A reader gives files and matches of patterns and records each in into. They come
// from the disk when from is nil, and from an older snapshot otherwise.
type reader struct {
	into *Snapshot
	from *Snapshot
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
		return readDisk(name)
	}
	f, ok := r.from.lookup(name)
	if !ok {
		return nil, fileError("open", name, syscall.ENOENT)
	}
	return f.data, nil
}

// glob returns the names that pattern matches, sorted.
func (r *reader) glob(pattern string) []string {
	if names, ok := r.into.lookupGlob(pattern); ok {
		return names
	}
	var names []string
	if r.from == nil {
		names = matchDisk(pattern)
	} else {
		names, _ = r.from.lookupGlob(pattern)
	}
	r.into.globs = append(r.into.globs, glob{pattern, names})
	return names
}
