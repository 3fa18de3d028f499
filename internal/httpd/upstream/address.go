package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
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
	errNotFound    = errors.New("host not found")
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
		if ifi, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	return endpoint{ap.String(), unix.AF_INET6, sa}
}

// resolveTimeout bounds the look-up of a name while a configuration is compiled.
const resolveTimeout = 10 * time.Second

// endpoints resolves a, whose port is defaultPort when it names none.
func (a Address) endpoints(res *net.Resolver, defaultPort int) ([]endpoint, error) {
	if a.Path != "" {
		return []endpoint{unixEndpoint(a.Path)}, nil
	}
	port := uint16(a.Port)
	if port == 0 {
		port = uint16(defaultPort)
	}
	if ip, err := netip.ParseAddr(a.Host); err == nil {
		return []endpoint{ipEndpoint(netip.AddrPortFrom(ip, port))}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	ips, err := res.LookupNetIP(ctx, "ip", a.Host)
	if err != nil || len(ips) == 0 {
		return nil, errNotFound
	}
	return inOrder(ips, port), nil
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
