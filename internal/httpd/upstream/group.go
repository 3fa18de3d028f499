package upstream

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// A Group is the servers of one upstream block, or those that one host in a
// proxy_pass stands for.
type Group struct {
	// Name is that of the block, or the host and port.
	Name   string
	method method
	ring   ring
	pool   *pool // nil: connections are not kept

	// mu guards the changing part of all peers. It is a leaf.
	mu      sync.Mutex
	primary peers
	backup  peers
}

// newGroup makes a group without parameters from addresses.
func newGroup(name, server string, eps []endpoint) *Group {
	g := &Group{Name: name}
	for _, e := range eps {
		g.primary.add(newPeer(server, e))
	}
	g.seal()
	return g
}

// seal is called when all servers are known.
func (g *Group) seal() {
	g.primary.single = len(g.primary.list) == 1 && len(g.backup.list) == 0
	if g.method.name == "hash" {
		g.ring = newRing(g.primary.list)
	}
}

// close lets go of idle connections.
func (g *Group) close() {
	if g.pool != nil {
		g.pool.close()
	}
}

// blockGroup compiles an upstream block.
func blockGroup(b *httpd.Builder, d *conf.Directive) (*Group, error) {
	s := b.HTTP.In(conf.Upstream, d)
	g := &Group{Name: d.Arg(0)}
	chosen := false
	for _, in := range s.Block {
		var err error
		switch in.Name {
		case "least_conn", "ip_hash", "random", "hash":
			if chosen {
				b.Warn(in, "load balancing method redefined")
			}
			chosen = true
		}
		switch in.Name {
		case "least_conn":
			g.method = leastConn()
		case "ip_hash":
			g.method = ipHash()
		case "random":
			g.method, err = randomMethod(in)
		case "hash":
			g.method, err = hashMethod(b, in)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, in := range s.Own("server") {
		if err := g.server(b.Config, in); err != nil {
			return nil, err
		}
	}
	switch {
	case len(g.primary.list)+len(g.backup.list) == 0:
		return nil, conf.Errorf(d, "no servers are inside upstream")
	case len(g.primary.list) == 0:
		return nil, conf.Errorf(d, "no servers in upstream \"%s\"", g.Name)
	}
	g.seal()
	return g, g.setKeepalive(s)
}

func randomMethod(d *conf.Directive) (method, error) {
	switch {
	case len(d.Args) == 0:
		return random(false), nil
	case d.Arg(0) != "two":
		return method{}, conf.Errorf(d, "invalid parameter \"%s\"", d.Arg(0))
	case len(d.Args) > 1 && d.Arg(1) != "least_conn":
		return method{}, conf.Errorf(d, "invalid parameter \"%s\"", d.Arg(1))
	}
	return random(true), nil
}

func hashMethod(b *httpd.Builder, d *conf.Directive) (method, error) {
	if len(d.Args) > 1 && d.Arg(1) != "consistent" {
		return method{}, conf.Errorf(d, "invalid parameter \"%s\"", d.Arg(1))
	}
	key, err := b.Template(d, d.Arg(0))
	return hashKey(key, len(d.Args) > 1), err
}

// server adds the addresses of one "server" directive.
func (g *Group) server(c *conf.Config, d *conf.Directive) error {
	a, err := ParseAddress(d.Arg(0))
	if err != nil {
		return conf.Errorf(d, "%s in upstream \"%s\"", err, d.Arg(0))
	}
	sample := newPeer(d.Arg(0), endpoint{})
	backup := false
	for _, param := range d.Args[1:] {
		switch {
		case param == "backup" && g.method.noBackup:
			return conf.Errorf(d, "balancing method does not support parameter \"%s\"", param)
		case param == "backup":
			backup = true
		case param == "down":
			sample.down = true
		case !sample.set(param):
			return conf.Errorf(d, "invalid parameter \"%s\"", param)
		}
	}
	eps, err := a.endpoints(c, 80)
	if err != nil {
		return conf.Errorf(d, "%s in upstream \"%s\"", err, d.Arg(0))
	}
	to := &g.primary
	if backup {
		to = &g.backup
	}
	for _, e := range eps {
		p := *sample
		p.endpoint = e
		to.add(&p)
	}
	return nil
}

// set reads one "name=value" of a server and reports whether it is a good one.
func (p *Peer) set(param string) bool {
	name, value, ok := strings.Cut(param, "=")
	if !ok {
		return false
	}
	n, err := strconv.Atoi(value)
	number := err == nil && n >= 0 && value[0] != '+' && value[0] != '-'
	switch name {
	case "weight":
		p.weight, p.effective = n, n
		return number && n > 0
	case "max_conns":
		p.maxConns = n
		return number
	case "max_fails":
		p.maxFails = n
		return number
	case "fail_timeout":
		t, err := conf.ParseSeconds(value)
		p.failTimeout = int64(t / time.Second)
		return err == nil
	}
	return false
}

// keptByDefault is how many idle connections a block without "keepalive" keeps, each for
// the location that made it.
const keptByDefault = 32

// setKeepalive reads "keepalive" and its kin, which count only in their own block.
func (g *Group) setKeepalive(s *conf.Scope) error {
	p := &pool{size: keptByDefault, local: true}
	if ds := s.Own("keepalive"); len(ds) > 0 {
		d := ds[0]
		n, err := strconv.Atoi(d.Arg(0))
		if err != nil || n < 0 {
			return conf.Errorf(d, "invalid value \"%s\" in \"keepalive\" directive", d.Arg(0))
		}
		p.size, p.local = n, d.Arg(1) == "local"
		if len(d.Args) > 1 && !p.local {
			return conf.Errorf(d, "invalid parameter \"%s\"", d.Arg(1))
		}
	}
	own := &conf.Scope{Context: conf.Upstream, Self: s.Self, Block: s.Block} // not http's keepalive_timeout
	var err error
	if p.requests, err = own.Int("keepalive_requests", 1000); err != nil {
		return err
	}
	if p.idle, err = own.Time("keepalive_timeout", 60*time.Second); err != nil {
		return err
	}
	if p.age, err = own.Time("keepalive_time", time.Hour); err != nil {
		return err
	}
	if p.size > 0 {
		g.pool = p
	}
	return nil
}
