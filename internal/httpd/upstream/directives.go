package upstream

import "github.com/baton-deploy/baton/internal/conf"

// directives are those of nginx's upstream modules and of its resolver.
func directives() []conf.Spec {
	const hsl = conf.HTTPServerLocation
	in := func(name string, lo, hi int) conf.Spec {
		return conf.Spec{Name: name, In: conf.Upstream, Min: lo, Max: hi}
	}
	server := in("server", 1, conf.AnyArgs)
	server.Repeat = true
	zone := in("zone", 1, 2)
	zone.Effect, zone.Note, zone.Check = conf.NoEffect, "Each worker keeps its own state of the servers.", checkZone
	resolver := conf.Spec{Name: "resolver", In: hsl, Min: 1, Max: conf.AnyArgs}
	method := func(name string, lo, hi int) conf.Spec {
		s := in(name, lo, hi)
		s.Repeat = true // the last one counts, after a warning
		return s
	}
	return []conf.Spec{
		{Name: "upstream", In: conf.HTTP, Min: 1, Max: 1, Block: true, Inner: conf.Upstream, Repeat: true},
		server,
		method("least_conn", 0, 0),
		method("ip_hash", 0, 0),
		method("hash", 1, 2),
		method("random", 0, 2),
		in("keepalive", 1, 2),
		in("keepalive_requests", 1, 1),
		in("keepalive_timeout", 1, 1),
		in("keepalive_time", 1, 1),
		zone,
		resolver,
		{Name: "resolver_timeout", In: hsl, Min: 1, Max: 1},
	}
}

// minZone is the least size of a zone, as in nginx: 8 pages.
const minZone = 8 * 4096

func checkZone(d *conf.Directive) error {
	if d.Arg(0) == "" {
		return conf.Errorf(d, "invalid zone name \"%s\"", d.Arg(0))
	}
	if len(d.Args) == 1 {
		return nil // the size stands elsewhere
	}
	switch size, err := conf.ParseSize(d.Arg(1)); {
	case err != nil:
		return conf.Errorf(d, "invalid zone size \"%s\"", d.Arg(1))
	case size < minZone:
		return conf.Errorf(d, "zone \"%s\" is too small", d.Arg(0))
	}
	return nil
}
