package accesslog

import (
	"io"
	"runtime"
	"sync"
	"time"
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
	buf    []byte
	timer  *time.Timer // runs while buf holds something, if flush is set
	taken  bool        // without a buffer: somebody is going to write what buf holds
	failed error       // of a write that no request waited for
	told   time.Time   // when a failure was reported last
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

// maxGathered is how much gather lets wait.
const maxGathered = 32 << 10

// gather writes line together with those of other requests that complete at the
// same moment: whoever comes first lets the goroutines run that are ready to, and
// then writes for all of them, before it goes on itself. So a line waits no longer
// than it takes to serve what has arrived already, and when nothing has it does not
// wait at all. A busy worker saves most of its writes.
func (f *file) gather(line []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buf = append(f.buf, line...)
	if !f.taken {
		f.taken = true
		f.mu.Unlock()
		runtime.Gosched()
		f.mu.Lock()
		f.taken = false
	} else if len(f.buf) < maxGathered {
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

// Flush writes what the buffer holds.
func (f *file) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushLocked()
}

// flushLocked writes the buffer. f.mu must be held.
func (f *file) flushLocked() {
	if f.timer != nil {
		f.timer.Stop()
	}
	if len(f.buf) == 0 {
		return
	}
	if _, err := f.out.Write(f.buf); err != nil {
		f.failed = err
	}
	f.buf = f.buf[:0]
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
