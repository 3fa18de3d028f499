// Package flv is nginx's ngx_http_flv_module: a Flash video file from an offset on
// (?start=N), with the header that a player wants before it.
package flv

import (
	"math"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module.
func Module() httpd.Module {
	return httpd.Module{
		Name:   "ngx_http_flv_module",
		Option: "with-http_flv_module",
		Directives: []conf.Spec{
			{Name: "flv", In: conf.Location, Repeat: true},
		},
		New: func(*httpd.Builder) (httpd.Instance, error) { return instance{}, nil },
	}
}

type instance struct{}

// Location serves where the block itself says so: flv is not inherited.
func (instance) Location(s *conf.Scope) (httpd.Part, error) {
	if len(s.Own("flv")) == 0 {
		return httpd.Part{}, nil
	}
	return httpd.Part{Content: httpd.HandlerFunc(serve)}, nil
}

// header begins a video with sound and pictures; the size of the tag before the
// first, which is none, belongs to it.
var header = []byte("FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00")

// serve answers with a file, or with its header and the rest from an offset on.
func serve(r *httpd.Request) int {
	if !r.Head.IsGet() && !r.Head.IsHead() {
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
	if !f.Regular {
		return httpd.Declined // static says what is wrong with it
	}
	r.Out.ContentType = r.MimeType()
	start := start(r, f.Size)
	if start == 0 {
		r.Out.SetValidators(f.Modified, f.Size)
		return r.Out.ServeFile(200, f.FD, f.Size)
	}
	r.Out.SetValidators(f.Modified, int64(len(header))+f.Size-start)
	return r.Out.ServeRest(200, header, f.FD, start, f.Size)
}

// start is the offset that is asked for, 0 when it is none within size.
func start(r *httpd.Request, size int64) int64 {
	text, ok := r.Argument("start")
	if !ok || len(text) == 0 {
		return 0
	}
	var n int64
	for _, c := range text {
		d := int64(c - '0')
		if c < '0' || c > '9' || n > (math.MaxInt64-d)/10 {
			return 0
		}
		n = n*10 + d
	}
	if n >= size {
		return 0
	}
	return n
}
