package proxy

import (
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/gateway"
)

// kind is what sets this module apart from the others that pass requests on.
func kind() *gateway.Kind {
	return &gateway.Kind{
		Prefix: "proxy",
		Next:   []string{"http_502", "http_504"},
		Hidden: []string{
			"date", "server", "x-pad", "x-accel-expires", "x-accel-redirect",
			"x-accel-limit-rate", "x-accel-buffering", "x-accel-charset",
		},
		Head: gateway.HeadHTTP,
	}
}

// The field that names the host, as it is looked for and as it is written.
const hostField, hostName = "host", "Host: "

// A location is the module's settings where proxy_pass stands. It implements
// [gateway.Protocol].
type location struct {
	*gateway.Location
	m      *module
	target target

	method   *httpd.Template // nil: the client's
	http11   bool
	host     *setField // nil: $proxy_host
	sets     []setField
	replaced map[string]bool // client's fields that are not passed on, lower-case

	redirects     []redirect
	cookieDomains []cookieRule
	cookiePaths   []cookieRule
}

// Scheme implements [gateway.Protocol].
func (l *location) Scheme() string { return plainScheme }

// Rewrite implements [gateway.Protocol].
func (l *location) Rewrite(r *httpd.Request, lower, value []byte) (v []byte, pass bool) {
	switch string(lower) {
	case "location":
		if v, ok := l.redirected(r, value); ok {
			return v, len(v) == 0 || v[0] != '/' || !r.RedirectWithin(v)
		}
	case "refresh":
		return l.refreshed(r, value), true
	case "set-cookie":
		return l.cookie(r, value), true
	}
	return value, true
}

// A reader reads values from a scope and keeps the first error.
type reader struct {
	b   *httpd.Builder
	s   *conf.Scope
	err error
}

func (rd *reader) keep(err error) {
	if rd.err == nil {
		rd.err = err
	}
}

// template returns the value of a directive with variables, nil when it is absent.
func (rd *reader) template(name string) *httpd.Template {
	d := rd.s.One(name)
	if d == nil {
		return nil
	}
	t, err := rd.b.Template(d, d.Arg(0))
	rd.keep(err)
	return &t
}

// newLocation compiles the scope in which proxy_pass d stands.
func newLocation(m *module, b *httpd.Builder, s *conf.Scope, d *conf.Directive) (*location, error) {
	rd := &reader{b: b, s: s}
	l := &location{
		m:      m,
		method: rd.template("proxy_method"),
		http11: s.String("proxy_http_version", "1.1") == "1.1",
	}
	var err error
	l.Location, err = gateway.NewLocation(m.kind, m.ups, b, s, l)
	rd.keep(err)
	l.SetBody, l.StreamsAny = rd.template("proxy_set_body"), l.http11
	rd.setFields(l)
	rd.cookies(l)
	if rd.err != nil {
		return nil, rd.err
	}
	if l.target, err = newTarget(m, b, s, d); err != nil {
		return nil, err
	}
	l.redirects, err = newRedirects(b, s, &l.target)
	return l, err
}

// A setField is a field of the request to the server.
type setField struct {
	name  []byte // with ": "
	value httpd.Template
	kind  setKind
}

type setKind uint8

const (
	setText   setKind = iota
	setLength         // of the body that is sent, when its length is known
	setCoding         // "chunked" when it is not
)

// setFields merges proxy_set_header with what is set without it. The Host field is kept
// apart: there is one only, behind the request line.
func (rd *reader) setFields(l *location) {
	l.replaced = map[string]bool{hostField: true}
	add := func(f setField, name string, keep bool) {
		l.replaced[strings.ToLower(name)] = true
		if keep {
			f.name = []byte(name + ": ")
			l.sets = append(l.sets, f)
		}
	}
	for _, d := range rd.s.All("proxy_set_header") {
		value, err := rd.b.Template(d, httpd.Unfold(d.Arg(1)))
		rd.keep(err)
		if strings.EqualFold(d.Arg(0), hostField) {
			l.host = &setField{name: []byte(hostName), value: value} // the last one counts
			continue
		}
		add(setField{value: value}, d.Arg(0), d.Arg(1) != "")
	}
	for _, def := range []struct {
		name string
		f    setField
		keep bool
	}{
		{"Connection", setField{}, false},
		{"Proxy-Connection", setField{}, false},
		{"Content-Length", setField{kind: setLength}, true},
		{"Transfer-Encoding", setField{kind: setCoding}, true},
		{"TE", setField{}, false},
		{"Keep-Alive", setField{}, false},
		{"Expect", setField{}, false},
		{"Upgrade", setField{}, false},
		{"Proxy-Connection", setField{}, false},
	} {
		if !l.replaced[strings.ToLower(def.name)] {
			add(def.f, def.name, def.keep)
		}
	}
}
