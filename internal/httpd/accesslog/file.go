package accesslog

import (
	"io"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/gather"
)

// A file is one log file, with or without a buffer before it. All access_log
// directives that name the same file share it.
type file struct {
	out   io.Writer
	size  int           // of the buffer; 0 for none
	flush time.Duration // longest time that a line waits; 0: no limit

	// mu guards what follows. It is a leaf, and is held while the buffer is
	// written, so that lines stay in order.
	mu     sync.Mutex
	buf    []byte       // with a buffer
	timer  *time.Timer  // runs while buf holds something, if flush is set
	lines  gather.Lines // without one
	failed error        // of a write that no request waited for
	told   time.Time    // when a failure was reported last
}

// quiet is how long a failure to write is not reported again.
const quiet = time.Minute

// write writes line or adds it to the buffer. It returns an error that is to be
// reported.
func (f *file) write(line []byte) error {
	if f.size == 0 {
		return f.gather(line)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.buf)+len(line) > f.size {
		f.flushLocked()
	}
	if len(line) > f.size {
		if _, err := f.out.Write(line); err != nil {
			f.failed = err
		}
	} else {
		if f.buf == nil {
			f.buf = make([]byte, 0, f.size)
		}
		if len(f.buf) == 0 && f.flush > 0 {
			f.startTimerLocked()
		}
		f.buf = append(f.buf, line...)
	}
	err := f.failed
	f.failed = nil
	return f.reportLocked(err)
}

// gather writes line together with those of other requests that complete at the
// same moment.
func (f *file) gather(line []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.lines.Join(&f.mu, line) {
		return nil
	}
	f.flushLocked()
	err := f.failed
	f.failed = nil
	return f.reportLocked(err)
}

func (f *file) startTimerLocked() {
	if f.timer == nil {
		f.timer = time.AfterFunc(f.flush, f.Flush)
		return
	}
	f.timer.Reset(f.flush)
}

// Flush writes what waits.
func (f *file) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushLocked()
}

// flushLocked writes what waits. f.mu must be held.
func (f *file) flushLocked() {
	if f.timer != nil {
		f.timer.Stop()
	}
	waits := f.buf
	if f.size == 0 {
		waits = f.lines.Buf
	}
	if len(waits) > 0 {
		if _, err := f.out.Write(waits); err != nil {
			f.failed = err
		}
	}
	f.buf = f.buf[:0]
	f.lines.Clear()
}

// reportLocked returns err unless one was reported a short while ago: a full disk
// must not fill the error log too. f.mu must be held.
func (f *file) reportLocked(err error) error {
	if err == nil {
		return nil
	}
	now := time.Now()
	if !f.told.IsZero() && now.Sub(f.told) < quiet {
		return nil
	}
	f.told = now
	return err
}
