package httpd

import (
	"container/list"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"golang.org/x/sys/unix"
)

// fileSettings is how one location looks files up: open_file_cache and what goes
// with it.
type fileSettings struct {
	cache      *fileCache // nil: off
	valid      time.Duration
	minUses    int
	errors     bool
	logMissing bool
	links      linkRule
}

// A fileCache is one open_file_cache: open files, and what is known of
// directories and of missing files, by name. All locations that inherit the
// directive share it.
type fileCache struct {
	max      int
	inactive time.Duration

	// mu guards what follows and the entries. It is a leaf, and no file is opened
	// or looked at while it is held.
	mu     sync.Mutex
	files  map[string]*cachedFile
	order  list.List // of *cachedFile, used last first
	closed bool
}

// A cachedFile is one name in the cache.
type cachedFile struct {
	cache *fileCache
	name  string
	at    *list.Element // nil once it is out of the cache

	file     File // FD is -1 while it is not kept open
	id       identity
	fault    OpenFault
	checked  time.Time
	accessed time.Time
	uses     int // since it came into the cache, or went unused for inactive
	minUses  int
	users    int // Files that are not closed yet
}

// open is OpenFile through the cache.
func (c *fileCache) open(s *fileSettings, path []byte) (File, OpenFault) {
	now := time.Now()
	c.mu.Lock()
	e := c.files[string(path)]
	if e != nil {
		e.uses++
		c.touch(e, now)
		if f, fault, ok := e.fresh(s, now); ok {
			c.mu.Unlock()
			return f, fault
		}
	}
	c.mu.Unlock()
	if e != nil {
		if f, fault, ok := c.recheck(e, path, now); ok {
			return f, fault
		}
	}
	f, id, fault := openFile(path)
	if fault.Errno != 0 && !(s.errors && fault.Status() != 500) {
		c.drop(e)
		return f, fault
	}
	return c.keep(s, e, path, now, f, id, fault)
}

// fresh answers from the entry while it is valid. The cache is locked.
func (e *cachedFile) fresh(s *fileSettings, now time.Time) (File, OpenFault, bool) {
	if now.Sub(e.checked) >= s.valid {
		return File{}, OpenFault{}, false
	}
	if e.fault.Errno != 0 || !e.file.Regular {
		f := e.file
		f.FD = -1
		return f, e.fault, true
	}
	if e.file.FD < 0 {
		return File{}, OpenFault{}, false // not used often enough to be kept open
	}
	return e.useLocked(), OpenFault{}, true
}

// useLocked returns the file for one more user.
func (e *cachedFile) useLocked() File {
	e.users++
	f := e.file
	f.cached = e
	return f
}

// recheck looks whether the name still is the file that is kept open.
func (c *fileCache) recheck(e *cachedFile, path []byte, now time.Time) (File, OpenFault, bool) {
	seen, id, fault := statFile(path)
	c.mu.Lock()
	defer c.mu.Unlock()
	if fault.Errno != 0 || e.at == nil || e.file.FD < 0 || e.id != id || !seen.Regular {
		return File{}, OpenFault{}, false
	}
	e.file.Size, e.file.Modified = seen.Size, seen.Modified
	e.checked = now
	return e.useLocked(), OpenFault{}, true
}

// keep puts what was just opened into the cache in place of old, which may be nil.
func (c *fileCache) keep(s *fileSettings, old *cachedFile, path []byte, now time.Time, f File, id identity, fault OpenFault) (File, OpenFault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return f, fault
	}
	uses := 1
	if old != nil {
		uses = old.uses
	}
	// Somebody else may have put another one there meanwhile.
	c.removeLocked(c.files[string(path)])
	c.expireLocked(now, len(c.files) >= c.max)
	e := &cachedFile{
		cache: c, name: string(path), file: f, id: id, fault: fault,
		checked: now, accessed: now, uses: uses, minUses: s.minUses,
	}
	e.file.cached = nil
	c.files[e.name] = e
	e.at = c.order.PushFront(e)
	if fault.Errno != 0 || !f.Regular {
		return f, fault
	}
	return e.useLocked(), fault
}

