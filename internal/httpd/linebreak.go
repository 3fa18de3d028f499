package httpd

import (
	"bytes"
	"strings"
)

// HasLineBreak reports whether value would end its line in a head and begin another
// one. Variables can hold what a client sent as %0d%0a; nginx writes it as it is.
func HasLineBreak(value []byte) bool {
	return bytes.IndexByte(value, '\n') >= 0 || bytes.IndexByte(value, '\r') >= 0
}

// EscapeLineBreaks percent-encodes the line breaks in a URL. One without any is
// returned as it is.
func EscapeLineBreaks(url []byte) []byte {
	if !HasLineBreak(url) {
		return url
	}
	escaped := make([]byte, 0, len(url)+8)
	for _, c := range url {
		switch c {
		case '\r':
			escaped = append(escaped, "%0D"...)
		case '\n':
			escaped = append(escaped, "%0A"...)
		default:
			escaped = append(escaped, c)
		}
	}
	return escaped
}

// Unfold makes one line of a field's value that a configuration spreads over several,
// as RFC 9112 tells who receives such a field to do. What is left of line breaks in a
// value comes from its variables.
func Unfold(text string) string {
	if !strings.ContainsAny(text, "\r\n") {
		return text
	}
	lines := strings.FieldsFunc(text, func(c rune) bool { return c == '\r' || c == '\n' })
	kept := lines[:0]
	for _, line := range lines {
		if line = strings.Trim(line, " \t"); line != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, " ")
}

// refuseLineBreaks keeps a value from becoming further fields, or a response of its
// own: in a redirect line breaks are percent-encoded, of other fields nothing is sent.
func (o *Response) refuseLineBreaks() {
	o.Location = EscapeLineBreaks(o.Location)
	for _, f := range [...]struct {
		name  string
		value *[]byte
	}{
		{"Content-Type", &o.ContentType}, {"Last-Modified", &o.LastModified}, {"ETag", &o.ETag},
		{"Server", &o.Server}, {"Date", &o.Date},
	} {
		if HasLineBreak(*f.value) {
			o.logLineBreak(f.name)
			*f.value = []byte{}
		}
	}
	for i := range o.Fields {
		f := &o.Fields[i]
		switch {
		case !HasLineBreak(f.Value):
		case strings.EqualFold(f.Name, "Location"):
			f.Value = EscapeLineBreaks(f.Value)
		default:
			o.logLineBreak(f.Name)
			f.Value = nil
		}
	}
}

func (o *Response) logLineBreak(name string) {
	o.r.Log(levelError, "line break in the response field \""+name+"\", which is not sent", nil)
}
