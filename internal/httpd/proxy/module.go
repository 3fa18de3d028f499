package proxy

import (
	"fmt"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/gateway"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// Module is the proxy module. It stands in the list after upstream's and before
// those that compile texts with its variables.
func Module() httpd.Module {
	return httpd.Module{
		Name:       "ngx_http_proxy_module",
		Directives: directives(),
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			m := &module{b: b, ups: upstream.Of(b), kind: kind()}
			if m.ups == nil {
				return nil, fmt.Errorf("build proxy: %s is not in the list before it", upstream.ModuleName)
			}
			m.addVariables()
			return m, nil
		},
	}
}

// module is the proxy's part in one configuration.
type module struct {
	b    *httpd.Builder
	ups  *upstream.Upstreams
	kind *gateway.Kind
}

// Location builds the part of a location in which proxy_pass stands.
func (m *module) Location(s *conf.Scope) (httpd.Part, error) {
	if err := m.kind.CheckSizes(s); err != nil {
		return httpd.Part{}, err // as nginx, also where nothing is passed on
	}
	ds := s.Own("proxy_pass")
	if len(ds) == 0 && (s.Context == conf.LocationIf || s.Context == conf.LimitExcept) && s.Up != nil {
		return m.Location(s.Up)
	}
	if len(ds) == 0 {
		return httpd.Part{}, nil
	}
	l, err := newLocation(m, m.b, s, ds[0])
	if err != nil {
		return httpd.Part{}, err
	}
	return httpd.Part{Content: l, ContentIsProxy: true}, nil
}

// addVariables adds the module's variables to the configuration.
func (m *module) addVariables() {
	add := func(name string, value func(to *gateway.Place) string) {
		m.b.CarryVariable(name, func(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
			x := gateway.Of(m.ups, r)
			if x == nil {
				return dst, false
			}
			if _, ok := x.Protocol().(*location); !ok {
				return dst, false
			}
			return append(dst, value(&x.To)...), true
		})
	}
	add("proxy_host", func(to *gateway.Place) string { return to.Host })
	add("proxy_port", func(to *gateway.Place) string { return to.Port })
	m.b.AddVariable("proxy_add_x_forwarded_for", forwardedFor)
}

// forwardedFor is the client's X-Forwarded-For fields with its address behind.
func forwardedFor(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
	r.EachField(func(name, value []byte) {
		if gateway.IsName(name, "x-forwarded-for") {
			dst = append(append(dst, value...), ", "...)
		}
	})
	return append(dst, r.RemoteAddr()...), true
}
