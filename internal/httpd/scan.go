package httpd

import "bytes"

// A requestLine is the first line of a request, taken apart.
type requestLine struct {
	method, target, protocol []byte
	version                  int // 9 for HTTP/0.9, 10 for HTTP/1.0, 11 for HTTP/1.1 and above
}

// scanRequestLine takes a line without its line end apart. The status is 0, or
// what nginx answers to such a line. By HTTP/2 CONNECT has a path, too.
func scanRequestLine(line []byte, stream bool) (l requestLine, status int) {
	n := methodLen(line)
	if n == 0 || n == len(line) || line[n] != ' ' {
		return l, 400
	}
	l.method = line[:n]
	rest := bytes.TrimLeft(line[n:], " ")
	end := bytes.IndexByte(rest, ' ')
	if end < 0 {
		end = len(rest)
	}
	l.target, rest = rest[:end], bytes.TrimLeft(rest[end:], " ")
	for _, c := range l.target {
		if c < ' ' || c == 0x7f {
			return l, 400
		}
	}
	l.protocol = bytes.TrimRight(rest, " ")
	if string(l.method) == methodConnect && !stream {
		if !connectTarget(l.target) {
			return l, 400
		}
	} else if status := checkTarget(l.target); status != 0 {
		return l, status
	}
	if len(rest) == 0 {
		l.version = 9
		if string(l.method) != "GET" {
			return l, 400
		}
		return l, 0
	}
	l.version, status = scanVersion(l.protocol)
	return l, status
}

// methodLen is the length of the method that line begins with.
func methodLen(line []byte) int {
	n := 0
	for n < len(line) && (line[n] >= 'A' && line[n] <= 'Z' || line[n] == '_' || line[n] == '-') {
		n++
	}
	return n
}

// lacksMethod reports whether the line of which so much has come, something, cannot begin
// with a method.
func lacksMethod(line []byte) bool {
	n := methodLen(line)
	return n == 0 || n < len(line) && line[n] != ' '
}

// scanVersion reads "HTTP/1.1".
func scanVersion(p []byte) (version, status int) {
	digits, ok := bytes.CutPrefix(p, []byte("HTTP/"))
	if !ok || len(digits) == 0 || digits[0] < '1' || digits[0] > '9' {
		return 0, 400
	}
	if digits[0] != '1' {
		return 0, 505
	}
	switch {
	case len(digits) > 1 && digits[1] >= '0' && digits[1] <= '9':
		return 0, 505
	case len(digits) < 3 || digits[1] != '.':
		return 0, 400
	}
	minor := 0
	for _, c := range digits[2:] {
		if c < '0' || c > '9' || minor > 99 {
			return 0, 400
		}
		minor = minor*10 + int(c-'0')
	}
	if minor == 0 {
		return 10, 0
	}
	return 11, 0
}

// checkTarget refuses a target that nginx's parser refuses: neither a path nor an
// absolute URI.
func checkTarget(t []byte) (status int) {
	if len(t) > 0 && t[0] == '/' {
		return 0
	}
	for i, c := range t {
		if c == ':' && i > 0 {
			break
		}
		if !isLetter(c) && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return 400
		}
	}
	if host, _, _, err := splitTarget(t); err != nil || !authority(host) {
		return 400
	}
	return 0
}

// methodConnect asks for a tunnel to what its target names: a host and a port.
const methodConnect = "CONNECT"

