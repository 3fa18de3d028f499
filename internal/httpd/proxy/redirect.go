package proxy

import (
	"bytes"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// A redirect rewrites Location and Refresh: what begins with prefix, or matches
// pattern, is replaced.
type redirect struct {
	prefix  httpd.Template
	pattern *httpd.Pattern
	to      httpd.Template
}

// newRedirects reads proxy_redirect; without any, the server's URL in t becomes
// the location's.
func newRedirects(b *httpd.Builder, s *conf.Scope, t *target) ([]redirect, error) {
	ds := s.All("proxy_redirect")
	if ds == nil {
		if t.text != nil {
			return nil, nil
		}
		rd, err := defaultRedirect(b, t)
		return []redirect{rd}, err
	}
	var list []redirect
	for _, d := range ds {
		if len(d.Args) == 1 && d.Arg(0) == "off" {
			return nil, nil
		}
		rd, err := newRedirect(b, d, t)
		if err != nil {
			return nil, err
		}
		list = append(list, rd)
	}
	return list, nil
}

func defaultRedirect(b *httpd.Builder, t *target) (rd redirect, err error) {
	from, to := t.url, t.location
	if t.fixed.URI == "" {
		from, to = t.url+"/", "/"
	}
	if rd.prefix, err = b.Template(nil, from); err != nil {
		return rd, err
	}
	rd.to, err = b.Template(nil, to)
	return rd, err
}

func newRedirect(b *httpd.Builder, d *conf.Directive, t *target) (rd redirect, err error) {
	if len(d.Args) == 1 {
		switch {
		case d.Arg(0) != "default":
			return rd, conf.Errorf(d, "invalid parameter \"%s\"", d.Arg(0))
		case t.text != nil:
			return rd, conf.Errorf(d, "\"proxy_redirect default\" cannot be used with \"proxy_pass\" directive with variables")
		}
		return defaultRedirect(b, t)
	}
	from := d.Arg(0)
	if !strings.HasPrefix(from, "~") {
		if rd.prefix, err = b.Template(d, from); err != nil {
			return rd, err
		}
		rd.to, err = b.Template(d, d.Arg(1))
		return rd, err
	}
	fold := strings.HasPrefix(from, "~*")
	expr := strings.TrimPrefix(from[1:], "*")
	if expr == "" {
		return rd, conf.Errorf(d, "invalid parameter \"%s\"", from)
	}
	if rd.pattern, err = b.Pattern(d, expr, fold); err != nil {
		return rd, err
	}
	rd.to, err = b.Template(d, d.Arg(1))
	return rd, err
}

// apply returns value rewritten, or false when the rule is not about it.
func (rd *redirect) apply(r *httpd.Request, value []byte) ([]byte, bool) {
	if rd.pattern != nil {
		return r.Substitute(rd.pattern, &rd.to, value)
	}
	prefix := rd.prefix.Append(r.Scratch(), r)
	r.KeepScratch(prefix)
	if !bytes.HasPrefix(value, prefix) {
		return value, false
	}
	n := len(prefix)
	return append(rd.to.AppendURL(nil, r), value[n:]...), true
}

// redirected rewrites a Location.
func (l *location) redirected(r *httpd.Request, value []byte) ([]byte, bool) {
	for i := range l.redirects {
		if v, ok := l.redirects[i].apply(r, value); ok {
			return v, true
		}
	}
	return value, false
}

// refreshed rewrites the URL in a Refresh field: "5; url=http://…".
func (l *location) refreshed(r *httpd.Request, value []byte) []byte {
	i := bytes.Index(bytes.ToLower(value), []byte("url="))
	if i < 0 {
		return value
	}
	i += len("url=")
	v, ok := l.redirected(r, value[i:])
	if !ok {
		return value
	}
	return append(append([]byte(nil), value[:i]...), v...)
}
