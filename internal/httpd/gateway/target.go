package gateway

import "github.com/baton-deploy/baton/internal/httpd/upstream"

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
	if x.Group, err = resolver.Group(a, defaultPort); err != nil {
		x.Log(LevelError, err.Error())
		return 502
	}
	return 0
}
