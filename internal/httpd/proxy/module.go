package proxy

import (
	"fmt"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// Module is the proxy module. It stands in the list after upstream's and before
// those that compile texts with its variables.
func Module() httpd.Module {
	return httpd.Module{
		Name:       "ngx_http_proxy_module",
		Directives: directives(),
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			m := &module{b: b, ups: upstream.Of(b)}
			if m.ups == nil {
				return nil, fmt.Errorf("build proxy: %s is not in the list before it", upstream.ModuleName)
			}
			var err error
			if m.key, err = b.StateKey(); err != nil {
				return nil, err
			}
			m.addVariables()
			return m, nil
		},
	}
}

// module is the proxy's part in one configuration.
type module struct {
	b   *httpd.Builder
	ups *upstream.Upstreams
	key httpd.StateKey // of the *exchange that serves the request
}

// Location builds the part of a location in which proxy_pass stands.
func (m *module) Location(s *conf.Scope) (httpd.Part, error) {
	if _, err := spoolSizes(s); err != nil {
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
	add := func(name string, value func(x *exchange, dst []byte) []byte) {
		m.b.AddVariable(name, func(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
			x, ok := r.State(m.key).(*exchange)
			if !ok {
				return dst, false
			}
			return value(x, dst), true
		})
	}
	add("proxy_host", func(x *exchange, dst []byte) []byte { return append(dst, x.to.host...) })
	add("proxy_port", func(x *exchange, dst []byte) []byte { return append(dst, x.to.port...) })
	m.b.AddVariable("proxy_add_x_forwarded_for", forwardedFor)
}

// forwardedFor is the client's X-Forwarded-For fields with its address behind.
func forwardedFor(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
	r.EachField(func(name, value []byte) {
		if isName(name, "x-forwarded-for") {
			dst = append(append(dst, value...), ", "...)
		}
	})
	return append(dst, r.RemoteAddr()...), true
}

// isName compares a field's name with a lower-case one.
func isName(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
