package httpd

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strconv"
)

func indexByte(b []byte, c byte) int { return bytes.IndexByte(b, c) }

// fieldVariables are the header fields of the request.
func fieldVariables() map[string]Variable {
	return map[string]Variable{
		"http_":       fieldVariable,
		"http_cookie": func(r *Request, _ string, dst []byte) ([]byte, bool) { return r.joinFields("cookie", "; ", dst) },
		"cookie_":     cookieVariable,
		"content_type": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return r.joinFields("content_type", ", ", dst)
		},
		"content_length": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			if dst, ok := r.joinFields("content_length", ", ", dst); ok {
				return dst, true
			}
			if b := &r.body; b.length == chunkedBody && (b.err != nil || b.read == 0 && !b.wanted && r.c.stream == nil) {
				return strconv.AppendInt(dst, b.read, 10), true
			}
			return dst, false
		},
	}
}

// fieldVariable is $http_name: the fields of that name, underscores for dashes,
// joined by commas.
func fieldVariable(r *Request, name string, dst []byte) ([]byte, bool) {
	return r.joinFields(name[len("http_"):], ", ", dst)
}

// joinFields appends the values of all fields whose name is name when it is
// lower-cased and its dashes are made underscores.
func (r *Request) joinFields(name, between string, dst []byte) ([]byte, bool) {
	found := false
	for fs := fieldsOf(r.Head.fields); fs.next(); {
		if !isVariableName(fs.name, name) {
			continue
		}
		if found {
			dst = append(dst, between...)
		}
		dst = append(dst, fs.value...)
		found = true
	}
	return dst, found
}

// isVariableName reports whether field is called name in a variable.
func isVariableName(field []byte, name string) bool {
	if len(field) != len(name) {
		return false
	}
	for i, c := range field {
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '-':
			c = '_'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// cookieVariable is $cookie_name: the first cookie of that name, in any case.
func cookieVariable(r *Request, name string, dst []byte) ([]byte, bool) {
	name = name[len("cookie_"):]
	for fs := fieldsOf(r.Head.fields); fs.next(); {
		if !equalFold(fs.name, "cookie") {
			continue
		}
		if v, ok := cookie(fs.value, name); ok {
			return append(dst, v...), true
		}
	}
	return dst, false
}

// cookie finds one cookie in the value of a Cookie field, as nginx does: a comma
// may stand where a semicolon belongs.
func cookie(list []byte, name string) ([]byte, bool) {
	for len(list) > 0 {
		if len(list) > len(name) && equalFold(list[:len(name)], name) {
			if v := bytes.TrimLeft(list[len(name):], " "); len(v) > 0 && v[0] == '=' {
				v = bytes.TrimLeft(v[1:], " ")
				if end := bytes.IndexByte(v, ';'); end >= 0 {
					v = v[:end]
				}
				return v, true
			}
		}
		i := bytes.IndexAny(list, ";,")
		if i < 0 {
			break
		}
		list = bytes.TrimLeft(list[i+1:], " ")
	}
	return nil, false
}

// bodyVariables tell of the request's body.
func bodyVariables() map[string]Variable {
	return map[string]Variable{
		bodyVariable: func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return append(dst, r.body.kept...), len(r.body.kept) > 0
		},
		bodyFileVariable: func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return append(dst, r.body.file...), r.body.file != ""
		},
		"request_length": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return strconv.AppendInt(dst, r.headSize+r.body.wire, 10), true
		},
	}
}

// bodyVariable is the variable for which bodies are kept in memory while they are
// read, if the configuration uses it.
const bodyVariable = "request_body"

// bodyFileVariable tells where a body was put that is not in memory.
const bodyFileVariable = "request_body_file"

// requestIDVariable is $request_id: 16 random bytes, the same for the whole of a
// request. It is kept with the variables that have a value of their own, which move
// with a connection: what the client was told is what the log says.
func requestIDVariable(r *Request, name string, dst []byte) ([]byte, bool) {
	if with, ok := capturedVariable(r, name, dst); ok {
		return with, true
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	r.setNamed(name, hex.AppendEncode(nil, id[:]))
	return capturedVariable(r, name, dst)
}

// remoteUserVariable is $remote_user: the name given with HTTP's basic
// authentication, checked or not.
func remoteUserVariable(r *Request, _ string, dst []byte) ([]byte, bool) {
	if r.has&hasAuthorization == 0 {
		return dst, false
	}
	scheme, code, ok := bytes.Cut(r.Head.Peek("Authorization"), []byte(" "))
	if !ok || !equalFold(scheme, "basic") {
		return dst, false
	}
	n := len(dst)
	dst, err := base64.StdEncoding.AppendDecode(dst, bytes.TrimLeft(code, " "))
	if err != nil {
		return dst[:n], false
	}
	i := bytes.IndexByte(dst[n:], ':')
	if i <= 0 {
		return dst[:n], false
	}
	return dst[:n+i], true
}

// limitRateVariable is $limit_rate in bytes per second.
func limitRateVariable(r *Request, _ string, dst []byte) ([]byte, bool) {
	rate := int64(0)
	if r.Out.rateSet {
		rate = r.Out.rate
	}
	return strconv.AppendInt(dst, rate, 10), true
}
