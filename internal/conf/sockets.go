package conf

import "net/netip"

// ServerListens returns what a server of the http block listens on: its listen
// directives, or *:80, or *:8000 when the configuration was loaded by an ordinary
// user, who could not bind 80.
func (c *Config) ServerListens(server *Directive) ([]Listen, error) {
	var ls []Listen
	for _, d := range server.Block {
		if d.Name != "listen" {
			continue
		}
		l, err := ParseListen(d)
		if err != nil {
			return nil, err
		}
		ls = append(ls, l.eachPort(d.Arg(0))...)
	}
	if len(ls) == 0 {
		l := newListen()
		l.Addr = netip.AddrPortFrom(netip.IPv4Unspecified(), defaultPort)
		if !c.Snapshot.root {
			l.Addr = netip.AddrPortFrom(l.Addr.Addr(), 8000)
		}
		l.File, l.Line = server.File, server.EndLine
		ls = append(ls, l)
	}
	return ls, nil
}

// readListens fills in c.Listens: every address of every server once, with the
// options of the one server that gives any.
func readListens(c *Config) error {
	h := c.HTTP()
	if h == nil {
		return nil
	}
	var all sockets
	for _, server := range h.Own("server") {
		ls, err := c.ServerListens(server)
		if err != nil {
			return err
		}
		own := make(map[string]bool)
		for _, l := range ls {
			if err := all.add(l, own); err != nil {
				return err
			}
		}
	}
	c.Listens = all.toBind()
	return nil
}

// sockets are the addresses of all servers seen so far, in order.
type sockets struct {
	list []Listen
	at   map[string]int // key → place in list
}

// add adds an address of a server; own are those the same server has already.
func (s *sockets) add(l Listen, own map[string]bool) error {
	here := &Directive{File: l.File, Line: l.Line}
	key := l.Key()
	if s.at == nil {
		s.at = make(map[string]int)
	}
	i, known := s.at[key]
	if !known {
		s.at[key] = len(s.list)
		s.list = append(s.list, l)
		own[key] = true
		return nil
	}
	if own[key] {
		return Errorf(here, "a duplicate listen %s", key)
	}
	own[key] = true
	old := &s.list[i]
	if l.Explicit && old.Explicit {
		return Errorf(here, "duplicate listen options for %s", key)
	}
	if l.Default && old.Default {
		return Errorf(here, "a duplicate default server for %s", key)
	}
	isDefault := old.Default || l.Default
	if l.Explicit {
		*old = l
	}
	old.Default = isDefault
	return nil
}

// toBind returns the addresses that need a socket of their own. One that a wildcard
// of the same port covers needs none, unless its options say so: the connection's
// own address tells its servers apart, as in nginx.
func (s *sockets) toBind() []Listen {
	covered := make(map[netip.AddrPort]bool)
	for _, l := range s.list {
		if l.Wildcard() {
			covered[l.Addr] = true
		}
	}
	var bind []Listen
	for _, l := range s.list {
		if l.Network == "tcp" && !l.Wildcard() && !l.Explicit && covered[wildcardOf(l.Addr)] {
			continue
		}
		bind = append(bind, l)
	}
	return bind
}

func wildcardOf(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port())
}
