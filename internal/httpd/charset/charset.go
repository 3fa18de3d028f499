// Package charset is what is used of nginx's ngx_http_charset_module: the charset that
// goes behind the content's type. It converts nothing.
package charset

import (
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module. It stands in the list before gzip's, which looks at types
// without their charset.
func Module() httpd.Module {
	return httpd.Module{
		Name: "ngx_http_charset_module",
		Directives: []conf.Spec{
			{
				Name: "charset", In: conf.HTTPServerLocation | conf.LocationIf, Min: 1, Max: 1,
				Note: "It is told to the client; nothing is converted, X-Accel-Charset is not obeyed, and the columns of autoindex count bytes.",
			},
			{Name: "charset_types", In: conf.HTTPServerLocation, Min: 1, Max: conf.AnyArgs},
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			return &instance{b: b, types: map[*conf.Directive]map[string]bool{}}, nil
		},
	}
}

type instance struct {
	b *httpd.Builder
	// types are those of a charset_types that was read.
	types map[*conf.Directive]map[string]bool
}

// A part is what one location adds.
type part struct {
	name  httpd.Template
	types map[string]bool // in lower case; nil: all
}

// Location reads the charset of a location.
func (in *instance) Location(s *conf.Scope) (httpd.Part, error) {
	d := s.One("charset")
	if d == nil || d.Arg(0) == "off" {
		return httpd.Part{}, nil
	}
	name, err := in.b.Template(d, d.Arg(0))
	if err != nil {
		return httpd.Part{}, err
	}
	p := &part{name, in.typesOf(s.One("charset_types"))}
	return httpd.Part{Head: p.apply}, nil
}

// usual are the types without charset_types.
func usual() map[string]bool {
	return map[string]bool{
		"text/html": true, "text/xml": true, "text/plain": true, "text/vnd.wap.wml": true,
		"application/javascript": true, "application/rss+xml": true,
	}
}

// typesOf reads d, which may be nil. text/html is always among them.
func (in *instance) typesOf(d *conf.Directive) map[string]bool {
	if d == nil {
		return usual()
	}
	if m, ok := in.types[d]; ok {
		return m
	}
	m := map[string]bool{"text/html": true}
	in.types[d] = nil
	for _, t := range d.Args {
		if t == "*" {
			return nil
		}
		if t = strings.ToLower(t); m[t] {
			in.b.Warn(d, "duplicate MIME type \""+t+"\"")
		}
		m[t] = true
	}
	in.types[d] = m
	return m
}

// apply puts the charset behind the type of a response that has none there. As in nginx
// a redirect gets none.
func (p *part) apply(r *httpd.Request) {
	o := &r.Out
	if len(o.ContentType) == 0 || o.Status == 301 || o.Status == 302 || !p.fits(o) {
		return
	}
	t := append(make([]byte, 0, len(o.ContentType)+24), o.ContentType...)
	t = append(t, "; charset="...)
	n := len(t)
	if t = p.name.Append(t, r); len(t) > n {
		o.ContentType, o.ForeignType = t, true
	}
}

// fits reports whether the response's type is one that gets a charset.
func (p *part) fits(o *httpd.Response) bool {
	if o.ForeignType && len(o.TypeAlone()) < len(o.ContentType) {
		return false // it has one
	}
	return p.types == nil || p.types[string(o.ContentType)] || p.types[strings.ToLower(string(o.ContentType))]
}
