package httpd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// lookupTimeout bounds the look-up of a name while a configuration is loaded.
const lookupTimeout = 10 * time.Second

// errHostNotFound is nginx's, for whatever kept a name from being resolved.
var errHostNotFound = errors.New("host not found")

// LookupHost asks the system for the addresses of a host. It is what a master gives
// to [conf.Load]; workers get the answers with the configuration.
func LookupHost(host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(ips) == 0 {
		return nil, errHostNotFound
	}
	return ips, nil
}
