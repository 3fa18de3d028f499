package httpd

import (
	"os"
	"strconv"
	"strings"
)

// coreVariables are the variables of the HTTP core module. product is the name and
// version of this server.
func coreVariables(product, hostname string) map[string]Variable {
	all := map[string]Variable{}
	for _, some := range []map[string]Variable{
		uriVariables(), fieldVariables(), bodyVariables(), connVariables(), processVariables(product, hostname),
		responseVariables(), timeVariables(), absentVariables(),
	} {
		for name, v := range some {
			all[name] = v
		}
	}
	return all
}

// uriVariables tell what is asked for.
func uriVariables() map[string]Variable {
	uri := func(r *Request, _ string, dst []byte) ([]byte, bool) {
		return append(dst, r.URI...), r.version != 0
	}
	args := func(r *Request, _ string, dst []byte) ([]byte, bool) {
		return append(dst, r.Args...), len(r.Args) > 0
	}
	return map[string]Variable{
		"uri":          uri,
		"document_uri": uri,
		"args":         args,
		"query_string": args,
		"arg_":         argVariable,
		"is_args": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			if len(r.Args) > 0 {
				dst = append(dst, '?')
			}
			return dst, true
		},
		"request": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return r.AppendRequestLine(dst), true
		},
		"request_uri": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return append(dst, r.target...), len(r.target) > 0
		},
		"request_method": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return append(dst, r.method()...), len(r.method()) > 0
		},
		"server_protocol": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			p := r.protocol()
			return append(dst, p...), len(p) > 0
		},
		"scheme":           schemeVariable,
		"https":            httpsVariable,
		"host":             func(r *Request, _ string, dst []byte) ([]byte, bool) { return r.appendHost(dst), true },
		"server_name":      func(r *Request, _ string, dst []byte) ([]byte, bool) { return append(dst, r.Server.Name...), true },
		"document_root":    func(r *Request, _ string, dst []byte) ([]byte, bool) { return r.AppendRoot(dst), true },
		"realpath_root":    realpathVariable,
		"request_filename": func(r *Request, _ string, dst []byte) ([]byte, bool) { return r.AppendPath(dst, r.URI), true },
		"request_id":       requestIDVariable,
		"remote_user":      remoteUserVariable,
		"limit_rate":       limitRateVariable,
	}
}

// processVariables are the same for every request.
func processVariables(product, hostname string) map[string]Variable {
	_, version, _ := strings.Cut(product, "/")
	return map[string]Variable{
		"nginx_version": literal(version),
		"hostname":      literal(hostname),
		"pid":           literal(strconv.Itoa(os.Getpid())),
	}
}

// literal is a variable that never varies.
func literal(value string) Variable {
	return func(_ *Request, _ string, dst []byte) ([]byte, bool) { return append(dst, value...), true }
}

// absentVariables are known and have no value here: there is no PROXY protocol, and no
// trailer is sent.
func absentVariables() map[string]Variable {
	absent := func(_ *Request, _ string, dst []byte) ([]byte, bool) { return dst, false }
	return map[string]Variable{
		"proxy_protocol_addr":        absent,
		"proxy_protocol_port":        absent,
		"proxy_protocol_server_addr": absent,
		"proxy_protocol_server_port": absent,
		"sent_trailer_":              absent,
	}
}

// appendHost appends $host: what was asked for, else the server's name.
func (r *Request) appendHost(dst []byte) []byte {
	if len(r.Host) > 0 {
		return append(dst, r.Host...)
	}
	return append(dst, r.Server.Name...)
}

// argVariable is $arg_name.
func argVariable(r *Request, name string, dst []byte) ([]byte, bool) {
	value, ok := r.Argument(name[len("arg_"):])
	return append(dst, value...), ok
}

// Argument returns the first argument of that name, in any case, as it was sent.
func (r *Request) Argument(name string) (value []byte, ok bool) {
	args := r.Args
	for len(args) > 0 {
		arg := args
		if i := indexByte(args, '&'); i >= 0 {
			arg, args = args[:i], args[i+1:]
		} else {
			args = nil
		}
		if name != "" && len(arg) > len(name) && arg[len(name)] == '=' && equalFold(arg[:len(name)], name) {
			return arg[len(name)+1:], true
		}
	}
	return nil, false
}