// release ends one use of the entry's file.
func (e *cachedFile) release() {
	c := e.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	if e.users > 0 || e.at != nil && e.uses >= e.minUses {
		return
	}
	e.closeLocked()
}

func (e *cachedFile) closeLocked() {
	if e.users == 0 && e.file.FD >= 0 {
		_ = unix.Close(e.file.FD)
		e.file.FD = -1
	}
}

func (c *fileCache) touch(e *cachedFile, now time.Time) {
	e.accessed = now
	c.order.MoveToFront(e.at)
	c.expireLocked(now, false)
}

// expireLocked drops what nobody asked for during inactive, two at most so that
// no request pays for many; with full the one that was used last goes anyway.
func (c *fileCache) expireLocked(now time.Time, full bool) {
	for range 2 {
		last := c.order.Back()
		if last == nil {
			return
		}
		e := last.Value.(*cachedFile)
		if !full && now.Sub(e.accessed) <= c.inactive {
			return
		}
		full = false
		c.removeLocked(e)
	}
}

// removeLocked takes e, which may be nil, out of the cache; its file is closed
// when its last user is done.
func (c *fileCache) removeLocked(e *cachedFile) {
	if e == nil || e.at == nil {
		return
	}
	delete(c.files, e.name)
	c.order.Remove(e.at)
	e.at = nil
	e.closeLocked()
}

func (c *fileCache) drop(e *cachedFile) {
	c.mu.Lock()
	c.removeLocked(e)
	c.mu.Unlock()
}

// Close closes every file that is not in use; the others are closed by their users.
func (c *fileCache) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, e := range c.files {
		c.removeLocked(e)
	}
}

// setFiles reads open_file_cache and its companions.
func (b *Builder) setFiles(s *conf.Scope, c *coreConf) error {
	g := settings{s: s}
	c.files = fileSettings{
		valid:      g.seconds("open_file_cache_valid", 60*time.Second),
		minUses:    g.int("open_file_cache_min_uses", 1),
		errors:     g.flag("open_file_cache_errors", false),
		logMissing: g.flag("log_not_found", true),
	}
	if g.err != nil {
		return g.err
	}
	if err := b.setLinks(s, &c.files); err != nil {
		return err
	}
	d := s.One("open_file_cache")
	if d == nil {
		return nil
	}
	if have, ok := b.fileCaches[d]; ok {
		c.files.cache = have
		return nil
	}
	cache, err := newFileCache(d)
	if err != nil {
		return err
	}
	b.fileCaches[d] = cache
	if c.files.cache = cache; cache != nil {
		b.site.closers = append(b.site.closers, cache)
	}
	return nil
}

// newFileCache reads "open_file_cache off | max=N [inactive=time]"; nil for off.
func newFileCache(d *conf.Directive) (*fileCache, error) {
	c := &fileCache{inactive: 60 * time.Second, files: map[string]*cachedFile{}}
	off := false
	for _, a := range d.Args {
		if a == "off" {
			off = true
			continue
		}
		var err error
		switch name, value, _ := cutParameter(a); name {
		case "max":
			var n int64
			n, err = conf.ParseNumber(value)
			c.max = int(min(n, 1<<30))
			if n <= 0 {
				return nil, conf.Errorf(d, "invalid \"open_file_cache\" parameter \"%s\"", a)
			}
		case "inactive":
			c.inactive, err = conf.ParseSeconds(value)
		default:
			return nil, conf.Errorf(d, "invalid \"open_file_cache\" parameter \"%s\"", a)
		}
		if err != nil {
			return nil, conf.Errorf(d, "invalid \"open_file_cache\" parameter \"%s\"", a)
		}
	}
	switch {
	case off:
		return nil, nil
	case c.max == 0:
		return nil, conf.Errorf(d, "\"open_file_cache\" must have the \"max\" parameter")
	}
	return c, nil
}
