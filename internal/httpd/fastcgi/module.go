package fastcgi

import (
	"fmt"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/gateway"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// kind is what sets this module apart from the others that pass requests on.
func kind() *gateway.Kind {
	return &gateway.Kind{
		Prefix: "fastcgi",
		Hidden: []string{
			"status", "x-accel-expires", "x-accel-redirect", "x-accel-limit-rate",
			"x-accel-buffering", "x-accel-charset",
		},
		Head: gateway.HeadCGI,
	}
}

// Module is the fastcgi module. It stands in the list after upstream's and before
// those that compile texts with its variables.
func Module() httpd.Module {
	return httpd.Module{
		Name:       "ngx_http_fastcgi_module",
		Directives: directives(),
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			m := &module{b: b, ups: upstream.Of(b), kind: kind(), splits: map[*httpd.Location]*split{}}
			if m.ups == nil {
				return nil, fmt.Errorf("build fastcgi: %s is not in the list before it", upstream.ModuleName)
			}
			b.AddVariable("fastcgi_script_name", m.scriptName)
			b.AddVariable("fastcgi_path_info", m.pathInfo)
			return m, nil
		},
	}
}

// module is FastCGI's part in one configuration.
type module struct {
	b    *httpd.Builder
	ups  *upstream.Upstreams
	kind *gateway.Kind
	// splits are of the locations that have settings of their own; it does not change
	// any more when requests are served.
	splits map[*httpd.Location]*split
}

// A location is the module's settings where fastcgi_pass stands. It implements
// [gateway.Protocol].
type location struct {
	*gateway.Location
	target   *gateway.Target
	params   *gateway.Params
	keepConn bool
	catch    [][]byte // fastcgi_catch_stderr
}

// Location builds the module's part of a location.
func (m *module) Location(s *conf.Scope) (httpd.Part, error) {
	if err := m.kind.CheckSizes(s); err != nil {
		return httpd.Part{}, err // as nginx, also where nothing is passed on
	}
	if err := m.addSplit(s); err != nil {
		return httpd.Part{}, err
	}
	d, in := gateway.PassIn(s, "fastcgi_pass")
	if d == nil {
		return httpd.Part{}, nil
	}
	l := new(location)
	var err error
	if l.Location, err = gateway.NewLocation(m.kind, m.ups, m.b, in, l); err != nil {
		return httpd.Part{}, err
	}
	if l.target, err = gateway.NewTarget(m.kind, m.ups, m.b, in, d, gateway.Schemes{}); err != nil {
		return httpd.Part{}, err
	}
	if l.params, err = gateway.NewParams(m.kind, l.Location, m.b, in); err != nil {
		return httpd.Part{}, err
	}
	if l.keepConn, err = in.Flag("fastcgi_keep_conn", false); err != nil {
		return httpd.Part{}, err
	}
	for _, d := range in.All("fastcgi_catch_stderr") {
		l.catch = append(l.catch, []byte(d.Arg(0)))
	}
	return httpd.Part{Content: l, ContentIsProxy: true}, nil
}

func directives() []conf.Spec {
	const hsl = conf.HTTPServerLocation
	k := kind()
	own := []conf.Spec{
		{Name: "fastcgi_pass", In: conf.Location | conf.LocationIf, Min: 1, Max: 1},
		k.ParamSpec(),
		{Name: "fastcgi_index", In: hsl, Min: 1, Max: 1},
		{Name: "fastcgi_split_path_info", In: hsl, Min: 1, Max: 1},
		{Name: "fastcgi_catch_stderr", In: hsl, Min: 1, Max: 1, Repeat: true},
		{Name: "fastcgi_keep_conn", In: hsl, Min: 1, Max: 1, Flag: true},
		{Name: "fastcgi_send_lowat", In: hsl, Min: 1, Max: 1, Check: conf.CheckSize,
			Effect: conf.NoEffect, Note: "FreeBSD only, in nginx too."},
	}
	return append(own, k.Directives()...)
}
