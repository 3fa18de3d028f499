package proxy

import (
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/gateway"
)

// Compose implements [gateway.Protocol]: it writes the request's head, which is the
// same for all tries.
func (l *location) Compose(x *gateway.Exchange, b []byte) ([]byte, int) {
	r := x.R
	if l.method != nil {
		b = l.method.Append(b, r)
		b = append(b[:0], httpd.EscapeTarget(b)...)
	} else {
		b = append(b, r.Head.Method()...)
	}
	x.IsHead = string(b) == "HEAD"
	b = append(b, ' ')
	from := len(b)
	b = l.appendURI(x, b)
	b = append(b[:from], httpd.EscapeTarget(b[from:])...) // else it could be a request of the client's making
	to := len(b)
	if l.http11 {
		b = append(b, " HTTP/1.1\r\n"...)
	} else {
		b = append(b, " HTTP/1.0\r\n"...)
	}
	b = l.appendHost(x, b)
	for i := range l.sets {
		b = appendSet(x, b, &l.sets[i])
	}
	if l.PassFields() {
		b = l.appendFields(r, b)
	}
	b = append(b, "\r\n"...)
	x.URI = b[from:to]
	return b, 0
}

// appendHost appends the Host field: what proxy_set_header says, else where proxy_pass
// leads. HTTP/1.1 cannot be without one.
func (l *location) appendHost(x *gateway.Exchange, b []byte) []byte {
	if l.host != nil {
		start := len(b)
		if b = appendSet(x, b, l.host); len(b) > start || !l.http11 {
			return b
		}
	}
	return append(append(append(b, hostName...), x.To.Host...), "\r\n"...)
}

// appendSet appends one field of proxy_set_header or its defaults; one without a
// value is not sent.
func appendSet(x *gateway.Exchange, b []byte, f *setField) []byte {
	start := len(b)
	b = append(b, f.name...)
	valueAt := len(b)
	switch f.kind {
	case setText:
		b = f.value.Append(b, x.R)
		if !httpd.HasLineBreak(b[valueAt:]) {
			break
		}
		if value, ok := httpd.UnfoldValue(b[valueAt:]); ok {
			b = b[:valueAt+len(value)]
		} else {
			name := strings.TrimSuffix(string(f.name), ": ")
			x.R.Log(gateway.LevelError, "line break in the field \""+name+"\" for the server, which is not sent", nil)
			return b[:start]
		}
	case setLength:
		if x.Body != nil && x.Body.Length >= 0 {
			b = strconv.AppendInt(b, x.Body.Length, 10)
		}
	case setCoding:
		if x.Body != nil && x.Body.Length < 0 {
			b = append(b, "chunked"...)
		}
	}
	if len(b) == valueAt {
		return b[:start]
	}
	return append(b, "\r\n"...)
}

// appendFields appends the client's fields, in its order and spelling.
func (l *location) appendFields(r *httpd.Request, b []byte) []byte {
	r.EachField(func(name, value []byte) {
		var buf [64]byte
		if l.replaced[string(gateway.Lower(&buf, name))] {
			return
		}
		b = append(append(b, name...), ": "...)
		b = append(append(b, value...), "\r\n"...)
	})
	return b
}
