package errorlog

import (
	"context"
	"log/slog"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Attributes that are not written as ", key: value".
const (
	// KeyConn is the number of the connection, written as "*7 " before the message.
	KeyConn = "conn"
	// KeyErr is the cause, written right behind the message: ": cause", or as
	// nginx writes an errno when it is a syscall.Errno: " (2: No such file or directory)".
	KeyErr = "err"
)

// New returns a logger that writes each record to every output whose level it
// reaches. With no outputs it discards everything.
func New(outputs ...*Output) *slog.Logger { return NewIn(nil, outputs...) }

// NewIn is New for lines that tell the time of zone, which is nil for that of the process.
func NewIn(zone *time.Location, outputs ...*Output) *slog.Logger {
	pid := strconv.Itoa(os.Getpid())
	h := &handler{outputs: outputs, process: pid + "#" + pid + ": ", last: new(atomic.Pointer[stamp]), zone: zone, min: math.MaxInt}
	for _, o := range outputs {
		h.min = min(h.min, o.level)
		h.console = h.console || o.word != ""
	}
	return slog.New(h)
}

// A handler is never changed once made; With and WithGroup copy it.
type handler struct {
	outputs []*Output
	process string // "123#123: "
	last    *atomic.Pointer[stamp]
	zone    *time.Location // nil: time.Local
	min     slog.Level
	console bool // some output wants the short form

	conn   string // "*7 " or ""
	cause  string // ": cause" or ""
	attrs  string // ", key: value" of With, rendered already
	prefix string // "group." of WithGroup
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.min }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var l line
	l.prefix = h.prefix
	for _, a := range attrs {
		l.add(a)
	}
	c := *h
	if len(l.conn) > 0 {
		c.conn = string(l.conn)
	}
	c.cause += string(l.cause)
	c.attrs += string(l.attrs)
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix += name + "."
	return &c
}

// Handle writes r. It tries every output, and returns what went wrong with any.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	l := lines.Get().(*line)
	defer l.free()
	l.reset(h)
	r.Attrs(l.addRecord)

	l.text = h.appendHead(l.text[:0], r.Time, LevelName(r.Level))
	head := len(l.text)
	l.text = l.appendBody(l.text, r.Message)
	var err error
	l.short, err = h.put(l.text, l.short, head, r.Level, false)
	return err
}

// appendHead appends "2026/11/20 21:00:00 [notice] 123#123: ".
//
// nginx has the thread's number behind the #. A goroutine has none that lasts,
// and an nginx worker's main thread has the number of its process, so ours is
// the process's twice.
func (h *handler) appendHead(b []byte, t time.Time, level string) []byte {
	if t.IsZero() {
		t = time.Now()
	}
	b = h.appendTime(b, t)
	b = append(append(b, " ["...), level...)
	b = append(b, "] "...)
	return append(b, h.process...)
}

// A stamp is one second as a line begins with it.
type stamp struct {
	unix int64
	text string
}

// appendTime appends "2026/11/20 21:00:00", made once for each second.
func (h *handler) appendTime(b []byte, t time.Time) []byte {
	if h.zone != nil {
		t = t.In(h.zone)
	} else if t.Location() != time.Local {
		return t.AppendFormat(b, stampLayout)
	}
	last := h.last.Load()
	if last == nil || last.unix != t.Unix() {
		last = &stamp{t.Unix(), t.Format(stampLayout)}
		h.last.Store(last)
	}
	return append(b, last.text...)
}

const stampLayout = "2006/01/02 15:04:05"

// lines is memory for records on their way, reused.
var lines = sync.Pool{New: func() any {
	l := new(line)
	// Made once, not for each record: a method value is an allocation.
	l.addRecord = func(a slog.Attr) bool { l.add(a); return true }
	return l
}}
