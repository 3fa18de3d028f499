package main

import (
	"path/filepath"
	"strings"
)

// Set at link time with -ldflags '-X main.version=2.0.0 …', never by code: the
// linker can only fill variables. "" takes the default of [builtinPaths].
var (
	version = "0.0.0"

	prefixPath   string
	confPath     string
	pidPath      string
	errorLogPath string
	httpLogPath  string
)

// paths is where things are, as nginx's configure fixes it for a build. All but
// prefix may be relative to prefix.
type paths struct {
	prefix, conf, pid, errorLog, httpLog string
}

// builtinPaths returns the paths of this build for the executable exe. A prefix
// that is not built in is the parent of the folder sbin that exe lies in, so
// that a prefix can be moved and copied whole; else /usr/local/nginx.
func builtinPaths(exe string) paths {
	p := paths{prefix: prefixPath, conf: confPath, pid: pidPath, errorLog: errorLogPath, httpLog: httpLogPath}
	if p.prefix == "" {
		p.prefix = "/usr/local/nginx"
		if dir := filepath.Dir(exe); filepath.IsAbs(exe) && filepath.Base(dir) == "sbin" {
			p.prefix = filepath.Dir(dir)
		}
	}
	setDefault(&p.conf, "conf/nginx.conf")
	setDefault(&p.pid, "logs/nginx.pid")
	setDefault(&p.errorLog, "logs/error.log")
	setDefault(&p.httpLog, "logs/access.log")
	return p
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// with returns the paths with those that the command line sets in their place.
// A relative prefix becomes one below dir, the working directory: workers and
// successors must find the same files wherever they are.
func (p paths) with(o options, dir string) paths {
	for _, s := range []struct {
		path *string
		set  *string
	}{{&p.prefix, o.prefix}, {&p.conf, o.conf}, {&p.errorLog, o.errorLog}} {
		if s.set != nil {
			*s.path = *s.set
		}
	}
	if !filepath.IsAbs(p.prefix) {
		p.prefix = strings.TrimSuffix(dir, "/") + "/" + p.prefix
	}
	return p
}

// full returns path relative to the prefix. As nginx it only joins and cleans
// nothing, so that messages name files as the operator wrote them.
func (p paths) full(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return p.dir() + path
}

// dir returns the prefix with a slash at its end.
func (p paths) dir() string {
	if strings.HasSuffix(p.prefix, "/") {
		return p.prefix
	}
	return p.prefix + "/"
}
