package conf

import (
	"net/netip"
	"strings"
	"time"
)

// A Listen is one address that servers listen on.
type Listen struct {
	Network string // "tcp" or "unix"
	Addr    netip.AddrPort
	Path    string // of a unix socket, as written
	// Default: the server is the default one of this address.
	Default bool
	// Explicit: some parameter was given that is an option of the socket. nginx then
	// binds the address by itself even if a wildcard of the same port covers it.
	Explicit bool
	// SSL: connections begin with a TLS handshake; of an address, when any server's
	// listen says so.
	SSL bool

	HTTP2 bool // is spoken there, besides HTTP/1

	Reuseport bool
	Deferred  bool
	Backlog   int  // -1: the default, 511
	IPv6Only  bool // of an IPv6 socket; on by default
	FastOpen  int  // length of the queue; -1: not set
	Rcvbuf    int64
	Sndbuf    int64 // bytes; -1: not set
	KeepAlive KeepAlive

	File string // where it stands; "" when no directive says so
	Line int
}

// KeepAlive is the parameter so_keepalive. The zero value is the system's default.
type KeepAlive struct {
	Set   bool // the parameter was given
	On    bool
	Idle  time.Duration // 0: the system's
	Every time.Duration // 0: the system's
	Count int           // 0: the system's
}

// Key identifies the socket across reload and upgrade: "0.0.0.0:80", "[::]:80",
// "unix:/path". nginx shows addresses so too.
func (l Listen) Key() string {
	if l.Network == "unix" {
		return "unix:" + l.Path
	}
	return l.Addr.String()
}

// Wildcard reports whether it listens on all addresses of its family.
func (l Listen) Wildcard() bool { return l.Network == "tcp" && l.Addr.Addr().IsUnspecified() }

// ParseListen reads a listen directive; of a range of ports it takes the first.
func ParseListen(d *Directive) (Listen, error) {
	l := newListen()
	l.File, l.Line = d.File, d.Line
	if err := l.address(d); err != nil {
		return Listen{}, err
	}
	for _, arg := range d.Args[1:] {
		if err := l.parameter(d, arg); err != nil {
			return Listen{}, err
		}
	}
	return l, nil
}

// newListen is a TCP socket with every option at its default.
func newListen() Listen {
	return Listen{Network: "tcp", Backlog: -1, FastOpen: -1, Rcvbuf: -1, Sndbuf: -1, IPv6Only: true}
}

const defaultPort = 80

func (l *Listen) address(d *Directive) error {
	text := d.Arg(0)
	var fault string
	switch {
	case len(text) >= 5 && strings.EqualFold(text[:5], "unix:"):
		l.Network = "unix"
		l.Path, fault = unixPath(text[5:])
	case strings.HasPrefix(text, "["):
		l.Addr, fault = parseIPv6(text)
	default:
		l.Addr, fault = parseIPv4(text)
	}
	if fault != "" {
		return Errorf(d, `%s in "%s" of the "listen" directive`, fault, text)
	}
	return nil
}

// maxUnixPath is what sockaddr_un holds, less the NUL.
const maxUnixPath = 107

func unixPath(path string) (string, string) {
	switch {
	case path == "":
		return "", "no path in the unix domain socket"
	case len(path) > maxUnixPath:
		return "", "too long path in the unix domain socket"
	}
	return path, ""
}

