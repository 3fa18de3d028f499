// Package headers is nginx's ngx_http_headers_module: add_header and expires.
package headers

import (
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module.
func Module() httpd.Module {
	in := conf.HTTPServerLocation | conf.LocationIf
	return httpd.Module{
		Name: "ngx_http_headers_module",
		Directives: []conf.Spec{
			{Name: "add_header", In: in, Min: 2, Max: 3, Repeat: true},
			{Name: "expires", In: in, Min: 1, Max: 2},
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) { return instance{b}, nil },
	}
}

type instance struct{ b *httpd.Builder }

func (in instance) Location(s *conf.Scope) (httpd.Part, error) {
	var p part
	for _, d := range s.All("add_header") {
		a, err := in.addition(d)
		if err != nil {
			return httpd.Part{}, err
		}
		p.additions = append(p.additions, a)
	}
	var err error
	if p.expires, err = in.expiry(s.One("expires")); err != nil {
		return httpd.Part{}, err
	}
	if p.additions == nil && p.expires == nil {
		return httpd.Part{}, nil
	}
	return httpd.Part{Head: p.apply}, nil
}

// An addition is one add_header.
type addition struct {
	name   string
	value  httpd.Template
	static []byte // value without variables, nil if it has any
	always bool
	kind   fieldKind
}

// A fieldKind is how a field joins those that are there.
type fieldKind uint8

const (
	addedField    fieldKind = iota
	etagField               // replaces ETag
	modifiedField           // replaces Last-Modified
	urlField                // Location
)

func (in instance) addition(d *conf.Directive) (addition, error) {
	a := addition{name: d.Arg(0)}
	if len(d.Args) == 3 {
		if d.Arg(2) != "always" {
			return a, conf.Errorf(d, "invalid parameter \"%s\"", d.Arg(2))
		}
		a.always = true
	}
	switch {
	case strings.EqualFold(a.name, "ETag"):
		a.kind = etagField
	case strings.EqualFold(a.name, "Last-Modified"):
		a.kind = modifiedField
	case strings.EqualFold(a.name, "Location"):
		a.kind = urlField
	}
	var err error
	if a.value, err = in.b.Template(d, httpd.Unfold(d.Arg(1))); err != nil {
		return a, err
	}
	if text, ok := a.value.Static(); ok {
		a.static = []byte(text)
	}
	return a, nil
}

// A part is what one location adds.
type part struct {
	additions []addition
	expires   *expiry
}

func (p *part) apply(r *httpd.Request) {
	plain := plainStatus(r.Out.Status)
	if p.expires != nil && plain {
		p.expires.apply(r)
	}
	for i := range p.additions {
		if a := &p.additions[i]; plain || a.always {
			a.apply(r)
		}
	}
}

// plainStatus reports whether a status is one of those that add_header without
// "always" applies to.
func plainStatus(status int) bool {
	switch status {
	case 200, 201, 204, 206, 301, 302, 303, 304, 307, 308:
		return true
	}
	return false
}

func (a *addition) apply(r *httpd.Request) {
	value := a.static
	switch {
	case value != nil:
	case a.kind == urlField:
		value = a.value.AppendURL(nil, r)
	default:
		value = a.value.Append(nil, r)
	}
	switch a.kind {
	case etagField:
		r.Out.ETag = value
	case modifiedField:
		r.Out.SetLastModified(value)
	default:
		if len(value) > 0 {
			r.Out.Add(a.name, value)
		}
	}
}
