package errorlog

import (
	"fmt"
	"log/slog"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"
)

// A line is one record being rendered.
type line struct {
	prefix string // of the group the attributes are in
	conn   []byte
	cause  []byte
	attrs  []byte
	text   []byte // the whole in the long form, newline included
	short  []byte // the whole in the short form

	addRecord func(slog.Attr) bool
}

// maxKept bounds what a line keeps for the next record: one huge record must
// not hold its memory for ever.
const maxKept = 16 << 10

func (l *line) reset(h *handler) {
	l.prefix = h.prefix
	l.conn = append(l.conn[:0], h.conn...)
	l.cause = append(l.cause[:0], h.cause...)
	l.attrs = append(l.attrs[:0], h.attrs...)
}

func (l *line) free() {
	if cap(l.text) <= maxKept && cap(l.attrs) <= maxKept {
		lines.Put(l)
	}
}

// appendBody appends what is behind the level and the pid.
func (l *line) appendBody(b []byte, msg string) []byte {
	b = append(b, l.conn...)
	b = appendEscaped(b, msg, false)
	b = append(b, l.cause...)
	b = append(b, l.attrs...)
	return endLine(b)
}

// maxLine is nginx's bound of a line, with its end (NGX_MAX_ERROR_STR): what somebody has
// chosen must not fill a disk, and readers of logs have buffers of that size.
const maxLine = 2048

// endLine ends the only line in b, which is cut when it is too long, between characters.
func endLine(b []byte) []byte {
	if len(b) >= maxLine {
		end := maxLine - 1
		for end > maxLine-utf8.UTFMax && !utf8.RuneStart(b[end]) {
			end--
		}
		b = b[:end]
	}
	return append(b, '\n')
}

// add renders one attribute to its place.
func (l *line) add(a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		outer := l.prefix
		if a.Key != "" {
			l.prefix += a.Key + "."
		}
		for _, inner := range v.Group() {
			l.add(inner)
		}
		l.prefix = outer
		return
	}
	if a.Equal(slog.Attr{}) {
		return // slog's rule: the zero Attr is ignored
	}
	if l.prefix == "" {
		switch a.Key {
		case KeyConn:
			l.conn = append(appendValue(append(l.conn[:0], '*'), v, false), ' ')
			return
		case KeyErr:
			l.addCause(v)
			return
		}
	}
	l.attrs = append(l.attrs, ", "...)
	l.attrs = append(l.attrs, l.prefix...)
	l.attrs = appendEscaped(l.attrs, a.Key, false)
	l.attrs = append(l.attrs, ": "...)
	quoted := l.prefix == "" && isQuoted(a.Key)
	if quoted {
		l.attrs = append(l.attrs, '"')
	}
	l.attrs = appendValue(l.attrs, v, quoted)
	if quoted {
		l.attrs = append(l.attrs, '"')
	}
}

func (l *line) addCause(v slog.Value) {
	if errno, ok := v.Any().(syscall.Errno); ok {
		l.cause = appendErrno(append(l.cause, ' '), errno)
		return
	}
	if v.Kind() == slog.KindAny && v.Any() == nil {
		return // "err", nil: nothing went wrong
	}
	l.cause = append(l.cause, ": "...)
	l.cause = appendValue(l.cause, v, false)
}

// isQuoted reports whether nginx writes the value of key in quotes: those that
// the client has chosen.
func isQuoted(key string) bool {
	switch key {
	case "request", "subrequest", "upstream", "host", "referrer":
		return true
	}
	return false
}

func appendValue(b []byte, v slog.Value, quoted bool) []byte {
	switch v.Kind() {
	case slog.KindString:
		return appendEscaped(b, v.String(), quoted)
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindFloat64:
		return strconv.AppendFloat(b, v.Float64(), 'g', -1, 64)
	case slog.KindDuration:
		return append(b, v.Duration().String()...)
	case slog.KindTime:
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	}
	switch x := v.Any().(type) {
	case []byte:
		return appendEscaped(b, string(x), quoted)
	default:
		// Sprint finds Error and String methods, and it survives their panics.
		return appendEscaped(b, fmt.Sprint(x), quoted)
	}
}

// appendEscaped appends s so that it stays on its line and in its quotes, and
// does nothing to a terminal: control characters (C1 too) and bytes that are
// not UTF-8 become \xHH, as in nginx's access log; in quotes also " and \.
func appendEscaped(b []byte, s string, quoted bool) []byte {
	start := 0
	for i := 0; i < len(s); {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		clean := r >= 0x20 && r < 0x7f || r >= 0xa0 && (r != utf8.RuneError || n > 1)
		if clean && (!quoted || r != '"' && r != '\\') {
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		for ; n > 0; n-- {
			const hex = "0123456789ABCDEF"
			b = append(b, '\\', 'x', hex[s[i]>>4], hex[s[i]&15])
			i++
		}
		start = i
	}
	return append(b, s[start:]...)
}

// Errno returns e as nginx writes it, in the C library's capitals:
// "(2: No such file or directory)".
func Errno(e syscall.Errno) string {
	return string(appendErrno(nil, e))
}
