package conf

import (
	"crypto/sha256"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Sources is what a configuration was made from, without the content: enough to tell
// whether it is otherwise on disk by now. Its methods may be called by several goroutines.
type Sources struct {
	mu    sync.Mutex // guards all; it is held while the disk is looked at
	files []source
	globs []glob
}

// A source is one file and what it held.
type source struct {
	name string
	sum  [sha256.Size]byte
	seen stamp // of the file that was found to hold that; zero for none
}

// A stamp is the same as long as nobody writes to a file.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// Sources returns what the configuration of this snapshot was made from until now.
func (s *Snapshot) Sources() *Sources {
	src := &Sources{files: make([]source, 0, len(s.files)), globs: slices.Clone(s.globs)}
	for _, f := range s.files {
		src.files = append(src.files, source{name: f.name, sum: sha256.Sum256(f.data)})
	}
	return src
}

// Changed returns the names of files that hold something else than they did, or are gone,
// and the patterns of includes that match other files, no more than most. What is no plain
// file, or cannot be looked at, counts as it was. Each call looks at the disk: it asks for
// the stamps of all files, and reads those that have another one, or were written within
// the last second. While another call looks, for ever when the disk hangs, the result is nil.
func (s *Sources) Changed(most int) (found []string) {
	if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	for i := range s.files {
		if f := &s.files[i]; len(found) < most && f.changed() {
			found = append(found, f.name)
		}
	}
	for _, g := range s.globs {
		if len(found) < most && !slices.Equal(matchDisk(g.pattern), g.names) {
			found = append(found, g.pattern)
		}
	}
	return found
}

func (f *source) changed() bool {
	fi, err := os.Stat(f.name)
	if err != nil {
		return os.IsNotExist(err)
	}
	if !fi.Mode().IsRegular() {
		return false
	}
	st := fi.Sys().(*syscall.Stat_t)
	now := stamp{st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim}
	if now == f.seen {
		return false
	}
	data, _, err := readDisk(f.name, maxFile, time.Now()) // a plain file makes nobody wait
	if err != nil {
		return false
	}
	if sha256.Sum256(data) != f.sum {
		return true
	}
	// A write within the clock's tick would leave the stamp as it is: only what is older
	// is known by it.
	if time.Since(fi.ModTime()) > time.Second {
		f.seen = now
	}
	return false
}
