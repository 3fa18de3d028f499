package h2

import (
	"strconv"
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
	host                            string // the value of the field
	hosts                           int    // how many of these there are
	length                          int64  // of the content, as declared; -1 when it is not
	odd                             oddFields
	line                            bool   // what makes the request line is whole: other fields came behind it
	fault                           string // what is wrong with the head, for the log; then nothing is gathered
	nameless                        bool   // a field had no name
}

// oddFields are fields that a request must not have by HTTP/2.
type oddFields uint8

const (
	hasConnection oddFields = 1 << iota
	hasKeepAlive
	hasTransferEncoding
	hasUpgrade
	hasTE    // which may be there once
	hasBadTE // but must be "trailers"
)

// A pseudo tells which pseudo-header fields were there.
type pseudo uint8

const (
	hasMethod pseudo = 1 << iota
	hasScheme
	hasPath
	hasAuthority
)

func (h *headReader) reset() {
	*h = headReader{lines: h.lines[:0], cookies: h.cookies[:0], limit: h.limit, length: -1}
}

// field takes the next one. The texts of faults are nginx's.
func (h *headReader) field(f hpack.HeaderField) {
	h.size += len(f.Name) + len(f.Value)
	switch {
	case h.size > h.limit: // a byte can stand for 4 KB of the table
	case h.fault != "":
	case f.Name == "":
		h.fault, h.nameless = "client sent zero header name length", true
	case !h.checkName(f.Name) || !h.checkValue(f):
	case f.Name[0] == ':':
		h.pseudoField(f)
	case h.endLine():
		h.plainField(f)
	}
}

// plainField takes a field that is not of the request line's.
func (h *headReader) plainField(f hpack.HeaderField) {
	switch f.Name {
	case "cookie":
		if h.crumbs > 0 {
			h.cookies = append(h.cookies, "; "...)
		}
		h.crumbs++
		h.cookies = append(h.cookies, f.Value...)
		return
	case "host":
		if h.hosts++; h.hosts > 1 {
			h.fault = "client sent duplicate host header: \"host: " + f.Value + "\", previous value: \"host: " + h.host + "\""
			return
		}
		if h.host = f.Value; h.seen&hasAuthority != 0 {
			return // which must be the same, and is there already
		}
	case "content-length":
		h.length = parseLength(f.Value)
	case "connection":
		h.odd |= hasConnection
	case "keep-alive":
		h.odd |= hasKeepAlive
	case "transfer-encoding":
		h.odd |= hasTransferEncoding
	case "upgrade":
		h.odd |= hasUpgrade
	case "te":
		if h.odd&hasTE != 0 || !strings.EqualFold(f.Value, "trailers") {
			h.odd |= hasBadTE
		}
		h.odd |= hasTE
	}
	h.lines = appendLine(h.lines, f.Name, f.Value)
}

// parseLength is a length, or -1 where s is none: that is found out elsewhere.
func parseLength(s string) int64 {
	n, err := strconv.ParseUint(s, 10, 62)
	if err != nil {
		return -1
	}
	return int64(n)
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
	default:
		h.fault = "client sent unknown pseudo-header \"" + f.Name + "\""
		return
	}
	switch {
	case h.line:
		h.fault = "client sent out of order pseudo-headers"
	case h.seen&bit != 0 && bit == hasAuthority:
		h.fault = "client sent duplicate \":authority\" header"
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
		if c := name[i]; c <= ' ' || c == 0x7f || c == ':' && i > 0 || c >= 'A' && c <= 'Z' {
			h.fault = "client sent invalid header name: \"" + name + "\""
			return false
		}
	}
	return true
}

// checkValue refuses a value that could end its line.
func (h *headReader) checkValue(f hpack.HeaderField) bool {
	if strings.ContainsAny(f.Value, "\x00\r\n") {
		h.fault = "client sent header \"" + f.Name + "\" with invalid value: \"" + f.Value + "\""
		return false
	}
	return true
}

// endLine looks whether the fields of the request line, which come first, are complete.
func (h *headReader) endLine() bool {
	switch {
	case h.line:
	case h.seen&hasMethod == 0:
		h.fault = "client sent no :method header"
	case h.seen&hasScheme == 0:
		h.fault = "client sent no :scheme header"
	case h.seen&hasPath == 0:
		h.fault = "client sent no :path header"
	default:
		h.line = true
	}
	return h.line
}

// finish checks what can be checked of a whole head only, in nginx's order.
func (h *headReader) finish() {
	switch {
	case h.fault != "" || !h.endLine():
	case h.odd&hasConnection != 0:
		h.fault = "client sent \"Connection\" header"
	case h.odd&hasKeepAlive != 0:
		h.fault = "client sent \"Keep-Alive\" header"
	case h.odd&hasTransferEncoding != 0:
		h.fault = "client sent \"Transfer-Encoding\" header"
	case h.odd&hasUpgrade != 0:
		h.fault = "client sent \"Upgrade\" header"
	case h.odd&hasBadTE != 0:
		h.fault = "client sent invalid \"TE\" header"
	case h.seen&hasAuthority == 0 && h.hosts == 0:
		h.fault = "client sent neither \":authority\" nor \"Host\" header"
	case h.seen&hasAuthority != 0 && h.hosts > 0 && h.host != h.authority:
		h.fault = "client sent \":authority\" and \"Host\" headers with different values"
	}
}

// trailer reports whether what was read may be behind a body.
func (h *headReader) trailer() bool {
	return h.fault == "" && h.seen == 0 && h.odd == 0
}

// appendTo appends the head as text, of a head with a fault what came before that.
func (h *headReader) appendTo(b []byte) []byte {
	if h.line {
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
