// Package http2 is nginx's ngx_http_v2_module: its directives and its variable. The
// protocol is package h2's, the way from a stream to a request httpd's.
package http2

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module is ngx_http_v2_module.
func Module() httpd.Module {
	return httpd.Module{
		Name:       "ngx_http_v2_module",
		Option:     "with-http_v2_module",
		Directives: append(directives(), idle()...),
		Variables: map[string]httpd.Variable{
			"http2": func(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
				kind := r.HTTP2()
				return append(dst, kind...), kind != ""
			},
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			m := instance{b}
			m.warn(b.HTTP)
			return m, nil
		},
	}
}

const hs = conf.HTTP | conf.Server

func one(name string, in conf.Context, check func(*conf.Directive) error) conf.Spec {
	return conf.Spec{Name: name, In: in, Min: 1, Max: 1, Check: check}
}

func directives() []conf.Spec {
	return []conf.Spec{
		{
			Name: "http2", In: hs, Min: 1, Max: 1, Flag: true,
			Note: "Without TLS that of the address's default server counts. \"listen … http2\" does the same, without a warning.",
		},
		one("http2_max_concurrent_streams", hs, conf.CheckNumber),
		one("http2_body_preread_size", hs, checkPreread),
		one("http2_chunk_size", conf.HTTPServerLocation, checkChunk),
	}
}

// idle are directives without effect here: of memory that nginx manages, of what HTTP/2
// has given up, and names that were given up for others.
func idle() []conf.Spec {
	none := func(s conf.Spec, note string) conf.Spec {
		s.Effect, s.Note = conf.NoEffect, note
		return s
	}
	const memory = "Memory is managed by the Go runtime."
	const push = "Nothing is pushed: clients have given it up."
	repeated := one("http2_push", conf.HTTPServerLocation, nil)
	repeated.Repeat = true
	preload := one("http2_push_preload", conf.HTTPServerLocation, nil)
	preload.Flag = true
	specs := []conf.Spec{
		none(one("http2_recv_buffer_size", conf.HTTP, conf.CheckSize), memory),
		none(one("http2_pool_size", hs, conf.CheckSize), memory),
		none(one("http2_streams_index_size", hs, conf.CheckNumber), "Tables grow by themselves."),
		none(repeated, push),
		none(preload, push),
		none(one("http2_max_concurrent_pushes", hs, conf.CheckNumber), push),
	}
	for _, o := range obsolete() {
		if o.instead != "" {
			specs = append(specs, none(one(o.name, hs, nil), "Obsolete: use "+o.instead+"."))
		}
	}
	return specs
}

// An obsoleteName is a directive that nginx warns about.
type obsoleteName struct{ name, instead string }

// obsolete are the names; those without another in their place are ignored.
func obsolete() []obsoleteName {
	return []obsoleteName{
		{"http2_recv_timeout", "client_header_timeout"},
		{"http2_idle_timeout", "keepalive_timeout"},
		{"http2_max_requests", "keepalive_requests"},
		{"http2_max_field_size", "large_client_header_buffers"},
		{"http2_max_header_size", "large_client_header_buffers"},
		{"http2_push", ""},
		{"http2_push_preload", ""},
		{"http2_max_concurrent_pushes", ""},
	}
}

// maxWindow is the largest window of a stream.
const maxWindow = 1<<31 - 1

func checkPreread(d *conf.Directive) error {
	n, err := conf.ParseSize(d.Arg(0))
	if err != nil {
		return conf.Errorf(d, "\"%s\" directive invalid value", d.Name)
	}
	if n > maxWindow {
		return conf.Errorf(d, "the maximum body preread buffer size is %d", maxWindow)
	}
	return nil
}

func checkChunk(d *conf.Directive) error {
	n, err := conf.ParseSize(d.Arg(0))
	if err != nil {
		return conf.Errorf(d, "\"%s\" directive invalid value", d.Name)
	}
	if n == 0 {
		return conf.Errorf(d, "the http2 chunk size cannot be zero")
	}
	return nil
}

type instance struct{ b *httpd.Builder }

// Location warns of what stands in a block of its own.
func (m instance) Location(s *conf.Scope) (httpd.Part, error) {
	m.warn(s)
	return httpd.Part{}, nil
}

// warn tells of obsolete directives, in nginx's words; in those of nginx 1.25.1 for
// what has nothing in its place.
func (m instance) warn(s *conf.Scope) {
	for _, o := range obsolete() {
		for _, d := range s.Own(o.name) {
			if o.instead == "" {
				m.b.Warn(d, "the \""+o.name+"\" directive is obsolete, ignored")
				continue
			}
			m.b.Warn(d, "the \""+o.name+"\" directive is obsolete, use the \""+o.instead+"\" directive instead")
		}
	}
}
