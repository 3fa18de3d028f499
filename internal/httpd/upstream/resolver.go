package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
)

// A Resolver is the "resolver" directive, with the time that a request waits for it: it
// looks up names that only a request brings.
type Resolver struct {
	*names
	timeout time.Duration // 0: none
}

// names is what one "resolver" directive knows, for all who use it.
type names struct {
	servers []string
	valid   time.Duration // 0: what an answer says
	ipv4    bool
	ipv6    bool
	ctx     context.Context // of all look-ups
	cancel  context.CancelFunc
	lookups sync.WaitGroup
	resend  time.Duration // when the next server is asked, while somebody still waits

	// mu guards what follows. It is a leaf.
	mu      sync.Mutex
	first   int                // of the servers, for the next look-up
	known   map[string]finding // names that have addresses or an alias
	pending map[string]*lookup
}

const (
	resendAfter = 5 * time.Second
	// maxKnown bounds the names that are remembered: clients may choose them.
	maxKnown = 4096
	// maxAliases is how many aliases are followed from one name.
	maxAliases = 50
)

func newNames() *names {
	ns := &names{ipv4: true, ipv6: true, resend: resendAfter, known: map[string]finding{}, pending: map[string]*lookup{}}
	ns.ctx, ns.cancel = context.WithCancel(context.Background())
	return ns
}

// Resolver returns the resolver that applies in s, or nil when there is none.
func (u *Upstreams) Resolver(s *conf.Scope) (*Resolver, error) {
	d := s.One("resolver")
	if d == nil {
		return nil, nil
	}
	timeout, err := s.Time("resolver_timeout", 30*time.Second)
	if err != nil {
		return nil, err
	}
	if ns := u.resolvers[d]; ns != nil {
		return &Resolver{ns, timeout}, nil
	}
	ns := newNames()
	for _, arg := range d.Args {
		if err := ns.set(u.config, d, arg); err != nil {
			return nil, err
		}
	}
	switch {
	case !ns.ipv4 && !ns.ipv6:
		return nil, conf.Errorf(d, "\"ipv4\" and \"ipv6\" cannot both be \"off\"")
	case len(ns.servers) == 0:
		return nil, conf.Errorf(d, "no name servers defined")
	}
	u.resolvers[d] = ns
	return &Resolver{ns, timeout}, nil
}

// set reads one argument of "resolver".
func (ns *names) set(c *conf.Config, d *conf.Directive, arg string) error {
	name, value, ok := strings.Cut(arg, "=")
	if ok {
		switch name {
		case "valid":
			t, err := conf.ParseSeconds(value)
			if err != nil {
				return conf.Errorf(d, "invalid parameter: %s", arg)
			}
			ns.valid = t
			return nil
		case "ipv4", "ipv6":
			if value != "on" && value != "off" {
				return conf.Errorf(d, "invalid parameter: %s", arg)
			}
			if name == "ipv4" {
				ns.ipv4 = value == "on"
			} else {
				ns.ipv6 = value == "on"
			}
			return nil
		}
	}
	a, err := ParseAddress(arg)
	if err == nil && a.Path != "" {
		err = errInvalidHost
	}
	if err != nil {
		return conf.Errorf(d, "%s in resolver \"%s\"", err, arg)
	}
	eps, err := a.endpoints(c, 53)
	if err != nil {
		return conf.Errorf(d, "%s in resolver \"%s\"", err, arg)
	}
	for _, e := range eps {
		ns.servers = append(ns.servers, e.name)
	}
	return nil
}

// close ends all look-ups and waits for them.
func (ns *names) close() {
	ns.cancel()
	ns.lookups.Wait()
}

// Group looks a's host up and returns a group of its addresses, for one request. log is
// told what is wrong with answers of name servers.
func (rs *Resolver) Group(a Address, defaultPort int, log func(string)) (*Group, error) {
	host := strings.TrimSuffix(string(appendLower(nil, []byte(a.Host))), ".")
	ips, code := rs.resolve(host, log)
	if code != 0 {
		return nil, fmt.Errorf("%s could not be resolved (%s)", host, codeText(code))
	}
	port := a.port(defaultPort)
	eps := make([]endpoint, len(ips))
	for i, ip := range ips {
		eps[i] = ipEndpoint(netip.AddrPortFrom(ip, port))
	}
	return newGroup(a.Host, a.Host, eps), nil
}

