package httpd

import (
	"strconv"
)

// responseVariables tell what was sent. "-" in a log for a field means that the
// response has none.
func responseVariables() map[string]Variable {
	return map[string]Variable{
		"status": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return appendStatus(dst, r.shownStatus()), true
		},
		"bytes_sent": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return strconv.AppendInt(dst, r.Out.BytesSent(), 10), true
		},
		"body_bytes_sent": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return strconv.AppendInt(dst, max(0, r.Out.BytesSent()-r.Out.headBytes()), 10), true
		},
		"request_completion": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			if r.Out.whole() {
				dst = append(dst, "OK"...)
			}
			return dst, true
		},
		"sent_http_": sentVariable,
	}
}

// shownStatus is the status as variables have it: what error_page demands, else
// what is or was sent.
func (r *Request) shownStatus() int {
	if r.Out.override != 0 && !r.Out.head {
		return r.Out.override
	}
	return r.Out.Status
}

// appendStatus appends a status with three digits: "000" when there is none.
func appendStatus(dst []byte, status int) []byte {
	if status < 0 || status > 999 {
		return strconv.AppendInt(dst, int64(status), 10)
	}
	return append(dst, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10))
}

// sentVariable is $sent_http_name: a field of the response.
func sentVariable(r *Request, name string, dst []byte) ([]byte, bool) {
	o := &r.Out
	var own []byte // nil: a field of that name may have come from a server that we pass on
	switch name = name[len("sent_http_"):]; name {
	case "content_type":
		own = o.ContentType
	case "last_modified":
		own = o.LastModified
	case "location":
		own = o.Location
	case "etag":
		own = o.ETag
	case "server":
		own = o.Server
	case "date":
		own = o.Date
	case "content_length":
		if o.ContentLength < 0 {
			return dst, false
		}
		return strconv.AppendInt(dst, o.ContentLength, 10), true
	case "transfer_encoding":
		if !o.chunked {
			return dst, false
		}
		return append(dst, "chunked"...), true
	case "connection":
		return append(dst, o.connection()...), true
	case "keep_alive":
		line := r.core().keepaliveLine
		if !r.keepalive || line == nil {
			return dst, false
		}
		return append(dst, line[len("Keep-Alive: "):len(line)-len("\r\n")]...), true
	}
	if len(own) > 0 {
		return append(dst, own...), true
	}
	found := false
	for i := range o.Fields {
		f := &o.Fields[i]
		if f.Value == nil || !isVariableName([]byte(f.Name), name) {
			continue
		}
		if found {
			dst = append(dst, ", "...)
		}
		dst = append(dst, f.Value...)
		found = true
	}
	return dst, found
}

// connection is the value of the Connection field.
func (o *Response) connection() string {
	switch {
	case o.Upgraded:
		return "upgrade"
	case o.r.keepalive:
		return "keep-alive"
	}
	return "close"
}

// timeVariables tell the time, and how long things took.
func timeVariables() map[string]Variable {
	return map[string]Variable{
		"time_local": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return append(dst, r.c.srv.second(r.now()).local...), true
		},
		"time_iso8601": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return append(dst, r.c.srv.second(r.now()).iso...), true
		},
		"msec": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return appendMillis(dst, r.now().UnixMilli()), true
		},
		"request_time": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return appendMillis(dst, max(0, r.now().Sub(r.start).Milliseconds())), true
		},
		"connection_time": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return appendMillis(dst, max(0, r.now().Sub(r.c.since).Milliseconds())), true
		},
	}
}

// appendMillis appends milliseconds as seconds with three decimals.
func appendMillis(dst []byte, ms int64) []byte {
	dst = strconv.AppendInt(dst, ms/1000, 10)
	ms %= 1000
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}
