package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
)

// A Resolver is the "resolver" directive: it looks up names that only a request
// brings.
type Resolver struct {
	servers []string
	next    atomic.Uint32
	valid   time.Duration
	timeout time.Duration
	ipv4    bool
	ipv6    bool
	res     *net.Resolver

	// mu guards known. It is a leaf.
	mu    sync.Mutex
	known map[string]answer
}

type answer struct {
	ips   []netip.Addr
	until time.Time
}

const (
	defaultValid = 5 * time.Second
	// maxKnown bounds the names that are remembered: clients may choose them.
	maxKnown = 4096
)

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
	if rs := u.resolvers[d]; rs != nil && rs.timeout == timeout {
		return rs, nil
	}
	rs := &Resolver{valid: defaultValid, timeout: timeout, ipv4: true, ipv6: true, known: map[string]answer{}}
	for _, arg := range d.Args {
		if err := rs.set(u.config, d, arg); err != nil {
			return nil, err
		}
	}
	if len(rs.servers) == 0 {
		return nil, conf.Errorf(d, "no name servers defined")
	}
	if !rs.ipv4 && !rs.ipv6 {
		return nil, conf.Errorf(d, "\"ipv4\" and \"ipv6\" cannot both be \"off\"")
	}
	rs.res = &net.Resolver{PreferGo: true, Dial: rs.dial}
	u.resolvers[d] = rs
	return rs, nil
}

// set reads one argument of "resolver".
func (rs *Resolver) set(c *conf.Config, d *conf.Directive, arg string) error {
	name, value, ok := strings.Cut(arg, "=")
	if ok {
		switch name {
		case "valid":
			t, err := conf.ParseSeconds(value)
			if err != nil {
				return conf.Errorf(d, "invalid parameter: %s", arg)
			}
			rs.valid = t
			return nil
		case "ipv4", "ipv6":
			if value != "on" && value != "off" {
				return conf.Errorf(d, "invalid parameter: %s", arg)
			}
			if name == "ipv4" {
				rs.ipv4 = value == "on"
			} else {
				rs.ipv6 = value == "on"
			}
			return nil
		case "status_zone":
			return conf.Errorf(d, "invalid parameter: %s", arg)
		}
	}
	a, err := ParseAddress(arg)
	if err != nil || a.Path != "" {
		return conf.Errorf(d, "invalid host in resolver \"%s\"", arg)
	}
	eps, err := a.endpoints(c, 53)
	if err != nil {
		return conf.Errorf(d, "%s in resolver \"%s\"", err, arg)
	}
	for _, e := range eps {
		rs.servers = append(rs.servers, e.name)
	}
	return nil
}

// dial asks the servers in turn, whatever server the system would ask.
func (rs *Resolver) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	server := rs.servers[int(rs.next.Add(1)-1)%len(rs.servers)]
	var d net.Dialer
	return d.DialContext(ctx, network, server)
}

// Group looks a's host up and returns a group of its addresses, for one request.
func (rs *Resolver) Group(a Address, defaultPort int) (*Group, error) {
	ips, err := rs.lookup(strings.ToLower(a.Host))
	if err != nil {
		return nil, err
	}
	port := a.Port
	if port == 0 {
		port = defaultPort
	}
	var eps []endpoint
	for i, first := 0, rand.IntN(len(ips)); i < len(ips); i++ {
		eps = append(eps, ipEndpoint(netip.AddrPortFrom(ips[(first+i)%len(ips)], uint16(port))))
	}
	return newGroup(a.Host, a.Host, eps), nil
}

func (rs *Resolver) lookup(host string) ([]netip.Addr, error) {
	now := time.Now()
	rs.mu.Lock()
	have, ok := rs.known[host]
	rs.mu.Unlock()
	if ok && now.Before(have.until) {
		return have.ips, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), rs.timeout)
	defer cancel()
	network := "ip"
	switch {
	case !rs.ipv6:
		network = "ip4"
	case !rs.ipv4:
		network = "ip6"
	}
	// With a dot behind it a name is complete: no search list of the system's.
	ips, err := rs.res.LookupNetIP(ctx, network, strings.TrimSuffix(host, ".")+".")
	if err != nil {
		return nil, fmt.Errorf("%s could not be resolved (%s)", host, reason(err))
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("%s could not be resolved (3: Host not found)", host)
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.known) >= maxKnown {
		clear(rs.known)
	}
	rs.known[host] = answer{ips, now.Add(rs.valid)}
	return ips, nil
}

// reason is nginx's number and words for why a look-up failed.
func reason(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "3: Host not found"
	case errors.As(err, &dns) && dns.IsTimeout:
		return "110: Operation timed out"
	}
	return "2: Server failure"
}
