// Package scgi is nginx's scgi module: it passes requests to SCGI servers. How they
// go through servers and their answers come back is package gateway's; what is here is
// the request: a netstring of parameters, and the body behind it.
package scgi

import (
	"fmt"
	"strconv"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/gateway"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// kind is what sets this module apart from the others that pass requests on.
func kind() *gateway.Kind {
	return &gateway.Kind{
		Prefix: "scgi",
		Hidden: []string{
			"status", "x-accel-expires", "x-accel-redirect", "x-accel-limit-rate",
			"x-accel-buffering", "x-accel-charset",
		},
		Head: gateway.HeadEither,
		NUL:  true,
	}
}

// Module is the scgi module. It stands in the list after upstream's.
func Module() httpd.Module {
	k := kind()
	return httpd.Module{
		Name: "ngx_http_scgi_module",
		Directives: append([]conf.Spec{
			{Name: "scgi_pass", In: conf.Location | conf.LocationIf, Min: 1, Max: 1},
			k.ParamSpec(),
		}, k.Directives()...),
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			m := &module{b: b, ups: upstream.Of(b), kind: k}
			if m.ups == nil {
				return nil, fmt.Errorf("build scgi: %s is not in the list before it", upstream.ModuleName)
			}
			return m, nil
		},
	}
}

// module is SCGI's part in one configuration.
type module struct {
	b    *httpd.Builder
	ups  *upstream.Upstreams
	kind *gateway.Kind
}

// A location is the module's settings where scgi_pass stands. It implements
// [gateway.Protocol].
type location struct {
	*gateway.Location
	target *gateway.Target
	params *gateway.Params
}

// Location builds the module's part of a location.
func (m *module) Location(s *conf.Scope) (httpd.Part, error) {
	if err := m.kind.CheckSizes(s); err != nil {
		return httpd.Part{}, err // as nginx, also where nothing is passed on
	}
	d, in := gateway.PassIn(s, "scgi_pass")
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
	// Where the server is a variable nginx does not add the slash, other than with
	// proxy_pass and fastcgi_pass.
	return httpd.Part{Content: l, ContentIsProxy: !l.target.HasVariables()}, nil
}

// Scheme implements [gateway.Protocol].
func (l *location) Scheme() string { return "scgi://" }

// Resolve implements [gateway.Protocol].
func (l *location) Resolve(x *gateway.Exchange) int { return l.target.Resolve(x) }

// Rewrite implements [gateway.Protocol].
func (l *location) Rewrite(_ *httpd.Request, _, value []byte) ([]byte, bool) { return value, true }

// maxDigits has room for the netstring's length and the colon.
const maxDigits = 20

// Compose implements [gateway.Protocol].
func (l *location) Compose(x *gateway.Exchange, b []byte) ([]byte, int) {
	x.IsHead = x.R.Head.IsHead()
	var room [maxDigits]byte
	b = append(b, room[:]...)
	b = append(b, "CONTENT_LENGTH\x00"...)
	length := int64(0)
	if x.Body != nil {
		length = x.Body.Length
	}
	b = append(strconv.AppendInt(b, length, 10), 0)
	b = l.params.Append(x, b, appendPair)
	size := append(strconv.AppendInt(room[:0], int64(len(b)-maxDigits), 10), ':')
	b = append(b, ',')
	// The length is known only now: the request begins as far behind as it is short.
	copy(b[maxDigits-len(size):], size)
	if body, whole := x.Body.InMemory(); whole {
		x.Composed = true
		b = append(b, body...)
	}
	return shift(b, maxDigits-len(size)), 0
}

// shift drops the first n bytes of b and keeps its memory from the start.
func shift(b []byte, n int) []byte { return b[:copy(b, b[n:])] }

// appendPair appends a parameter.
func appendPair(dst, name, value []byte) []byte {
	dst = append(append(dst, name...), 0)
	return append(append(dst, value...), 0)
}
