package errorlog

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A Direct composes lines for a logger without the way through slog's records and
// attributes, which costs a server more than the rest of an answer such as 404: it
// logs one line for each.
type Direct struct {
	log *slog.Logger
	h   *handler // nil: log is not one of New's as New made it
}

// NewDirect returns a Direct that writes to where log does.
func NewDirect(log *slog.Logger) *Direct {
	d := &Direct{log: log}
	if h, ok := log.Handler().(*handler); ok && h.conn+h.cause+h.attrs+h.prefix == "" {
		d.h = h
	}
	return d
}

// Enabled reports whether a line of that level would be written.
func (d *Direct) Enabled(level slog.Level) bool {
	return d.log.Enabled(context.Background(), level)
}

// An Entry is one line on its way. What is appended to it is made fit to stand
// there, as slog's attributes are.
type Entry struct {
	d     *Direct
	level slog.Level
	head  int // where the text begins behind time and process
	text  []byte
	short []byte
}

var entries = sync.Pool{New: func() any { return new(Entry) }}

// Begin returns an empty line. Its user must call Write, and not use it afterwards.
func (d *Direct) Begin(level slog.Level) *Entry {
	e := entries.Get().(*Entry)
	e.d, e.level, e.text = d, level, e.text[:0]
	if d.h != nil {
		e.text = d.h.appendHead(e.text, time.Now(), LevelName(level))
	}
	e.head = len(e.text)
	return e
}

// Conn appends the number of the connection; it stands first.
func (e *Entry) Conn(n uint64) {
	e.text = append(strconv.AppendUint(append(e.text, '*'), n, 10), ' ')
}

// Text appends the message, or a part of it.
func (e *Entry) Text(s string) { e.text = appendText(e.text, s, false) }

// Cause appends why; see [KeyErr].
func (e *Entry) Cause(err error) {
	var errno syscall.Errno
	switch {
	case err == nil:
	case asErrno(err, &errno):
		e.text = appendErrno(append(e.text, ' '), errno)
	default:
		e.text = appendText(append(e.text, ": "...), err.Error(), false)
	}
}

// asErrno is errors.As without looking at what err wraps.
func asErrno(err error, errno *syscall.Errno) (ok bool) {
	*errno, ok = err.(syscall.Errno)
	return ok
}

// Field appends ", key: value".
func (e *Entry) Field(key, value string) {
	e.key(key)
	e.text = appendText(e.text, value, false)
}

// Quoted appends `, key: "value"`, for what a client has chosen.
func (e *Entry) Quoted(key string, value []byte) {
	e.key(key)
	e.text = append(appendText(append(e.text, '"'), value, true), '"')
}

func (e *Entry) key(key string) {
	e.text = append(append(append(e.text, ", "...), key...), ": "...)
}

// Write writes the line: below crit together with those that other goroutines, ready
// to run by now, write meanwhile.
func (e *Entry) Write() {
	if h := e.d.h; h == nil {
		e.d.log.Log(context.Background(), e.level, string(e.text))
	} else {
		e.text = endLine(e.text)
		e.short, _ = h.put(e.text, e.short, e.head, e.level, true) // as slog, which drops the error too
	}
	if e.d = nil; cap(e.text) <= maxKept {
		entries.Put(e)
	}
}

// put writes a line to every output whose level it reaches, and returns what went
// wrong with any. text[head:] is what follows time and process, short is memory for
// the form for terminals. With gather a line that is not urgent may be written
// together with others.
func (h *handler) put(text, short []byte, head int, level slog.Level, gather bool) ([]byte, error) {
	var errs []error
	for _, o := range h.outputs {
		if level < o.level {
			continue
		}
		b := text
		if o.word != "" {
			short = append(append(short[:0], o.word...), ": ["...)
			short = append(append(short, LevelName(level)...), "] "...)
			short = append(short, text[head:]...)
			b = short
		}
		write := o.write
		if gather && level < Crit {
			write = o.gather
		}
		if err := write(b); err != nil {
			errs = append(errs, err)
		}
	}
	return short, errors.Join(errs...)
}

// plain tells which bytes stand for themselves, in quotes too.
var plain = func() (table [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// appendText is appendEscaped, quick where nothing is to be escaped.
func appendText[T string | []byte](b []byte, s T, quoted bool) []byte {
	i := 0
	for i < len(s) && plain[s[i]] {
		i++
	}
	b = append(b, s[:i]...)
	if i == len(s) {
		return b
	}
	return appendEscaped(b, string(s[i:]), quoted)
}

// appendErrno appends what Errno returns.
func appendErrno(b []byte, e syscall.Errno) []byte {
	b = append(strconv.AppendInt(append(b, '('), int64(e), 10), ": "...)
	at := len(b)
	b = append(b, e.Error()...)
	if len(b) > at && 'a' <= b[at] && b[at] <= 'z' {
		b[at] -= 'a' - 'A'
	}
	return append(b, ')')
}
