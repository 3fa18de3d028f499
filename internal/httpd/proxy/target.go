package proxy

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/gateway"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// What proxy_pass begins with, and the ports that need not be named.
const (
	plainScheme, secureScheme = "http://", "https://"
	plainPort, securePort     = 80, 443
)

// cutScheme takes the scheme off a URL.
func cutScheme(url string) (rest string, port int, ok bool) {
	if rest, ok = cutPrefixFold(url, plainScheme); ok {
		return rest, plainPort, true
	}
	rest, ok = cutPrefixFold(url, secureScheme)
	return rest, securePort, ok
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if n := len(prefix); len(s) >= n && strings.EqualFold(s[:n], prefix) {
		return s[n:], true
	}
	return s, false
}

// A target is where proxy_pass leads.
type target struct {
	url      string // as written
	location string // name of the location, "" when a URI cannot be mapped
	fixed    place  // when url has no variables
	group    *upstream.Group
	text     *httpd.Template // url when it has some
	resolver *upstream.Resolver
	ups      *upstream.Upstreams
	security *gateway.Security // for https; nil when it is never spoken
}

// A place is a proxy_pass taken apart.
type place struct {
	gateway.Place        // $proxy_host, $proxy_port
	address       string // "host:port" or "unix:path"
	resolved      upstream.Address
}

func newTarget(m *module, b *httpd.Builder, s *conf.Scope, d *conf.Directive) (target, error) {
	t := target{url: d.Arg(0), ups: m.ups}
	name, plain := locationName(s)
	if plain {
		t.location = name
	}
	if strings.Contains(t.url, "$") {
		text, err := b.Template(d, t.url)
		if err != nil {
			return t, err
		}
		t.text = &text
		if t.resolver, err = m.ups.Resolver(s); err == nil {
			t.security, err = m.kind.NewSecurity(b, s, secureScheme)
		}
		return t, err
	}
	rest, port, ok := cutScheme(t.url)
	if !ok {
		return t, conf.Errorf(d, "invalid URL prefix")
	}
	var err error
	if t.fixed, err = parsePlace(rest, port); err != nil {
		return t, conf.Errorf(d, "%s in upstream \"%s\"", err, rest)
	}
	if port == securePort {
		if t.security, err = m.kind.NewSecurity(b, s, secureScheme); err != nil {
			return t, err
		}
	}
	if t.fixed.URI != "" && !plain {
		return t, conf.Errorf(d, "\"proxy_pass\" cannot have URI part in location given by regular expression, "+
			"or inside named location, or inside \"if\" statement, or inside \"limit_except\" block")
	}
	t.group, err = m.ups.Group(d, t.fixed.address, port)
	return t, err
}

// locationName returns the name of the location around s and whether a URI can be
// mapped by it: not that of a regular expression, a name or an if.
func locationName(s *conf.Scope) (name string, plain bool) {
	if s.Context != conf.Location || s.Self == nil {
		return "", false
	}
	args := s.Self.Args
	name = args[len(args)-1]
	mod := ""
	if len(args) == 2 {
		mod = args[0]
	} else {
		for _, m := range []string{"=", "^~", "~*", "~"} {
			if strings.HasPrefix(name, m) {
				mod, name = m, name[len(m):]
				break
			}
		}
	}
	if mod == "~" || mod == "~*" || mod == "" && strings.HasPrefix(name, "@") {
		return name, false
	}
	return name, true
}

// parsePlace takes what follows "http://" apart, or "https://", where the port is
// another one by default.
func parsePlace(rest string, defaultPort int) (place, error) {
	var p place
	if len(rest) >= 5 && strings.EqualFold(rest[:5], "unix:") {
		path, uri, _ := strings.Cut(rest[5:], ":")
		p.address, p.URI, p.Host = "unix:"+path, uri, "localhost"
	} else {
		p.address = rest
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			p.address, p.URI = rest[:i], rest[i:]
		}
	}
	if strings.HasPrefix(p.URI, "?") {
		p.URI = "/" + p.URI
	}
	var err error
	if p.resolved, err = upstream.ParseAddress(p.address); err != nil || p.resolved.Path != "" {
		return p, err
	}
	p.Host, p.Port = p.address, strconv.Itoa(defaultPort)
	if port := p.resolved.Port; port == defaultPort {
		p.Host = p.address[:strings.LastIndexByte(p.address, ':')]
	} else if port != 0 {
		p.Port = p.address[strings.LastIndexByte(p.address, ':')+1:]
	}
	return p, nil
}

// Resolve implements [gateway.Protocol].
func (l *location) Resolve(x *gateway.Exchange) (status int) {
	t := &l.target
	if t.text == nil {
		x.To, x.Group, x.Secure = t.fixed.Place, t.group, t.security
		return 0
	}
	url := t.text.String(x.R)
	rest, port, ok := cutScheme(url)
	if !ok {
		x.Log(gateway.LevelError, fmt.Sprintf("invalid URL prefix in \"%s\"", url))
		return 500
	}
	to, err := parsePlace(rest, port)
	if err != nil {
		x.Log(gateway.LevelError, fmt.Sprintf("%s in upstream \"%s\"", err, rest))
		return 500
	}
	x.To = to.Place
	if port == securePort {
		x.Secure = t.security
	}
	return x.ResolveGroup(t.ups, t.resolver, to.resolved, port)
}

// appendURI appends the request's target as the server is to see it.
func (l *location) appendURI(x *gateway.Exchange, dst []byte) []byte {
	r, t := x.R, &l.target
	if x.To.URI == "" && !r.URIChanged() {
		return append(dst, originForm(r.Head.RequestURI())...)
	}
	if t.text != nil && x.To.URI != "" {
		return append(dst, x.To.URI...)
	}
	rest := r.URI
	if x.To.URI != "" && !r.Strayed() { // else the location's name says nothing about it
		dst = append(dst, x.To.URI...)
		rest = bytes.TrimPrefix(rest, []byte(t.location))
	}
	if r.Internal() || bytes.IndexByte(r.RawPath(), '%') >= 0 || bytes.IndexByte(rest, ' ') >= 0 {
		dst = httpd.EscapePath(dst, rest)
	} else {
		dst = append(dst, rest...)
	}
	if len(r.Args) > 0 {
		dst = append(append(dst, '?'), r.Args...)
	}
	return dst
}

// originForm is a request target without scheme, host and fragment.
func originForm(target []byte) []byte {
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		target = target[:i] // as where the location was chosen
	}
	if len(target) == 0 || target[0] == '/' || target[0] == '*' {
		return target
	}
	if _, rest, ok := bytes.Cut(target, []byte("://")); ok {
		switch i := bytes.IndexAny(rest, "/?"); {
		case i < 0:
			return []byte("/")
		case rest[i] == '?':
			return append([]byte("/"), rest[i:]...)
		default:
			return rest[i:]
		}
	}
	return target
}
