// Package charset is what is used of nginx's ngx_http_charset_module: the charset that
// goes behind the content's type. It converts nothing.
package charset

import (
	"bytes"
	"log/slog"
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
				Note: "It is told to the client; nothing is converted.",
			},
			{Name: "charset_types", In: conf.HTTPServerLocation, Min: 1, Max: conf.AnyArgs},
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			in := &instance{b: b, types: map[*conf.Directive]map[string]bool{}, known: map[string]bool{}}
			in.learn(b.HTTP.Block)
			return in, nil
		},
	}
}

type instance struct {
	b *httpd.Builder
	// types are those of a charset_types that was read.
	types map[*conf.Directive]map[string]bool
	// known are the charsets that the configuration names, in lower case.
	known map[string]bool
	// servers: there are some behind us, which may want a charset.
	servers bool
}

// learn finds the charsets that are named in a block and the blocks in it, and whether
// servers are asked.
func (in *instance) learn(block []*conf.Directive) {
	for _, d := range block {
		switch name := d.Arg(0); {
		case d.Name == "charset" && name != "off" && !strings.HasPrefix(name, "$"):
			in.known[strings.ToLower(name)] = true
		case strings.HasSuffix(d.Name, "_pass"):
			in.servers = true
		}
		in.learn(d.Block)
	}
}

// A part is what one location adds.
type part struct {
	off   bool            // there is no charset here, but a server may want one
	known map[string]bool // of which it may want one
	name  httpd.Template
	types map[string]bool // in lower case; nil: all
}

// Location reads the charset of a location.
func (in *instance) Location(s *conf.Scope) (httpd.Part, error) {
	d := s.One("charset")
	if d == nil || d.Arg(0) == "off" {
		if !in.servers {
			return httpd.Part{}, nil
		}
		p := &part{off: true, known: in.known}
		return httpd.Part{Head: p.apply}, nil
	}
	name, err := in.b.Template(d, d.Arg(0))
	if err != nil {
		return httpd.Part{}, err
	}
	p := &part{known: in.known, name: name, types: in.typesOf(s.One("charset_types"))}
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

// apply puts the charset behind the type of a response that has none there, or puts the
// one that a server wants in the place of the one that is there. As in nginx a redirect
// gets none.
func (p *part) apply(r *httpd.Request) {
	o := &r.Out
	redirect := o.Status == 301 || o.Status == 302
	switch {
	case len(o.ContentType) == 0:
	case len(o.Type.Charset) > 0:
		if alone, ok := p.allowed(r); ok && redirect {
			o.ContentType = alone
		} else if ok {
			put(o, alone, func(t []byte) []byte { return append(t, o.Type.Charset...) })
		}
	case !p.off && !redirect && p.fits(o):
		put(o, o.ContentType, func(t []byte) []byte { return p.name.Append(t, r) })
	}
}

// put makes the type what it is alone and what name appends as its charset, if it appends
// anything.
func put(o *httpd.Response, alone []byte, name func([]byte) []byte) {
	t := append(make([]byte, 0, len(alone)+24), alone...)
	t = append(t, "; charset="...)
	n := len(t)
	if t = name(t); len(t) > n {
		o.ContentType, o.Type.Foreign = t, true
	}
}

// allowed returns the type without its charset when the one that a server wants may be
// put there: the configuration must name it, and what the type already has must be the
// same, since nothing is converted.
func (p *part) allowed(r *httpd.Request) (alone []byte, ok bool) {
	o := &r.Out
	if !p.knows(o.Type.Charset) {
		r.Log(slog.LevelError, "unknown charset \""+string(o.Type.Charset)+"\" to override", nil)
		return nil, false
	}
	alone, own := httpd.SplitType(o.ContentType)
	switch {
	case len(alone) == len(o.ContentType) || !o.Type.Foreign:
		return o.ContentType, true
	case len(own) == 0:
		return nil, false
	case bytes.EqualFold(own, o.Type.Charset):
		return alone, true
	case p.knows(own) && len(o.Get("Content-Encoding")) > 0:
		return nil, false
	}
	r.Log(slog.LevelError, "no \"charset_map\" between the charsets \""+string(own)+"\" and \""+string(o.Type.Charset)+"\"", nil)
	return nil, false
}

// knows reports whether the configuration names a charset.
func (p *part) knows(charset []byte) bool { return p.known[strings.ToLower(string(charset))] }

// fits reports whether the response's type is one that gets a charset.
func (p *part) fits(o *httpd.Response) bool {
	t := o.TypeAlone()
	if len(t) < len(o.ContentType) {
		return false // it has one
	}
	return p.types == nil || p.types[string(t)] || p.types[strings.ToLower(string(t))]
}
