// Package static is nginx's ngx_http_static_module: it answers with the file that
// a URI stands for below root or by alias. Conditions, ranges and the sending are
// package httpd's.
package static

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module. It has no directives of its own.
func Module() httpd.Module {
	return httpd.Module{
		Name: "ngx_http_static_module",
		New:  func(*httpd.Builder) (httpd.Instance, error) { return instance{}, nil },
	}
}

type instance struct{}

func (instance) Location(*conf.Scope) (httpd.Part, error) {
	return httpd.Part{Default: httpd.HandlerFunc(serve)}, nil
}

// serve answers with a file, or redirects to the name of a folder with its slash.
func serve(r *httpd.Request) int {
	head := &r.Head
	post := head.IsPost()
	if !head.IsGet() && !head.IsHead() && !post {
		return 405
	}
	if n := len(r.URI); n == 0 || r.URI[n-1] == '/' {
		return httpd.Declined
	}
	if r.Unmappable() {
		return 500
	}
	path := append(r.AppendPath(r.Scratch(), r.URI), 0)
	r.KeepScratch(path)
	name := path[:len(path)-1]
	f, fault := r.OpenFile(path)
	if fault.Errno != 0 {
		r.LogFault(fault, name)
		return fault.Status()
	}
	defer f.Close()
	switch {
	case f.Dir:
		return toFolder(r)
	case !f.Regular:
		r.Log(errorlog.Crit, "\""+string(name)+"\" is not a regular file", nil)
		return 404
	case post:
		return 405
	}
	return Send(r, &f, r.MimeType())
}

// Send answers with an open file.
func Send(r *httpd.Request, f *httpd.File, contentType []byte) int {
	r.Out.ContentType = contentType
	r.Out.SetValidators(f.Modified, f.Size)
	return r.Out.ServeFile(200, f.FD, f.Size)
}

// toFolder redirects to the folder's name with a slash.
func toFolder(r *httpd.Request) int {
	to := httpd.EscapePath(nil, r.URI)
	to = append(to, '/')
	if len(r.Args) > 0 {
		to = append(append(to, '?'), r.Args...)
	}
	r.Out.Location = to
	return 301
}
