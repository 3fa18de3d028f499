package fastcgi

import (
	"fmt"

	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/gateway"
)

// maxContent is the most that one record holds.
const maxContent = 65535

// Scheme implements [gateway.Protocol].
func (l *location) Scheme() string { return "fastcgi://" }

// Resolve implements [gateway.Protocol].
func (l *location) Resolve(x *gateway.Exchange) int { return l.target.Resolve(x) }

// Rewrite implements [gateway.Protocol].
func (l *location) Rewrite(_ *httpd.Request, _, value []byte) ([]byte, bool) { return value, true }

// Compose implements [gateway.Protocol].
func (l *location) Compose(x *gateway.Exchange, b []byte) ([]byte, int) {
	x.IsHead = x.R.Head.IsHead()
	x.Records = newRecords(x, l)
	b = appendHead(b, typeBegin, 8)
	flags := byte(0)
	if l.keepConn {
		flags = flagKeep
	}
	b = append(b, 0, roleRespond, flags, 0, 0, 0, 0, 0)
	at := len(b)
	b = appendHead(b, typeParams, 0)
	b = l.params.Append(x, b, appendPair)
	n := len(b) - at - headBytes
	if n > maxContent {
		x.Log(gateway.LevelAlert, fmt.Sprintf("fastcgi request record is too big: %d", n))
		return b, 500
	}
	if n > 0 {
		appendHead(b[:at], typeParams, n) // over the one that did not know the length
		b = appendHead(appendPadding(b, n), typeParams, 0)
	}
	body, whole := x.Body.InMemory()
	if !whole {
		return b, 0
	}
	x.Composed = true
	for len(body) > 0 {
		n := min(len(body), gateway.MaxFrame)
		b = appendPadding(append(appendHead(b, typeStdin, n), body[:n]...), n)
		body = body[n:]
	}
	return appendHead(b, typeStdin, 0), 0
}

// appendPair appends a parameter: the lengths of both, then both.
func appendPair(dst, name, value []byte) []byte {
	dst = appendLength(dst, len(name))
	dst = appendLength(dst, len(value))
	return append(append(dst, name...), value...)
}

func appendLength(dst []byte, n int) []byte {
	if n <= 127 {
		return append(dst, byte(n))
	}
	return append(dst, byte(n>>24)|0x80, byte(n>>16), byte(n>>8), byte(n))
}
