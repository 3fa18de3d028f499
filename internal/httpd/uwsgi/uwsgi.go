// Package uwsgi is nginx's uwsgi module: it passes requests to servers that speak
// uwsgi. How they go through servers and their answers come back is package gateway's;
// what is here is the request: a packet of parameters, and the body behind it.
package uwsgi

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
		Prefix: "uwsgi",
		Hidden: []string{
			"x-accel-expires", "x-accel-redirect", "x-accel-limit-rate",
			"x-accel-buffering", "x-accel-charset",
		},
		Head: gateway.HeadEither,
	}
}

// Module is the uwsgi module. It stands in the list after upstream's.
func Module() httpd.Module {
	k := kind()
	return httpd.Module{
		Name: "ngx_http_uwsgi_module",
		Directives: append([]conf.Spec{
			{Name: "uwsgi_pass", In: conf.Location | conf.LocationIf, Min: 1, Max: 1},
			k.ParamSpec(),
			{Name: "uwsgi_modifier1", In: conf.HTTPServerLocation, Min: 1, Max: 1, Check: checkByte},
			{Name: "uwsgi_modifier2", In: conf.HTTPServerLocation, Min: 1, Max: 1, Check: checkByte},
			{Name: "uwsgi_string", In: conf.HTTPServerLocation, Min: 1, Max: 1},
		}, append(k.SecurityDirectives(), k.Directives()...)...),
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			m := &module{b: b, ups: upstream.Of(b), kind: k}
			if m.ups == nil {
				return nil, fmt.Errorf("build uwsgi: %s is not in the list before it", upstream.ModuleName)
			}
			return m, nil
		},
	}
}

const plainScheme, secureScheme = "uwsgi://", "suwsgi://"

const maxByte = 255

func checkByte(d *conf.Directive) error {
	n, err := conf.ParseNumber(d.Arg(0))
	if err != nil {
		return conf.Errorf(d, "\"%s\" directive invalid number", d.Name)
	}
	if n > maxByte {
		return conf.Errorf(d, "value must be between 0 and %d", maxByte)
	}
	return nil
}

// module is uwsgi's part in one configuration.
type module struct {
	b    *httpd.Builder
	ups  *upstream.Upstreams
	kind *gateway.Kind
}

// A location is the module's settings where uwsgi_pass stands. It implements
// [gateway.Protocol].
type location struct {
	*gateway.Location
	target    *gateway.Target
	params    *gateway.Params
	modifiers [2]byte
	extra     string // uwsgi_string
}

// Location builds the module's part of a location.
func (m *module) Location(s *conf.Scope) (httpd.Part, error) {
	if err := m.kind.CheckSizes(s); err != nil {
		return httpd.Part{}, err // as nginx, also where nothing is passed on
	}
	d, in := gateway.PassIn(s, "uwsgi_pass")
	if d == nil {
		return httpd.Part{}, nil
	}
	l := &location{extra: in.String("uwsgi_string", "")}
	var err error
	if l.Location, err = gateway.NewLocation(m.kind, m.ups, m.b, in, l); err != nil {
		return httpd.Part{}, err
	}
	if l.target, err = gateway.NewTarget(m.kind, m.ups, m.b, in, d, gateway.Schemes{Plain: plainScheme, Secure: secureScheme}); err != nil {
		return httpd.Part{}, err
	}
	if l.params, err = gateway.NewParams(m.kind, l.Location, m.b, in); err != nil {
		return httpd.Part{}, err
	}
	for i, name := range []string{"uwsgi_modifier1", "uwsgi_modifier2"} {
		n, err := in.Int(name, 0)
		if err != nil {
			return httpd.Part{}, err
		}
		l.modifiers[i] = byte(n)
	}
	// Where the server is a variable nginx does not add the slash, other than with
	// proxy_pass and fastcgi_pass.
	return httpd.Part{Content: l, ContentIsProxy: !l.target.HasVariables()}, nil
}

// Scheme implements [gateway.Protocol].
func (l *location) Scheme() string { return plainScheme }

// Resolve implements [gateway.Protocol].
func (l *location) Resolve(x *gateway.Exchange) int { return l.target.Resolve(x) }

// Rewrite implements [gateway.Protocol].
func (l *location) Rewrite(_ *httpd.Request, _, value []byte) ([]byte, bool) { return value, true }

const (
	headBytes = 4     // modifier 1, the length in two bytes, modifier 2
	maxPacket = 65535 // what the length can say
)

// Compose implements [gateway.Protocol].
func (l *location) Compose(x *gateway.Exchange, b []byte) ([]byte, int) {
	x.IsHead = x.R.Head.IsHead()
	b = append(b, l.modifiers[0], 0, 0, l.modifiers[1])
	b = l.params.Append(x, b, appendPair)
	b = append(b, l.extra...)
	n := len(b) - headBytes
	if n > maxPacket {
		x.Log(gateway.LevelAlert, fmt.Sprintf("uwsgi request is too big: %d", n))
		return b, 500
	}
	b[1], b[2] = byte(n), byte(n>>8)
	if body, whole := x.Body.InMemory(); whole {
		x.Composed = true
		b = append(b, body...)
	}
	return b, 0
}

// appendPair appends a parameter: each part behind its length. A part too long for that
// makes the packet too big as well, so nobody gets to see it.
func appendPair(dst, name, value []byte) []byte {
	dst = append(dst, byte(len(name)), byte(len(name)>>8))
	dst = append(dst, name...)
	dst = append(dst, byte(len(value)), byte(len(value)>>8))
	return append(dst, value...)
}
