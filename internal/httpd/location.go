package httpd

import (
	"bytes"
	"log/slog"

	"github.com/baton-deploy/baton/internal/conf"
)

// A matchKind is how a location's name is compared with the URI.
type matchKind uint8

const (
	matchPrefix     matchKind = iota
	matchPrefixOnly           // ^~: no regular expression is tried afterwards
	matchExact                // =
	matchPattern              // ~ and ~*
	matchNamed                // @name
)

// A Location is one location block, or a server block where no location matches.
type Location struct {
	// Name is the location's text: "/a/", "@b", or the regular expression.
	Name string

	kind         matchKind
	pattern      *Pattern
	inner        locations
	core         coreConf
	internalOnly bool
	autoRedirect bool        // /a is answered with a redirect to /a/
	logger       int         // which of the server's error logs
	blocks       []*Location // its "if" blocks
	block        int         // which of another's blocks it is, from 1 on

	rewrite    func(r *Request) int
	preaccess  []func(r *Request) int
	access     []func(r *Request) int
	precontent []func(r *Request) int
	content    []Handler
	head       []func(r *Request)
	log        []func(r *Request)
}

// locations are the locations of one level.
type locations struct {
	exact    map[string]*Location
	prefixes prefixTree
	patterns []*Location // in the order of the configuration
}

// add puts loc in its place and reports whether its name was free.
func (ls *locations) add(loc *Location) bool {
	switch loc.kind {
	case matchPattern:
		ls.patterns = append(ls.patterns, loc)
	case matchExact:
		if ls.exact == nil {
			ls.exact = map[string]*Location{}
		}
		if ls.exact[loc.Name] != nil {
			return false
		}
		ls.exact[loc.Name] = loc
	default:
		return ls.prefixes.put(loc.Name, loc)
	}
	return true
}

// locate chooses the location for r.URI, as nginx's documentation of "location"
// has it, and returns [Declined], or the status of an automatic redirect.
func (r *Request) locate() int {
	r.loc, r.chosenBy = r.Server.root, r.chosenBy[:0]
	status, _ := r.locateIn(&r.Server.locs)
	return status
}

// locateIn searches one level. final says that an outer level must not go on to
// its regular expressions.
func (r *Request) locateIn(ls *locations) (status int, final bool) {
	if loc := ls.exact[string(r.URI)]; loc != nil {
		r.loc = loc
		return Declined, true
	}
	noPatterns := false
	longest, slashed := ls.prefixes.find(r.URI)
	if slashed != nil && slashed.autoRedirect && (longest == nil || len(longest.Name) < len(r.URI)) {
		r.loc = slashed
		return r.addSlash(slashed.Name), true
	}
	if longest != nil {
		r.loc = longest
		noPatterns = longest.kind == matchPrefixOnly
		if status, final = r.locateIn(&longest.inner); final {
			return status, true
		}
	}
	if noPatterns {
		return Declined, false
	}
	for _, loc := range ls.patterns {
		groups, ok, err := loc.pattern.Match(r.URI, r.captures[:0])
		if err != nil {
			r.Log(levelAlert, "regular expression took too long", err)
			return 500, true
		}
		if ok {
			r.setCaptures(loc.pattern, groups)
			r.loc = loc
			status, _ = r.locateIn(&loc.inner)
			return status, true
		}
	}
	return Declined, false
}

// addSlash answers with a redirect to the location's own name.
func (r *Request) addSlash(name string) int {
	to := EscapePath(nil, []byte(name))
	if len(r.Args) > 0 {
		to = append(append(to, '?'), r.Args...)
	}
	r.Out.Location = to
	return 301
}

// setCaptures keeps the groups of the expression that matched last; those with a
// name are variables.
func (r *Request) setCaptures(p *Pattern, groups [][]byte) {
	r.captures = groups
	for i, name := range p.names {
		if name != "" && i < len(groups) {
			r.setNamed(name, groups[i])
		}
	}
}

// A VirtualServer is one server block.
type VirtualServer struct {
	// Name is the first server_name, "" when there is none.
	Name string

	root  *Location // the block itself, where no location matches
	locs  locations
	named map[string]*Location
	self  *conf.Directive
	// security is what the server has for TLS; nil for nothing.
	security Security
	serverConf
}

// A listener's virtual servers: all that listen on one address.
type hosts struct {
	def      *VirtualServer
	http2    bool // is spoken there with any server, besides HTTP/1: a parameter of listen
	exact    map[string]*VirtualServer
	suffix   map[string]*VirtualServer // ".example.com" of *.example.com
	prefix   map[string]*VirtualServer // "www.example." of www.example.*
	patterns []hostPattern
	// secured: connections to the address begin with a TLS handshake.
	secured bool

	servers []namedServer // while the site is compiled
}

type hostPattern struct {
	p  *Pattern
	vs *VirtualServer
}

// find chooses the virtual server for r.Host, as nginx's documentation of
// "server_name" has it.
func (h *hosts) find(r *Request) *VirtualServer {
	if vs := h.named(r.Host); vs != nil {
		return vs
	}
	for _, hp := range h.patterns {
		if groups, ok, err := hp.p.Match(r.Host, r.captures[:0]); ok && err == nil {
			r.setCaptures(hp.p, groups)
			return hp.vs
		}
	}
	return h.def
}

// named is find as far as names are text; nil when host is none of them.
func (h *hosts) named(host []byte) *VirtualServer {
	if vs := h.exact[string(host)]; vs != nil {
		return vs
	}
	if len(h.suffix) > 0 {
		for i := 0; i < len(host); i++ {
			if host[i] == '.' {
				if vs := h.suffix[string(host[i:])]; vs != nil {
					return vs
				}
			}
		}
	}
	if len(h.prefix) > 0 {
		for end := bytes.LastIndexByte(host, '.'); end > 0; end = bytes.LastIndexByte(host[:end], '.') {
			if vs := h.prefix[string(host[:end+1])]; vs != nil {
				return vs
			}
		}
	}
	return nil
}

// Levels of the error log, as slog has them; the names are package errorlog's.
const (
	levelDebug  = slog.LevelDebug
	levelInfo   = slog.LevelInfo
	levelNotice = slog.Level(2)
	levelWarn   = slog.LevelWarn
	levelError  = slog.LevelError
	levelCrit   = slog.Level(12)
	levelAlert  = slog.Level(14)
)
