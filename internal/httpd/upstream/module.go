package upstream

import (
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// ModuleName is nginx's name of the module, by which others find its
// [Upstreams].
const ModuleName = "ngx_http_upstream_module"

// Module is the upstream module. It must stand in the list before the modules
// that use it and before those that compile texts with its variables.
func Module() httpd.Module {
	return httpd.Module{
		Name:       ModuleName,
		Directives: directives(),
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			u, err := newUpstreams(b)
			if err != nil {
				return nil, err
			}
			return u, nil
		},
	}
}

// Upstreams is all groups of one configuration.
type Upstreams struct {
	config    *conf.Config
	key       httpd.StateKey
	blocks    map[string]*Group // by lower-cased name
	implicit  map[string]*Group // by host and port of a proxy_pass
	resolvers map[*conf.Directive]*names
	turns     turns
}

// Of returns the upstreams of the configuration that b compiles.
func Of(b *httpd.Builder) *Upstreams {
	u, _ := b.Instance(ModuleName).(*Upstreams)
	return u
}

func newUpstreams(b *httpd.Builder) (*Upstreams, error) {
	u := &Upstreams{
		config:    b.Config,
		blocks:    map[string]*Group{},
		implicit:  map[string]*Group{},
		resolvers: map[*conf.Directive]*names{},
	}
	var err error
	if u.key, err = b.StateKey(); err != nil {
		return nil, err
	}
	u.addVariables(b)
	for _, d := range b.HTTP.Own("upstream") {
		name := strings.ToLower(d.Arg(0))
		if u.blocks[name] != nil {
			return nil, conf.Errorf(d, "duplicate upstream \"%s\"", d.Arg(0))
		}
		g, err := blockGroup(b, d)
		if err != nil {
			return nil, err
		}
		if g.pool != nil {
			g.pool.turns = &u.turns
		}
		u.blocks[name] = g
	}
	return u, nil
}

// Location does nothing: locations use groups through other modules.
func (u *Upstreams) Location(*conf.Scope) (httpd.Part, error) { return httpd.Part{}, nil }

// Close lets go of idle connections and ends look-ups.
func (u *Upstreams) Close() {
	for _, ns := range u.resolvers {
		ns.close()
	}
	for _, g := range u.blocks {
		g.close()
	}
	u.turns.close()
}

// Group returns the group that text, "name" or "host:port" or "unix:path", stands
// for in directive d. Other names than those of blocks are looked up in the configuration.
func (u *Upstreams) Group(d *conf.Directive, text string, defaultPort int) (*Group, error) {
	a, err := ParseAddress(text)
	if err != nil {
		return nil, conf.Errorf(d, "%s in upstream \"%s\"", err, text)
	}
	if g := u.Named(a); g != nil {
		if a.Port != 0 {
			return nil, conf.Errorf(d, "upstream \"%s\" may not have port %d", a.Host, a.Port)
		}
		return g, nil
	}
	key := a.key(defaultPort)
	if g := u.implicit[key]; g != nil {
		return g, nil
	}
	eps, err := a.endpoints(u.config, defaultPort)
	if err != nil {
		return nil, conf.Errorf(d, "%s in upstream \"%s\"", err, a.Host)
	}
	g := newGroup(text, text, eps)
	u.implicit[key] = g
	return g, nil
}

// Named returns the block of a's name, or nil.
func (u *Upstreams) Named(a Address) *Group { return u.blocks[strings.ToLower(a.Host)] }

// Known returns a group that is known without a look-up, for an address that a
// request made: a block, a host that some proxy_pass names too, a unix socket or
// an IP address. It returns nil when the name must be resolved.
func (u *Upstreams) Known(a Address, defaultPort int) *Group {
	if a.Path == "" && a.Port == 0 {
		if g := u.Named(a); g != nil {
			return g
		}
	}
	if g := u.implicit[a.key(defaultPort)]; g != nil {
		return g
	}
	e, ok := a.fixed(defaultPort)
	if !ok {
		return nil
	}
	return newGroup(e.name, e.name, []endpoint{e})
}

func (a Address) key(defaultPort int) string {
	if a.Path != "" {
		return "unix:" + a.Path
	}
	port := a.Port
	if port == 0 {
		port = defaultPort
	}
	return strings.ToLower(a.Host) + ":" + strconv.Itoa(port)
}
