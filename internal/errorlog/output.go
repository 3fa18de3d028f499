package errorlog

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/baton-deploy/baton/internal/gather"
)

// An Output is one place that records go to: a file, standard error. It is
// safe for use by many goroutines.
type Output struct {
	level slog.Level
	word  string // not "": the short form, for a terminal
	sink  atomic.Pointer[io.Writer]

	// mu guards what follows. It is held while the buffer is written, so that lines
	// stay in order.
	mu    sync.Mutex
	lines gather.Lines
}

// NewOutput returns an Output that writes to w the records of level and above.
// w gets whole lines, from several goroutines at once; an *os.File is right as it is. The caller goes on owning w.
func NewOutput(w io.Writer, level slog.Level) *Output {
	o := &Output{level: level}
	o.sink.Store(&w)
	return o
}

// NewConsole returns an Output in the short form in which nginx tells the
// person at the terminal why it does not start, with no time and no pid:
//
//	word: [emerg] message
func NewConsole(w io.Writer, word string, level slog.Level) *Output {
	o := NewOutput(w, level)
	o.word = word
	return o
}

// Reopen makes w the writer and returns the one before, which the caller may
// close at once: a record that was on its way to it goes to w instead when it
// comes too late. That needs a writer whose Write after Close is
// [os.ErrClosed], as *os.File has it.
func (o *Output) Reopen(w io.Writer) io.Writer {
	return *o.sink.Swap(&w)
}

// gather is write for lines of which a busy server has many at the same moment. What
// goes wrong is told to the one who writes for all of them.
func (o *Output) gather(line []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.lines.Join(&o.mu, line) {
		return nil
	}
	return o.flushLocked()
}

// flushLocked writes what waits. o.mu must be held.
func (o *Output) flushLocked() error {
	if len(o.lines.Buf) == 0 {
		return nil
	}
	err := o.writeNow(o.lines.Buf)
	o.lines.Clear()
	return err
}

// write writes line, behind what waits.
func (o *Output) write(line []byte) error {
	o.mu.Lock()
	err := o.flushLocked()
	o.mu.Unlock()
	if lineErr := o.writeNow(line); lineErr != nil {
		err = lineErr
	}
	return err
}

// writeNow gives lines to the writer of this moment, once more when that one was
// closed by a Reopen in between.
func (o *Output) writeNow(lines []byte) error {
	for {
		sink := o.sink.Load()
		_, err := (*sink).Write(lines)
		if errors.Is(err, os.ErrClosed) && o.sink.Load() != sink {
			continue
		}
		return err
	}
}
