// Package index is nginx's ngx_http_index_module: a URI that ends in a slash is
// answered by one of the files that the index directive names.
package index

import (
	"bytes"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"golang.org/x/sys/unix"
)

// Module describes the module.
func Module() httpd.Module {
	return httpd.Module{
		Name: "ngx_http_index_module",
		Directives: []conf.Spec{
			{Name: "index", In: conf.HTTPServerLocation, Min: 1, Max: conf.AnyArgs, Repeat: true},
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) { return instance{b}, nil },
	}
}

type instance struct{ b *httpd.Builder }

func (in instance) Location(s *conf.Scope) (httpd.Part, error) {
	var fs files
	for _, d := range s.All("index") {
		for _, a := range d.Args {
			if a == "" {
				return httpd.Part{}, conf.Errorf(d, "index \"%s\" in \"index\" directive is invalid", a)
			}
			t, err := in.b.Template(d, a)
			if err != nil {
				return httpd.Part{}, err
			}
			fs = append(fs, t)
		}
	}
	if fs == nil {
		t, err := in.b.Template(nil, "index.html")
		if err != nil {
			return httpd.Part{}, err
		}
		fs = append(fs, t)
	}
	return httpd.Part{Default: fs}, nil
}

// files are the names in the order in which they are looked for.
type files []httpd.Template

// Serve sends the request on to the first file that is there.
func (fs files) Serve(r *httpd.Request) int {
	if n := len(r.URI); n == 0 || r.URI[n-1] != '/' {
		return httpd.Declined
	}
	if h := &r.Head; !h.IsGet() && !h.IsHead() && !h.IsPost() {
		return httpd.Declined
	}
	if r.Unmappable() {
		return 500
	}
	folderTested := false
	for i := range fs {
		// One buffer for the name, the URI that it stands for and its path.
		name := fs[i].Append(r.Scratch(), r)
		r.KeepScratch(name)
		if len(name) > 0 && name[0] == '/' {
			return r.InternalRedirect(name, r.Args)
		}
		n := len(name)
		buf := append(append(name, r.URI...), name...)
		m := len(buf)
		buf = append(append(r.AppendPath(buf, r.URI), name...), 0)
		r.KeepScratch(buf)
		uri, path := buf[n:m], buf[m:]
		_, fault := r.TestFile(path)
		if fault.Errno == 0 {
			return r.InternalRedirect(uri, r.Args)
		}
		if status := missing(r, fault, path, n, &folderTested); status != httpd.Declined {
			return status
		}
	}
	return httpd.Declined
}

// missing decides whether the next name is tried after a fault. path ends with a
// name of n bytes and a NUL.
func missing(r *httpd.Request, fault httpd.OpenFault, path []byte, n int, folderTested *bool) int {
	file := path[:len(path)-1]
	switch fault.Errno {
	case unix.EMLINK, unix.ELOOP:
		return 403
	case unix.EACCES, unix.ENOTDIR, unix.ENAMETOOLONG:
		return refuse(r, file, fault)
	}
	if !*folderTested {
		*folderTested = true
		if status := testFolder(r, file[:len(file)-n], file); status != httpd.Declined {
			return status
		}
	}
	if fault.Errno == unix.ENOENT {
		return httpd.Declined
	}
	r.LogFault(fault, file)
	return 500
}

// refuse logs why there is no index file and returns the status.
func refuse(r *httpd.Request, file []byte, fault httpd.OpenFault) int {
	if fault.Errno == unix.EACCES {
		r.Log(errorlog.Error, "\""+string(file)+"\" is forbidden", fault.Errno)
		return 403
	}
	if r.Location().LogsMissing() {
		r.Log(errorlog.Error, "\""+string(file)+"\" is not found", fault.Errno)
	}
	return 404
}

// testFolder tells a folder without the file from a folder that is not there.
func testFolder(r *httpd.Request, folder, file []byte) int {
	folder = bytes.TrimRight(folder, "/")
	if len(folder) == 0 {
		return httpd.Declined
	}
	f, fault := r.OpenFile(append(bytes.Clone(folder), 0))
	if fault.Errno == 0 {
		defer f.Close()
		if !f.Dir {
			r.Log(errorlog.Alert, "\""+string(folder)+"\" is not a directory", nil)
			return 500
		}
		return httpd.Declined
	}
	switch fault.Errno {
	case unix.EMLINK, unix.ELOOP:
		return 403
	case unix.ENOENT:
		return refuse(r, file, fault)
	case unix.EACCES: // it may be searched, or the file's fault had been another
		return httpd.Declined
	}
	r.LogFault(fault, folder)
	return 500
}