func parseIPv6(text string) (addr netip.AddrPort, fault string) {
	host, rest, ok := strings.Cut(text[1:], "]")
	if !ok || strings.Contains(rest, "/") {
		return addr, "invalid host"
	}
	port := uint16(defaultPort)
	if rest != "" {
		if rest[0] != ':' {
			return addr, "invalid host"
		}
		if port, fault = parsePort(rest[1:]); fault != "" {
			return addr, fault
		}
	}
	if host == "" {
		return addr, "no host"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is6() || ip.Zone() != "" {
		return addr, "invalid IPv6 address"
	}
	return netip.AddrPortFrom(ip, port), ""
}

// parseIPv4 reads "port", "host:port" or "host". No name is looked up: a server that
// starts before its resolver must not fail, so only localhost is known.
func parseIPv4(text string) (addr netip.AddrPort, fault string) {
	if strings.ContainsAny(text, "/?") {
		return addr, "invalid host"
	}
	host, portText, hasPort := strings.Cut(text, ":")
	if !hasPort && isPorts(text) {
		host, portText, hasPort = "*", text, true
	}
	port := uint16(defaultPort)
	if hasPort {
		if port, fault = parsePort(portText); fault != "" {
			return addr, fault
		}
	}
	switch host {
	case "":
		return addr, "no host"
	case "*":
		return netip.AddrPortFrom(netip.IPv4Unspecified(), port), ""
	case "localhost":
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), ""
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is4() {
		return addr, "host not found"
	}
	return netip.AddrPortFrom(ip, port), ""
}

// isPorts reports whether text is "80" or a range "80-90".
func isPorts(text string) bool {
	from, to, dash := strings.Cut(text, "-")
	_, err := ParseNumber(from)
	if err == nil && dash {
		_, err = ParseNumber(to)
	}
	return err == nil
}

func parsePort(text string) (port uint16, fault string) {
	from, to, dash := strings.Cut(text, "-")
	last := int64(65535)
	if dash {
		var err error
		if last, err = ParseNumber(to); err != nil || last < 1 || last > 65535 {
			return 0, "invalid port"
		}
	}
	n, err := ParseNumber(from)
	switch {
	case err != nil || n < 1 || n > 65535:
		return 0, "invalid port"
	case n > last:
		return 0, "invalid port range"
	}
	return uint16(n), ""
}

// eachPort is l for each port of text, an address that was understood: it names one or a
// range, of which l has the first.
func (l Listen) eachPort(text string) []Listen {
	ls := []Listen{l}
	if l.Network == "unix" {
		return ls
	}
	_, to, _ := strings.Cut(text[strings.LastIndexAny(text, ":]")+1:], "-")
	last, err := ParseNumber(to)
	for port := int64(l.Addr.Port()) + 1; err == nil && port <= last; port++ {
		l.Addr = netip.AddrPortFrom(l.Addr.Addr(), uint16(port))
		ls = append(ls, l)
	}
	return ls
}

// parameter reads one parameter after the address.
func (l *Listen) parameter(d *Directive, arg string) error {
	switch arg {
	case "default_server", "default":
		l.Default = true
		return nil
	case "ssl":
		l.SSL = true
		return nil
	case "http2":
		l.HTTP2 = true
		return nil
	case "quic", "proxy_protocol", "multipath":
		return Errorf(d, `the "%s" parameter of the "listen" directive is not supported by baton`, arg)
	case "bind":
	case "deferred":
		l.Deferred = true
	case "reuseport":
		l.Reuseport = true
	default:
		if err := l.setting(d, arg); err != nil {
			return err
		}
	}
	l.Explicit = true
	return nil
}

// setting reads a parameter of the form name=value.
func (l *Listen) setting(d *Directive, arg string) error {
	name, value, ok := strings.Cut(arg, "=")
	if !ok {
		return Errorf(d, `invalid parameter "%s"`, arg)
	}
	var err error
	switch name {
	case "backlog":
		l.Backlog, err = parseCount(value)
		if l.Backlog == 0 {
			err = errNumber
		}
	case "fastopen":
		l.FastOpen, err = parseCount(value)
	case "rcvbuf":
		l.Rcvbuf, err = ParseSize(value)
	case "sndbuf":
		l.Sndbuf, err = ParseSize(value)
	case "ipv6only":
		if !strings.HasPrefix(value, "o") {
			return Errorf(d, `invalid parameter "%s"`, arg)
		}
		if value != "on" && value != "off" {
			return Errorf(d, `invalid ipv6only flags "%s"`, value)
		}
		l.IPv6Only = value == "on"
	case "so_keepalive":
		if l.KeepAlive, err = parseKeepAlive(value); err != nil {
			return Errorf(d, `invalid so_keepalive value: "%s"`, value)
		}
	case "setfib", "accept_filter":
		return Errorf(d, `the "%s" parameter of the "listen" directive needs FreeBSD`, name)
	default:
		return Errorf(d, `invalid parameter "%s"`, arg)
	}
	if err != nil {
		return Errorf(d, `invalid %s "%s"`, name, arg)
	}
	return nil
}

// parseCount is ParseNumber for what the kernel takes as an int.
func parseCount(s string) (int, error) {
	n, err := ParseNumber(s)
	if err != nil || n > 1<<31-1 {
		return 0, errNumber
	}
	return int(n), nil
}

// parseKeepAlive reads "on", "off" or "idle:every:count", each of which may be empty
// but not all.
func parseKeepAlive(value string) (KeepAlive, error) {
	switch value {
	case "on", "off":
		return KeepAlive{Set: true, On: value == "on"}, nil
	}
	k := KeepAlive{Set: true, On: true}
	idle, rest, _ := strings.Cut(value, ":")
	every, count, _ := strings.Cut(rest, ":")
	var err error
	for _, part := range []struct {
		text string
		to   *time.Duration
	}{{idle, &k.Idle}, {every, &k.Every}} {
		if part.text == "" {
			continue
		}
		if *part.to, err = ParseSeconds(part.text); err != nil {
			return KeepAlive{}, err
		}
	}
	if count != "" {
		if k.Count, err = parseCount(count); err != nil {
			return KeepAlive{}, err
		}
	}
	if k.Idle == 0 && k.Every == 0 && k.Count == 0 {
		return KeepAlive{}, errValue
	}
	return k, nil
}