func connectTarget(t []byte) bool {
	return authority(t) && len(t) > 0 && isDigit(t[len(t)-1]) && bytes.IndexByte(t[bytes.IndexByte(t, ']')+1:], ':') >= 0
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// authority reports whether host, of an absolute URI, is made of what nginx
// accepts there: a name, an address, or an IPv6 literal, and a port.
func authority(host []byte) bool {
	if len(host) == 0 || host[0] == ':' {
		return false
	}
	i := 0
	if host[0] == '[' {
		for i++; i < len(host) && host[i] != ']'; i++ {
			if c := host[i]; !isLetter(c) && !isDigit(c) && bytes.IndexByte([]byte(":-._~!$&'()*+,;="), c) < 0 {
				return false
			}
		}
		if i++; i > len(host) {
			return false
		}
	} else {
		for i < len(host) && (isLetter(host[i]) || isDigit(host[i]) || host[i] == '.' || host[i] == '-') {
			i++
		}
	}
	if i == len(host) {
		return true
	}
	if host[i] != ':' {
		return false
	}
	for i++; i < len(host); i++ {
		if !isDigit(host[i]) {
			return false
		}
	}
	return true
}

// A fieldKind says how well a field's line is formed.
type fieldKind uint8

const (
	// fieldIgnored: the name has characters that no name has. nginx drops such a
	// field and goes on (ignore_invalid_headers).
	fieldIgnored fieldKind = iota + 1 // 0: well formed
	// fieldBroken: two parsers could see two different things in it. 400.
	fieldBroken
)

// nameRules are what names a server takes for those of fields, beside usual ones: such
// with underscores (underscores_in_headers), and all that two parsers could not see in
// two ways (ignore_invalid_headers).
type nameRules struct{ underscores, any bool }

// scanField takes one line of a head, with its line end, apart.
func scanField(line []byte, rules nameRules) (name, value []byte, kind fieldKind) {
	line = line[:len(line)-1]
	for len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	if len(line) == 0 { // CR CR LF is neither a field nor the end of a head
		return nil, nil, fieldBroken
	}
	colon := -1
	for i, c := range line {
		switch class := nameClass[c]; {
		case class == nameChar:
		case class == nameEnd && i > 0:
			colon = i
		case class == nameUnderscore:
			if !rules.underscores && !rules.any {
				kind = fieldIgnored
			}
		case class == nameControl, class == nameEnd && i == 0:
			return nil, nil, fieldBroken
		case !rules.any:
			kind = fieldIgnored
		}
		if colon >= 0 {
			break
		}
	}
	if colon < 0 { // nginx: a name with an empty value
		return line, nil, kind
	}
	value = line[colon+1:]
	if bytes.IndexByte(value, 0) >= 0 || bytes.IndexByte(value, '\r') >= 0 {
		return nil, nil, fieldBroken
	}
	return line[:colon], bytes.Trim(value, " "), kind
}

// What a byte means in a field's name.
const (
	nameOther byte = iota
	nameChar
	nameEnd
	nameUnderscore
	nameControl
)

var nameClass = func() (class [256]byte) {
	for c := range class {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-':
			class[c] = nameChar
		case c == ':':
			class[c] = nameEnd
		case c == '_':
			class[c] = nameUnderscore
		case c <= ' ' || c == 0x7f:
			class[c] = nameControl
		}
	}
	return class
}()

// A fieldIter walks the header fields of a raw head that was accepted before.
type fieldIter struct {
	raw         []byte
	name, value []byte
}

func fieldsOf(raw []byte) fieldIter { return fieldIter{raw: raw} }

// next moves to the next field, in the order and the spelling of the client.
func (f *fieldIter) next() bool {
	for len(f.raw) > 0 {
		line := f.raw
		if i := bytes.IndexByte(f.raw, '\n'); i >= 0 {
			line, f.raw = f.raw[:i], f.raw[i+1:]
		} else {
			f.raw = nil
		}
		if colon := bytes.IndexByte(line, ':'); colon > 0 {
			f.name, f.value = line[:colon], trimValue(line[colon+1:])
			return true
		}
	}
	return false
}

// trimValue drops what stands around a field's value. What is left may be empty, but
// is never nil.
func trimValue(v []byte) []byte {
	for len(v) > 0 && v[0] == ' ' {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\r') {
		v = v[:len(v)-1]
	}
	return v
}
