// Package logfile writes lines to files that another process opened and may replace while
// they are written to.
//
// It knows whole lines and files, not what is logged or who asked for it.
package logfile

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/rawcall"
)

// A File is a file that the master opened for its workers and may replace at
// any time (USR1). The zero File drops what is written.
type File struct {
	f atomic.Pointer[openLog]
	// slow is until when the disk is taken to be slow, in nanoseconds since 1970.
	slow atomic.Int64
}

// An openLog is a log file that is open.
type openLog struct {
	*os.File
	raw syscall.RawConn // of a regular file, else nil
}

// Set replaces the file by f, which stays the caller's. The one that was replaced may be
// closed once Set has returned.
func (l *File) Set(f *os.File) {
	o := &openLog{File: f}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		o.raw, _ = f.SyscallConn()
	}
	l.f.Store(o)
}

// Write appends p with one write(2), so that lines of several workers do not mix.
// The file may be replaced and then closed at the same moment: the line goes to
// one of the two.
func (l *File) Write(p []byte) (int, error) {
	for {
		f := l.f.Load()
		if f == nil {
			return len(p), nil
		}
		n, err := l.writeTo(f, p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrClosed) || l.f.Load() == f {
			return n, err
		}
	}
}

// A write to a regular file goes into the kernel's memory and is over in a microsecond,
// so it is made as those to sockets are. One that took longer than slowWrite had to wait
// for the disk: for as long as slowDisk the scheduler is told of all.
const (
	slowWrite = 5 * time.Millisecond
	slowDisk  = time.Second
)

func (l *File) writeTo(f *openLog, p []byte) (int, error) {
	if f.raw == nil || len(p) == 0 || len(p) > rawcall.MaxBytes {
		return f.Write(p) // a pipe's reader may take any time, and two calls let another's line between them
	}
	began := time.Now()
	if began.UnixNano() < l.slow.Load() {
		return f.Write(p)
	}
	w := logWrites.Get().(*logWrite)
	w.p, w.n = p, 0
	_ = f.raw.Write(w.try)
	n := w.n
	w.p = nil
	logWrites.Put(w)
	if time.Since(began) > slowWrite {
		l.slow.Store(began.Add(slowDisk).UnixNano())
	}
	if n == len(p) {
		return n, nil
	}
	more, err := f.Write(p[n:]) // tells what is wrong: the disk is full, the file closed
	return n + more, err
}

// A logWrite is one write, kept because a closure for each would be garbage.
type logWrite struct {
	p   []byte
	n   int // how much was written
	try func(fd uintptr) bool
}

var logWrites = sync.Pool{New: func() any {
	w := new(logWrite)
	w.try = func(fd uintptr) bool {
		w.n = rawcall.Write(int(fd), w.p)
		return true
	}
	return w
}}
