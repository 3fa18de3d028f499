package httpd

import "strconv"

// coreVariables are the variables of the HTTP core module.
func coreVariables() map[string]Variable {
	return map[string]Variable{
		"uri": func(r *Request, _ string, dst []byte) ([]byte, bool) { return append(dst, r.URI...), true },
		"request_uri": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return append(dst, r.Head.RequestURI()...), true
		},
		"args": func(r *Request, _ string, dst []byte) ([]byte, bool) { return append(dst, r.Args...), true },
		"host": func(r *Request, _ string, dst []byte) ([]byte, bool) { return r.appendHost(dst), true },
		"remote_addr": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return append(dst, r.RemoteAddr()...), true
		},
		"status": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return strconv.AppendInt(dst, int64(r.Out.Status), 10), true
		},
	}
}

// appendHost appends $host: what was asked for, else the server's name.
func (r *Request) appendHost(dst []byte) []byte {
	if len(r.Host) > 0 {
		return append(dst, r.Host...)
	}
	return append(dst, r.Server.Name...)
}
