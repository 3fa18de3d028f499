package upstream

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
)

// An Address is a server as a configuration names it.
type Address struct {
	Host string // name or IP address, without brackets; "" for a unix socket
	Port int    // 0 when none was given
	Path string // of a unix socket
}

// Faults of an address, worded as nginx words them.
var (
	errNoHost      = errors.New("no host")
	errInvalidHost = errors.New("invalid host")
	errInvalidPort = errors.New("invalid port")
	errNoPath      = errors.New("no path in the unix domain socket")
	errLongPath    = errors.New("too long path in the unix domain socket")
)

// maxUnixPath is what sockaddr_un has room for, with the NUL behind it.
const maxUnixPath = 107

// ParseAddress reads "host", "host:port", "[ipv6]:port" or "unix:path".
func ParseAddress(text string) (Address, error) {
	if len(text) >= 5 && strings.EqualFold(text[:5], "unix:") {
		switch path := text[5:]; {
		case path == "":
			return Address{}, errNoPath
		case len(path) > maxUnixPath:
			return Address{}, errLongPath
		default:
			return Address{Path: path}, nil
		}
	}
	var host, port string
	hasPort := false
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return Address{}, errInvalidHost
		}
		host = text[1:end]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return Address{}, errInvalidHost
		}
		if rest := text[end+1:]; rest != "" {
			if rest[0] != ':' {
				return Address{}, errInvalidPort
			}
			port, hasPort = rest[1:], true
		}
	} else {
		host, port, hasPort = strings.Cut(text, ":")
	}
	if host == "" {
		return Address{}, errNoHost
	}
	a := Address{Host: host}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Address{}, errInvalidPort
		}
		a.Port = int(n)
	}
	return a, nil
}

// An endpoint is where a connection goes.
type endpoint struct {
	name   string // as logs and $upstream_addr have it
	family int
	addr   unix.Sockaddr
}

func unixEndpoint(path string) endpoint {
	return endpoint{"unix:" + path, unix.AF_UNIX, &unix.SockaddrUnix{Name: path}}
}

func ipEndpoint(ap netip.AddrPort) endpoint {
	if a := ap.Addr().Unmap(); a.Is4() {
		ap = netip.AddrPortFrom(a, ap.Port())
		return endpoint{ap.String(), unix.AF_INET, &unix.SockaddrInet4{Addr: a.As4(), Port: int(ap.Port())}}
	}
	sa := &unix.SockaddrInet6{Addr: ap.Addr().As16(), Port: int(ap.Port())}
	if zone := ap.Addr().Zone(); zone != "" {
		// The number of an interface is not recorded with the configuration: it is
		// another one when the interface was made anew, and the name means the same.
		if ifi, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	return endpoint{ap.String(), unix.AF_INET6, sa}
}

// fixed returns the endpoint of a socket's path or of an IP address, whose port is
// defaultPort when it names none. ok is false for a name, which has to be looked up.
func (a Address) fixed(defaultPort int) (e endpoint, ok bool) {
	if a.Path != "" {
		return unixEndpoint(a.Path), true
	}
	ip, err := netip.ParseAddr(a.Host)
	if err != nil {
		return endpoint{}, false
	}
	return ipEndpoint(netip.AddrPortFrom(ip, a.port(defaultPort))), true
}

func (a Address) port(defaultPort int) uint16 {
	if a.Port == 0 {
		return uint16(defaultPort)
	}
	return uint16(a.Port)
}

// endpoints returns all that a stands for. Names are those of c, which its master
// looked up: two workers of one generation never go to different servers.
func (a Address) endpoints(c *conf.Config, defaultPort int) ([]endpoint, error) {
	if e, ok := a.fixed(defaultPort); ok {
		return []endpoint{e}, nil
	}
	ips, err := c.LookupHost(a.Host)
	if err != nil {
		return nil, err
	}
	return inOrder(ips, a.port(defaultPort)), nil
}

// inOrder puts IPv4 addresses first, as nginx does.
func inOrder(ips []netip.Addr, port uint16) []endpoint {
	var eps []endpoint
	for _, want4 := range []bool{true, false} {
		for _, ip := range ips {
			if ip = ip.Unmap(); ip.Is4() == want4 {
				eps = append(eps, ipEndpoint(netip.AddrPortFrom(ip, port)))
			}
		}
	}
	return eps
}
