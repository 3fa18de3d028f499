package h2

import (
	"strings"

	"golang.org/x/net/http2/hpack"
)

// A headReader gathers the fields of one head as they are decoded, into the text that
// HTTP/1 would have for it.
type headReader struct {
	method, scheme, path, authority string
	seen                            pseudo
	lines                           []byte // the fields
	cookies                         []byte // the values of those for cookies, put together
	crumbs                          int    // how many these are
	size, limit                     int    // of all names and values, and how large it may be
	fault                           string // what is wrong with the head, for the log; then nothing is gathered
	malformed                       bool   // the fault is not worth an answer
}

// A pseudo tells which pseudo-header fields were there.
type pseudo uint8

const (
	hasMethod pseudo = 1 << iota
	hasScheme
	hasPath
	hasAuthority
)

func (h *headReader) reset() {
	*h = headReader{lines: h.lines[:0], cookies: h.cookies[:0], limit: h.limit}
}

// field takes the next one. The texts of faults are nginx's.
func (h *headReader) field(f hpack.HeaderField) {
	h.size += len(f.Name) + len(f.Value)
	switch {
	case h.size > h.limit: // a byte can stand for 4 KB of the table
	case h.fault != "":
	case strings.HasPrefix(f.Name, ":"):
		h.pseudoField(f)
	case f.Name == "cookie":
		if !h.checkValue(f) {
			return
		}
		if h.crumbs > 0 {
			h.cookies = append(h.cookies, "; "...)
		}
		h.crumbs++
		h.cookies = append(h.cookies, f.Value...)
	default:
		if h.checkName(f.Name) && h.checkValue(f) {
			h.lines = appendLine(h.lines, f.Name, f.Value)
		}
	}
}

func appendLine(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

// pseudoField takes a field of the request line's.
func (h *headReader) pseudoField(f hpack.HeaderField) {
	var at *string
	var bit pseudo
	ok := true
	switch f.Name {
	case ":method":
		at, bit, ok = &h.method, hasMethod, isMethod(f.Value)
	case ":scheme":
		at, bit, ok = &h.scheme, hasScheme, isScheme(f.Value)
	case ":path":
		at, bit, ok = &h.path, hasPath, isPath(f.Value)
	case ":authority":
		at, bit = &h.authority, hasAuthority
		if !h.checkValue(f) {
			return
		}
	default:
		h.fault = "client sent unknown pseudo-header \"" + f.Name + "\""
		return
	}
	switch {
	case h.seen&bit != 0:
		h.fault = "client sent duplicate " + f.Name + " header"
	case f.Value == "" && bit != hasAuthority:
		h.fault = "client sent empty " + f.Name + " header"
	case bit == hasMethod && !ok:
		h.fault = "client sent invalid method: \"" + f.Value + "\""
	case !ok:
		h.fault = "client sent invalid " + f.Name + " header: \"" + f.Value + "\""
	default:
		*at = f.Value
		h.seen |= bit
	}
}

// checkName refuses a name in which HTTP/1 would see something else. Names that are
// merely odd are left to the scan of the head, as in HTTP/1.
func (h *headReader) checkName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c == 0x7f || c == ':' || c >= 'A' && c <= 'Z' {
			h.fault, h.malformed = "client sent invalid header name: \""+name+"\"", true
			return false
		}
	}
	if name == "" {
		h.fault, h.malformed = "client sent zero header name length", true
	}
	return name != ""
}

// checkValue refuses a value that could end its line.
func (h *headReader) checkValue(f hpack.HeaderField) bool {
	if strings.ContainsAny(f.Value, "\x00\r\n") {
		h.fault, h.malformed = "client sent header \""+f.Name+"\" with invalid value: \""+f.Value+"\"", true
		return false
	}
	return true
}

// finish checks what can be checked of a whole head only.
func (h *headReader) finish() {
	switch {
	case h.fault != "":
	case h.seen&hasMethod == 0:
		h.fault = "client sent no :method header"
	case h.seen&hasScheme == 0:
		h.fault = "client sent no :scheme header"
	case h.seen&hasPath == 0:
		h.fault = "client sent no :path header"
	}
}

// appendTo appends the head as text. After a fault it is the fields so far.
func (h *headReader) appendTo(b []byte) []byte {
	if h.fault == "" {
		b = append(append(b, h.method...), ' ')
		b = append(append(b, h.path...), " HTTP/1.1\r\n"...)
	}
	if h.seen&hasAuthority != 0 {
		b = appendLine(b, "host", h.authority)
	}
	b = append(b, h.lines...)
	if h.crumbs > 0 {
		b = append(append(append(b, "cookie: "...), h.cookies...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func isMethod(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func isScheme(s string) bool {
	for i := range len(s) {
		letter := s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z'
		if !letter && (i == 0 || !(s[i] >= '0' && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.')) {
			return false
		}
	}
	return true
}

// isPath reports whether s is a path, which may be split from the rest of a line.
func isPath(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return s == "" || s[0] == '/'
}
