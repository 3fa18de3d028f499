// Package autoindex is nginx's ngx_http_autoindex_module: a folder without an
// index file is answered with a list of what is in it.
package autoindex

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module.
func Module() httpd.Module {
	const in = conf.HTTPServerLocation
	return httpd.Module{
		Name: "ngx_http_autoindex_module",
		Directives: []conf.Spec{
			{Name: "autoindex", In: in, Min: 1, Max: 1, Flag: true},
			{Name: "autoindex_exact_size", In: in, Min: 1, Max: 1, Flag: true},
			{Name: "autoindex_localtime", In: in, Min: 1, Max: 1, Flag: true},
			{Name: "autoindex_format", In: in, Min: 1, Max: 1},
		},
		New: func(*httpd.Builder) (httpd.Instance, error) { return instance{}, nil },
	}
}

type instance struct{}

func (instance) Location(s *conf.Scope) (httpd.Part, error) {
	on, err := s.Flag("autoindex", false)
	if err != nil {
		return httpd.Part{}, err
	}
	var l list
	if l.exact, err = s.Flag("autoindex_exact_size", true); err != nil {
		return httpd.Part{}, err
	}
	if l.local, err = s.Flag("autoindex_localtime", false); err != nil {
		return httpd.Part{}, err
	}
	switch d := s.One("autoindex_format"); strings.ToLower(d.Arg(0)) {
	case "", "html":
	case "json":
		l.format = formatJSON
	case "jsonp":
		l.format = formatJSONP
	case "xml":
		l.format = formatXML
	default:
		return httpd.Part{}, conf.Errorf(d, "invalid value \"%s\"", d.Arg(0))
	}
	if !on {
		return httpd.Part{}, nil
	}
	return httpd.Part{Default: &l}, nil
}

// A list is how one location lists folders.
type list struct {
	exact, local bool
	format       int
}

// Formats of a list.
const (
	formatHTML = iota
	formatJSON
	formatJSONP // JSON as the argument of a call of what the client names
	formatXML
)

// An entry is a file or folder in a list.
type entry struct {
	name     string
	dir      bool
	regular  bool
	size     int64
	modified time.Time
}

// Serve lists the folder.
func (l *list) Serve(r *httpd.Request) int {
	if n := len(r.URI); n == 0 || r.URI[n-1] != '/' || !r.Head.IsGet() && !r.Head.IsHead() {
		return httpd.Declined
	}
	if r.Unmappable() {
		return 500
	}
	path := string(r.AppendPath(nil, r.URI))
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	format, callback := l.format, []byte(nil)
	if format == formatJSONP {
		var ok bool
		if callback, ok = callbackOf(r); !ok {
			return 400
		}
		if len(callback) == 0 {
			format = formatJSON
		}
	}
	entries, err := l.read(r, path)
	if err != nil {
		return refuse(r, path, err)
	}
	o := &r.Out
	o.Status, o.ContentLength = 200, -1
	o.Conditional = true
	switch format { // a client that left is told nothing
	case formatJSON:
		o.ContentType = []byte("application/json")
		_, _ = o.Write(appendJSON(nil, entries))
	case formatJSONP:
		o.ContentType = []byte("application/javascript")
		b := append(append([]byte("/* callback */\r\n"), callback...), '(')
		_, _ = o.Write(append(appendJSON(b, entries), ");"...))
	case formatXML:
		o.ContentType, o.Type.Foreign = []byte("text/xml; charset=utf-8"), true
		_, _ = o.Write(appendXML(nil, entries))
	default:
		o.ContentType = []byte("text/html")
		if o.SendHead() == nil { // which finds out about the charset
			_, _ = o.Write(appendHTML(nil, page{l, string(r.URI), inUTF8(o)}, entries))
		}
	}
	return httpd.Done
}

// callbackOf returns the function that a client of JSONP names, and whether it can be one.
// There may be none.
func callbackOf(r *httpd.Request) (name []byte, ok bool) {
	name, _ = r.Argument("callback")
	if len(name) > 128 {
		r.Log(errorlog.Info, "client sent too long callback name: \""+string(name)+"\"", nil)
		return nil, false
	}
	for _, c := range name {
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' {
			continue
		}
		r.Log(errorlog.Info, "client sent invalid callback name: \""+string(name)+"\"", nil)
		return nil, false
	}
	return name, true
}

// inUTF8 reports whether the page is said to be in UTF-8.
func inUTF8(o *httpd.Response) bool {
	return bytes.HasSuffix(bytes.ToLower(o.ContentType), []byte("; charset=utf-8"))
}

// refuse logs why the folder cannot be listed and returns the status.
func refuse(r *httpd.Request, path string, err error) int {
	status, level := 500, errorlog.Crit
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		status, level = 404, errorlog.Error
	case errors.Is(err, syscall.EACCES):
		status, level = 403, errorlog.Error
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	r.Log(level, "opendir() \""+path+"\" failed", err)
	return status
}

// read returns what is in the folder: folders first, by name.
func (l *list) read(r *httpd.Request, path string) ([]entry, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			continue
		}
		full := path + "/" + name
		fi, err := os.Stat(full)
		if err != nil { // a link that leads nowhere
			if fi, err = os.Lstat(full); err != nil {
				r.Log(errorlog.Crit, "stat() \""+full+"\" failed", nil)
				continue
			}
		}
		modified := time.Unix(max(fi.ModTime().Unix(), 0), 0) // as for nginx none is before 1970
		entries = append(entries, entry{name, fi.IsDir(), fi.Mode().IsRegular(), fi.Size(), modified})
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.dir != b.dir {
			if a.dir {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return entries, nil
}
