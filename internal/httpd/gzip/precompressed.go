package gzip

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
)

// StaticModule describes the module that sends "file.gz" in place of "file".
func StaticModule() httpd.Module {
	return httpd.Module{
		Name:   "ngx_http_gzip_static_module",
		Option: "with-http_gzip_static_module",
		Directives: []conf.Spec{
			{Name: "gzip_static", In: conf.HTTPServerLocation, Min: 1, Max: 1},
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) { return staticInstance{b}, nil },
	}
}

type staticInstance struct{ b *httpd.Builder }

func (in staticInstance) Location(s *conf.Scope) (httpd.Part, error) {
	mode, err := s.Enum("gzip_static", "off", "off", "on", "always")
	if err != nil || mode == "off" {
		return httpd.Part{}, err
	}
	rule, err := newRule(in.b, s)
	if err != nil {
		return httpd.Part{}, err
	}
	return httpd.Part{Default: &precompressed{rule, mode == "always"}}, nil
}

// precompressed sends compressed files.
type precompressed struct {
	*rule
	always bool
}

// Serve sends the compressed file if there is one and the client takes it.
func (p *precompressed) Serve(r *httpd.Request) int {
	if h := &r.Head; !h.IsGet() && !h.IsHead() {
		return httpd.Declined
	}
	if n := len(r.URI); n == 0 || r.URI[n-1] == '/' {
		return httpd.Declined
	}
	allowed := p.always || p.allows(r)
	if !p.vary && !allowed {
		return httpd.Declined
	}
	if r.Unmappable() {
		return 500
	}
	path := append(r.AppendPath(r.Scratch(), r.URI), ".gz\x00"...)
	r.KeepScratch(path)
	name := path[:len(path)-1]
	f, fault := r.OpenFile(path)
	if fault.Errno != 0 {
		if !fault.Missing() {
			r.LogFault(fault, name)
		}
		return httpd.Declined
	}
	defer f.Close()
	if !p.always {
		r.Out.VaryEncoding = p.vary
		if !allowed {
			return httpd.Declined
		}
	}
	switch {
	case f.Dir:
		return httpd.Declined
	case !f.Regular:
		r.Log(errorlog.Crit, "\""+string(name)+"\" is not a regular file", nil)
		return 404
	}
	o := &r.Out
	o.ContentType = r.Location().MimeType(r.URI)
	o.SetValidators(f.Modified, f.Size)
	o.Add("Content-Encoding", coding)
	o.Status, o.ContentLength = 200, f.Size
	// No ranges, as in nginx. A failure ends the connection: nothing is left to do.
	_ = o.SendFile(f.FD, 0, f.Size)
	return httpd.Done
}

var coding = []byte("gzip")
