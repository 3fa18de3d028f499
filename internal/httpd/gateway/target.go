package gateway

import (
	"errors"
	"fmt"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// ResolveGroup sets x.Group to the group of an address that a request made. resolver
// is nil when there is none. A status other than 0 is the answer.
func (x *Exchange) ResolveGroup(ups *upstream.Upstreams, resolver *upstream.Resolver, a upstream.Address, defaultPort int) (status int) {
	if x.Group = ups.Known(a, defaultPort); x.Group != nil {
		return 0
	}
	if resolver == nil {
		x.Log(LevelError, "no resolver defined to resolve "+a.Host)
		return 502
	}
	var err error
	fault := func(text string) { x.Log(LevelError, text) }
	if x.Group, err = resolver.Group(a, defaultPort, fault); err != nil {
		x.Log(LevelError, err.Error())
		return 502
	}
	return 0
}

// PassIn finds the directive called name that passes the requests of s on, and the
// scope in which it stands: a block inside of a location takes the location's. It
// returns nil when there is none.
func PassIn(s *conf.Scope, name string) (*conf.Directive, *conf.Scope) {
	for {
		if ds := s.Own(name); len(ds) > 0 {
			return ds[0], s
		}
		if s.Context != conf.LocationIf && s.Context != conf.LimitExcept || s.Up == nil {
			return nil, nil
		}
		s = s.Up
	}
}

// A Target is where a *_pass leads that names a server and nothing else: "host:port",
// "unix:path", or the name of an upstream block.
type Target struct {
	ups      *upstream.Upstreams
	group    *upstream.Group
	text     *httpd.Template // with variables; nil for none
	resolver *upstream.Resolver
	schemes  Schemes
	host     string    // of a group that is known
	security *Security // for the secure scheme; nil when it is never spoken
	secure   bool      // it is what stands before the group that is known
}

// Schemes are what may stand before a target, "uwsgi://" and "suwsgi://"; both are ""
// where nothing may.
type Schemes struct{ Plain, Secure string }

// NewTarget reads the argument of directive d, of module k, in scope s.
func NewTarget(k *Kind, ups *upstream.Upstreams, b *httpd.Builder, s *conf.Scope, d *conf.Directive, schemes Schemes) (*Target, error) {
	t := &Target{ups: ups, schemes: schemes}
	url := d.Arg(0)
	variables := strings.Contains(url, "$")
	var err error
	if !variables {
		url, t.secure = t.cutScheme(url)
	}
	if schemes.Secure != "" && (variables || t.secure) {
		if t.security, err = k.NewSecurity(b, s, schemes.Secure); err != nil {
			return nil, err
		}
	}
	if variables {
		text, err := b.Template(d, url)
		if err != nil {
			return nil, err
		}
		t.text = &text
		t.resolver, err = ups.Resolver(s)
		return t, err
	}
	a, err := parseAddress(url)
	if err != nil {
		return nil, conf.Errorf(d, "%s in upstream \"%s\"", err, url)
	}
	if t.lacksPort(a) {
		return nil, conf.Errorf(d, "no port in upstream \"%s\"", url)
	}
	t.host = a.Host
	t.group, err = ups.Group(d, url, 0)
	return t, err
}

var errInvalidHost = errors.New("invalid host")

// parseAddress reads an address behind which no path may stand.
func parseAddress(url string) (upstream.Address, error) {
	a, err := upstream.ParseAddress(url)
	if a.Path == "" && strings.ContainsAny(url, "/?") {
		return a, errInvalidHost
	}
	return a, err
}

// cutScheme drops what may stand before an address, and reports whether it was the
// secure scheme.
func (t *Target) cutScheme(url string) (address string, secure bool) {
	for _, scheme := range []string{t.schemes.Plain, t.schemes.Secure} {
		if n := len(scheme); n > 0 && len(url) >= n && strings.EqualFold(url[:n], scheme) {
			return url[n:], scheme == t.schemes.Secure
		}
	}
	return url, false
}

// lacksPort reports whether a leads nowhere: these protocols have no port of their own.
func (t *Target) lacksPort(a upstream.Address) bool {
	return a.Path == "" && a.Port == 0 && t.ups.Named(a) == nil
}

// HasVariables reports whether a request says where it goes.
func (t *Target) HasVariables() bool { return t.text != nil }

// Resolve is [Protocol]'s.
func (t *Target) Resolve(x *Exchange) (status int) {
	if t.text == nil {
		x.Group, x.To.Host = t.group, t.host
		if t.secure {
			x.Secure = t.security
		}
		return 0
	}
	url, secure := t.cutScheme(t.text.String(x.R))
	if secure {
		x.Secure = t.security
	}
	a, err := parseAddress(url)
	if err != nil {
		x.Log(LevelError, fmt.Sprintf("%s in upstream \"%s\"", err, url))
		return 500
	}
	if t.lacksPort(a) {
		x.Log(LevelError, fmt.Sprintf("no port in upstream \"%s\"", a.Host))
		return 500
	}
	x.To.Host = a.Host
	return x.ResolveGroup(t.ups, t.resolver, a, 0)
}
