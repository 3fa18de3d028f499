package gzip

import (
	"bytes"
	"sync"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// GunzipModule describes the module that decompresses for clients that do not take
// what is compressed.
func GunzipModule() httpd.Module {
	return httpd.Module{
		Name:   "ngx_http_gunzip_module",
		Option: "with-http_gunzip_module",
		Directives: []conf.Spec{
			{Name: "gunzip", In: conf.HTTPServerLocation, Min: 1, Max: 1, Flag: true},
			{
				Name: "gunzip_buffers", In: conf.HTTPServerLocation, Min: 2, Max: 2, Check: conf.CheckBuffers,
				Effect: conf.NoEffect, Note: "The memory for one response is fixed.",
			},
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) { return &gunzipInstance{b: b}, nil },
	}
}

// A gunzipInstance keeps decoders for all responses.
type gunzipInstance struct {
	b    *httpd.Builder
	pool sync.Pool // of *decoder
}

func (in *gunzipInstance) Location(s *conf.Scope) (httpd.Part, error) {
	on, err := s.Flag("gunzip", false)
	if err != nil || !on {
		return httpd.Part{}, err
	}
	rule, err := newRule(in.b, s)
	if err != nil {
		return httpd.Part{}, err
	}
	return httpd.Part{Head: (&decompression{rule, &in.pool}).apply}, nil
}

// A decompression is what one location decompresses.
type decompression struct {
	*rule
	pool *sync.Pool
}

// apply decides about one response, just before its head is written. Its status does
// not matter.
func (g *decompression) apply(r *httpd.Request) {
	o := &r.Out
	if !bytes.EqualFold(o.Coding(), coding) {
		return
	}
	o.VaryEncoding = g.vary
	if g.allows(r) {
		return
	}
	d, _ := g.pool.Get().(*decoder)
	if d == nil {
		d = newDecoder()
	}
	d.begin(r, g.pool)
	o.Decode(d)
}
