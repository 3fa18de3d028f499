package httpd

import (
	"bytes"
	"errors"
	"strings"
)

var errURI = errors.New("client sent invalid request")

// splitTarget takes a request target apart: the host of the absolute form (nil
// otherwise), the path as sent, and the arguments without their question mark.
func splitTarget(target []byte) (host, path, args []byte, err error) {
	path = target
	switch {
	case len(target) == 0:
		return nil, nil, nil, errURI
	case target[0] == '/':
	case len(target) == 1 && target[0] == '*':
		return nil, target, nil, nil
	default:
		_, rest, ok := bytes.Cut(target, []byte("://"))
		if !ok {
			return nil, nil, nil, errURI
		}
		end := bytes.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		if host, path = rest[:end], rest[end:]; len(host) == 0 {
			return nil, nil, nil, errURI
		}
	}
	if i := bytes.IndexByte(path, '#'); i >= 0 {
		path = path[:i]
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path, args = path[:i], path[i+1:]
	}
	if len(path) == 0 {
		path = []byte("/")
	}
	return host, path, args, nil
}

// normalizePath appends to dst the decoded path with "." and ".." resolved and,
// if merge, runs of slashes made one. It refuses what nginx refuses: a ".." that
// leaves the root, a broken percent sign, a NUL.
func normalizePath(dst, path []byte, merge bool) ([]byte, error) {
	if plainPath(path) {
		return append(dst, path...), nil
	}
	base := len(dst)
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if i+2 >= len(path) {
				return dst, errURI
			}
			hi, lo := unhex(path[i+1]), unhex(path[i+2])
			if hi < 0 || lo < 0 {
				return dst, errURI
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		if c == 0 {
			return dst, errURI
		}
		if c == '/' {
			var ok bool
			if dst, ok = endSegment(dst, base, merge); !ok {
				return dst, errURI
			}
			continue
		}
		dst = append(dst, c)
	}
	return lastSegment(dst, base)
}

// endSegment closes the segment at the end of dst with a slash, after resolving
// "." and "..". dst[base:] begins with a slash once the first was seen.
func endSegment(dst []byte, base int, merge bool) ([]byte, bool) {
	if len(dst) == base {
		return append(dst, '/'), true
	}
	slash := bytes.LastIndexByte(dst[base:], '/') + base
	switch seg := dst[slash+1:]; {
	case len(seg) == 0 && merge:
		return dst, true
	case len(seg) == 1 && seg[0] == '.':
		return dst[:slash+1], true
	case len(seg) == 2 && seg[0] == '.' && seg[1] == '.':
		return parentSegment(dst[:slash], base)
	}
	return append(dst, '/'), true
}

// parentSegment drops the last segment of dst, which does not end in a slash of
// its own, and keeps the slash before it.
func parentSegment(dst []byte, base int) ([]byte, bool) {
	if len(dst) == base {
		return dst, false
	}
	up := bytes.LastIndexByte(dst[base:], '/')
	return dst[:base+up+1], true
}

func lastSegment(dst []byte, base int) ([]byte, error) {
	slash := bytes.LastIndexByte(dst[base:], '/') + base
	switch seg := dst[slash+1:]; string(seg) {
	case ".":
		return dst[:slash+1], nil
	case "..":
		up, ok := parentSegment(dst[:slash], base)
		if !ok {
			return dst, errURI
		}
		return up, nil
	}
	return dst, nil
}

// plainPath reports whether path is its own normal form: no percent sign, no
// empty segment and none that begins with a dot. Most are.
func plainPath(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	prev := byte(0)
	for _, c := range path {
		if c == '%' || c == 0 || prev == '/' && (c == '/' || c == '.') {
			return false
		}
		prev = c
	}
	return true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// EscapePath appends path percent-encoded as nginx encodes a path that it sends
// in a redirect or to an upstream.
func EscapePath(dst, path []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range path {
		if escapedInPath(c) {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

func escapedInPath(c byte) bool {
	switch c {
	case '"', '#', '%', '<', '>', '?', '\\', '^', '`', '{', '|', '}':
		return true
	}
	return c <= ' ' || c >= 0x7f
}

// validHost checks a Host value and appends it lower-cased, without port and
// without a trailing dot, to dst.
func validHost(dst, host []byte) ([]byte, bool) {
	base, end := len(dst), hostEnd(host)
	if end < 0 || !validPort(host[end:]) {
		return dst, false
	}
	prev := byte(0)
	for _, c := range host[:end] {
		if c == '.' && prev == '.' {
			return dst, false
		}
		prev = c
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	if n := len(dst); n > base && dst[n-1] == '.' {
		dst = dst[:n-1]
	}
	return dst, len(dst) > base
}

// hostEnd is where the name or the address in host ends, or -1 when it is none.
func hostEnd(host []byte) int {
	if len(host) > 0 && host[0] == '[' {
		for i, c := range host[1:] {
			switch {
			case c == ']':
				return i + 2
			case c == '%' || c != ':' && !hostByte(c):
				return -1
			}
		}
		return -1
	}
	for i, c := range host {
		if c == ':' {
			return i
		}
		if !hostByte(c) {
			return -1
		}
	}
	return len(host)
}

// hostByte reports whether a name may have c in it: what RFC 3986 calls unreserved, a
// delimiter within a part, or an escape.
func hostByte(c byte) bool {
	return isLetter(c) || isDigit(c) || strings.IndexByte("-._~!$&'()*+,;=%", c) >= 0
}

// validPort checks what follows a host: nothing, or a colon and a number, which may be
// missing.
func validPort(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	port := 0
	for _, c := range p[1:] {
		if port = port*10 + int(c-'0'); !isDigit(c) || port > 65535 {
			return false
		}
	}
	return p[0] == ':'
}
