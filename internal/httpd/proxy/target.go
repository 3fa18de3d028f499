package proxy

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// defaultPort is http's.
const defaultPort = 80

// A target is where proxy_pass leads.
type target struct {
	url      string // as written
	location string // name of the location, "" when a URI cannot be mapped
	fixed    place  // when url has no variables
	group    *upstream.Group
	text     *httpd.Template // url when it has some
	resolver *upstream.Resolver
	ups      *upstream.Upstreams
}

// A place is a proxy_pass taken apart.
type place struct {
	address  string // "host:port" or "unix:path"
	host     string // $proxy_host
	port     string // $proxy_port
	uri      string // "" when there is none: the client's own is passed on
	isUnix   bool
	resolved upstream.Address
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
		t.resolver, err = m.ups.Resolver(s)
		return t, err
	}
	lower := strings.ToLower(t.url)
	switch {
	case strings.HasPrefix(lower, "http://"):
	case strings.HasPrefix(lower, "https://"):
		return t, conf.Errorf(d, "https protocol requires SSL support")
	default:
		return t, conf.Errorf(d, "invalid URL prefix")
	}
	var err error
	if t.fixed, err = parsePlace(t.url[len("http://"):]); err != nil {
		return t, conf.Errorf(d, "%s in upstream \"%s\"", err, t.url[len("http://"):])
	}
	if t.fixed.uri != "" && !plain {
		return t, conf.Errorf(d, "\"proxy_pass\" cannot have URI part in location given by regular expression, "+
			"or inside named location, or inside \"if\" statement, or inside \"limit_except\" block")
	}
	t.group, err = m.ups.Group(d, t.fixed.address, defaultPort)
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

// parsePlace takes what follows "http://" apart.
func parsePlace(rest string) (place, error) {
	var p place
	if len(rest) >= 5 && strings.EqualFold(rest[:5], "unix:") {
		path, uri, _ := strings.Cut(rest[5:], ":")
		p.address, p.uri, p.isUnix, p.host = "unix:"+path, uri, true, "localhost"
	} else {
		p.address = rest
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			p.address, p.uri = rest[:i], rest[i:]
		}
	}
	if strings.HasPrefix(p.uri, "?") {
		p.uri = "/" + p.uri
	}
	var err error
	if p.resolved, err = upstream.ParseAddress(p.address); err != nil || p.isUnix {
		return p, err
	}
	p.host, p.port = p.address, strconv.Itoa(defaultPort)
	if port := p.resolved.Port; port == defaultPort {
		p.host = p.address[:strings.LastIndexByte(p.address, ':')]
	} else if port != 0 {
		p.port = p.address[strings.LastIndexByte(p.address, ':')+1:]
	}
	return p, nil
}

// resolve finds the place and the group for this request. A status other than 0
// is the answer.
func (x *exchange) resolve() (status int) {
	t := &x.loc.target
	if t.text == nil {
		x.to, x.group = t.fixed, t.group
		return 0
	}
	url := t.text.String(x.r)
	if len(url) < 7 || !strings.EqualFold(url[:7], "http://") {
		x.log(levelError, fmt.Sprintf("invalid URL prefix in \"%s\"", url))
		return 500
	}
	var err error
	if x.to, err = parsePlace(url[len("http://"):]); err != nil {
		x.log(levelError, fmt.Sprintf("%s in upstream \"%s\"", err, url[len("http://"):]))
		return 500
	}
	if x.group = t.ups.Known(x.to.resolved, defaultPort); x.group != nil {
		return 0
	}
	if t.resolver == nil {
		x.log(levelError, "no resolver defined to resolve "+x.to.resolved.Host)
		return 502
	}
	if x.group, err = t.resolver.Group(x.to.resolved, defaultPort); err != nil {
		x.log(levelError, err.Error())
		return 502
	}
	return 0
}

// appendURI appends the request's target as the server is to see it.
func (x *exchange) appendURI(dst []byte) []byte {
	r, t := x.r, &x.loc.target
	if x.to.uri == "" && !r.URIChanged() {
		return append(dst, originForm(r.Head.RequestURI())...)
	}
	if t.text != nil && x.to.uri != "" {
		return append(dst, x.to.uri...)
	}
	rest := r.URI
	if x.to.uri != "" && !r.Strayed() { // else the location's name says nothing about it
		dst = append(dst, x.to.uri...)
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

// originForm is a request target without scheme and host.
func originForm(target []byte) []byte {
	if len(target) == 0 || target[0] == '/' || target[0] == '*' {
		return target
	}
	if _, rest, ok := bytes.Cut(target, []byte("://")); ok {
		if i := bytes.IndexAny(rest, "/?"); i >= 0 {
			return rest[i:]
		}
		return []byte("/")
	}
	return target
}