// resolve returns the addresses of a name in the order in which they are tried, or the
// number of the reason why there are none. The time-out is that of all aliases together.
func (rs *Resolver) resolve(name string, log func(string)) (ips []netip.Addr, code int) {
	var late <-chan time.Time
	for range maxAliases + 1 {
		f, l, began := rs.begin(name)
		rotate := l == nil
		if l != nil {
			if late == nil && rs.timeout > 0 {
				timer := time.NewTimer(rs.timeout)
				defer timer.Stop()
				late = timer.C
			}
			f = rs.wait(l, late)
			if began {
				l.tell(log)
			}
		}
		switch {
		case f.code != 0:
			return nil, f.code
		case !f.aliased:
			return f.addresses(rotate), 0
		}
		name = f.alias
	}
	return nil, codeNotFound
}

// begin returns what is known about a name, or a look-up that will find it out: the one
// under way, or a new one, which the caller began.
func (ns *names) begin(name string) (f finding, l *lookup, began bool) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if f, ok := ns.known[name]; ok && time.Now().Before(f.until) {
		return f, nil, false
	}
	if l = ns.pending[name]; l == nil {
		servers := append(append([]string(nil), ns.servers[ns.first:]...), ns.servers[:ns.first]...)
		if l = newLookup(name, servers, ns.ipv4, ns.ipv6); l == nil {
			return finding{code: codeNotFound}, nil, false
		}
		ns.first = (ns.first + 1) % len(ns.servers)
		var ctx context.Context
		ctx, l.cancel = context.WithCancel(ns.ctx)
		ns.pending[name] = l
		ns.lookups.Go(func() {
			defer l.cancel()
			l.run(ctx, ns.resend, ns.valid, func() { ns.finish(l) })
		})
		began = true
	}
	l.waiting++
	return finding{}, l, began
}

// finish is called when a look-up has its finding. What is no error is remembered.
func (ns *names) finish(l *lookup) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.forget(l)
	if l.found.code == 0 {
		ns.remember(l.name, l.found)
	}
	close(l.done)
}

// forget takes a look-up from those that others may join. ns.mu must be held.
func (ns *names) forget(l *lookup) {
	if ns.pending[l.name] == l {
		delete(ns.pending, l.name)
	}
}

// wait waits for a look-up. Who waits last ends it.
func (ns *names) wait(l *lookup, late <-chan time.Time) finding {
	f := finding{code: codeTimedOut}
	select {
	case <-l.done:
		f = l.found
	case <-late:
	case <-ns.ctx.Done():
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		l.cancel()
		ns.forget(l)
	}
	return f
}

// remember keeps what was found about a name. ns.mu must be held.
func (ns *names) remember(name string, f finding) {
	if len(ns.known) >= maxKnown {
		now := time.Now()
		for name, f := range ns.known {
			if !now.Before(f.until) {
				delete(ns.known, name)
			}
		}
		if len(ns.known) >= maxKnown {
			clear(ns.known)
		}
	}
	ns.known[name] = f
}

// tell hands over what was wrong so far.
func (l *lookup) tell(log func(string)) {
	for {
		select {
		case text := <-l.faults:
			log(text)
		default:
			return
		}
	}
}

// addresses returns all addresses, those of IPv4 first. Known ones begin anywhere, so that
// all are used.
func (f *finding) addresses(rotate bool) []netip.Addr {
	ips := append(rotated(f.ip4, rotate), rotated(f.ip6, rotate)...)
	return rotated(ips, rotate)
}

func rotated(ips []netip.Addr, rotate bool) []netip.Addr {
	first := 0
	if rotate && len(ips) > 1 {
		first = rand.IntN(len(ips))
	}
	return append(append([]netip.Addr(nil), ips[first:]...), ips[:first]...)
}
