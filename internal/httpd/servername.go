package httpd

import (
	"slices"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
)

// A namedServer is a server with its names, "" for one that has none.
type namedServer struct {
	vs    *VirtualServer
	names []serverName
}

// A serverName is one argument of server_name: text in lower case, or a pattern.
type serverName struct {
	text    string
	pattern *Pattern
}

// serverNames reads the server_name directives in s and gives vs its first name.
func (b *Builder) serverNames(vs *VirtualServer, s *conf.Scope) ([]serverName, error) {
	var names []serverName
	for _, d := range s.Own("server_name") {
		for _, arg := range d.Args {
			n, err := b.serverName(d, arg)
			if err != nil {
				return nil, err
			}
			if vs.Name == "" && n.pattern != nil {
				vs.Name = arg
			} else if vs.Name == "" {
				vs.Name = strings.TrimPrefix(n.text, ".")
			}
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		names = []serverName{{}}
	}
	return names, nil
}

func (b *Builder) serverName(d *conf.Directive, arg string) (n serverName, err error) {
	star, dot := strings.HasPrefix(arg, "*"), strings.HasPrefix(arg, ".")
	if star && (len(arg) < 3 || arg[1] != '.') || dot && len(arg) < 2 {
		return n, conf.Errorf(d, "server name \"%s\" is invalid", arg)
	}
	if strings.Contains(arg, "/") {
		b.Warn(d, "server name \""+arg+"\" has suspicious symbols")
	}
	if !strings.HasPrefix(arg, "~") {
		return serverName{text: strings.ToLower(b.hostname(arg))}, nil
	}
	if len(arg) == 1 {
		return n, conf.Errorf(d, "empty regex in server name \"%s\"", arg)
	}
	n.pattern, err = b.Pattern(d, arg[1:], true)
	return n, err
}

// hostname resolves nginx's "$hostname" in a server_name.
func (b *Builder) hostname(name string) string {
	if name != "$hostname" || b.Config.Hostname == "" {
		return name
	}
	return b.Config.Hostname
}

// nameServers puts the servers at one address under their names. As in nginx the
// first server to bring a name keeps it, others are told of, and where there is one
// server only nobody looks at its names.
func (b *Builder) nameServers(address string, h *hosts) error {
	taken := map[string]bool{} // names, and wildcards as they are written
	for _, s := range h.servers {
		for _, n := range s.names {
			if n.pattern != nil {
				h.patterns = append(h.patterns, hostPattern{n.pattern, s.vs})
				continue
			}
			if len(h.servers) == 1 {
				continue
			}
			if !possibleName(n.text) {
				return conf.Errorf(nil, "invalid server name or wildcard \"%s\" on %s", n.text, address)
			}
			if !h.put(n.text, s.vs, taken) {
				b.Warn(nil, "conflicting server name \""+n.text+"\" on "+address+", ignored")
			}
		}
	}
	h.servers = nil
	return nil
}

// possibleName reports whether a name has no star but in the place of its first or
// of its last label, and no empty label.
func possibleName(name string) bool {
	if strings.Count(name, "*") > 1 || strings.Contains(name, "..") || strings.Contains(name, "\x00") {
		return false
	}
	return !strings.Contains(name, "*") || strings.HasPrefix(name, "*.") || strings.HasSuffix(name, ".*")
}

// put puts vs under a name, unless it is taken.
func (h *hosts) put(name string, vs *VirtualServer, taken map[string]bool) bool {
	claims := []string{name}
	if strings.HasPrefix(name, ".") { // both of the others
		claims = []string{name[1:], "*" + name}
	}
	if i := slices.IndexFunc(claims, func(c string) bool { return taken[c] }); i >= 0 {
		for _, c := range claims[:i] {
			taken[c] = true
		}
		return false
	}
	for _, c := range claims {
		taken[c] = true
		switch {
		case strings.HasPrefix(c, "*."):
			add(&h.suffix, c[1:], vs)
		case strings.HasSuffix(c, ".*"):
			add(&h.prefix, c[:len(c)-1], vs)
		default:
			add(&h.exact, c, vs)
		}
	}
	return true
}

func add(m *map[string]*VirtualServer, name string, vs *VirtualServer) {
	if *m == nil {
		*m = map[string]*VirtualServer{}
	}
	(*m)[name] = vs
}

// Warn adds a warning in nginx's words, about d if it is not nil.
func (b *Builder) Warn(d *conf.Directive, msg string) {
	// An error is worded the same way: what, and where.
	b.site.warnings = append(b.site.warnings, conf.Errorf(d, "%s", msg).Error())
}

// Warnings returns what is odd about the configuration but no fault, in nginx's
// words.
func (s *Site) Warnings() []string { return s.warnings }
