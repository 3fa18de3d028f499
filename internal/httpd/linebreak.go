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

// UnfoldValue makes one line of a value that is folded as fields once were: lines but for
// the first begin with a space or a tab, which stays. $ssl_client_cert is such a one. It
// reports false for a value with any other line break. The value is changed in place.
func UnfoldValue(value []byte) ([]byte, bool) {
	kept := value[:0]
	for i, c := range value {
		switch c {
		case '\n':
			if i+1 == len(value) || value[i+1] != ' ' && value[i+1] != '\t' {
				return nil, false
			}
		case '\r':
			if i+1 == len(value) || value[i+1] != '\n' {
				return nil, false
			}
		default:
			kept = append(kept, c)
		}
	}
	return kept, true
}

// EscapeURL percent-encodes what no URL has in it: spaces, controls and what is not
// ASCII. Variables can hold what a client sent encoded, and as it is it would end the
// URL, or the line that it stands in. A URL without any of it is returned as it is.
func EscapeURL(url []byte) []byte { return escapeURL(url, false) }

// EscapeTarget is EscapeURL for what a server is asked for, which has no fragment: a
// number sign is encoded, too.
func EscapeTarget(target []byte) []byte { return escapeURL(target, true) }

func escapeURL(url []byte, hash bool) []byte {
	for i, c := range url {
		if foreignInURL(c, hash) {
			const hex = "0123456789ABCDEF"
			escaped := append(make([]byte, 0, len(url)+16), url[:i]...)
			for _, c := range url[i:] {
				if foreignInURL(c, hash) {
					escaped = append(escaped, '%', hex[c>>4], hex[c&15])
				} else {
					escaped = append(escaped, c)
				}
			}
			return escaped
		}
	}
	return url
}

func foreignInURL(c byte, hash bool) bool { return c <= ' ' || c >= 0x7f || hash && c == '#' }

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
// own: in a redirect what no URL has is percent-encoded, of other fields nothing is sent.
func (o *Response) refuseLineBreaks() {
	o.Location = EscapeURL(o.Location)
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
		case len(f.Name) == len("Location") && strings.EqualFold(f.Name, "Location"):
			f.Value = EscapeURL(f.Value)
		case HasLineBreak(f.Value):
			var ok bool
			if f.Value, ok = UnfoldValue(f.Value); !ok {
				o.logLineBreak(f.Name)
			}
		}
	}
}

func (o *Response) logLineBreak(name string) {
	o.r.Log(levelError, "line break in the response field \""+name+"\", which is not sent", nil)
}
