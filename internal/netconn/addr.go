package netconn

import (
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// An Addr is the address of one end of a connection.
type Addr struct {
	AddrPort netip.AddrPort // invalid for a unix socket
	text     string         // the address without port, made when first asked for
}

// PeerAddr reads a socket address as accept(2) and getsockname(2) give it. A unix socket
// of a client has no name.
func PeerAddr(sa unix.Sockaddr) Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return Addr{AddrPort: netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))}
	case *unix.SockaddrInet6:
		return Addr{AddrPort: netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))}
	}
	return Addr{}
}

// LocalAddr is PeerAddr for the server's end, which has a name on a unix socket, too.
func LocalAddr(sa unix.Sockaddr) Addr {
	if u, ok := sa.(*unix.SockaddrUnix); ok {
		return Addr{text: "unix:" + u.Name}
	}
	return PeerAddr(sa)
}

// Text is the address as $remote_addr has it: "unix:" for a unix socket, with the path
// where it is the server's end.
func (p *Addr) Text() string {
	if p.text == "" {
		p.text = "unix:"
		if p.AddrPort.IsValid() {
			p.text = p.AddrPort.Addr().String()
		}
	}
	return p.text
}

// Port is "" for a unix socket.
func (p *Addr) Port() string {
	if !p.AddrPort.IsValid() {
		return ""
	}
	return strconv.Itoa(int(p.AddrPort.Port()))
}

// AppendPort appends what Port returns.
func (p *Addr) AppendPort(dst []byte) []byte {
	if !p.AddrPort.IsValid() {
		return dst
	}
	return strconv.AppendUint(dst, uint64(p.AddrPort.Port()), 10)
}

// AppendBinary appends the address's 4 or 16 bytes, or "unix:".
func (p *Addr) AppendBinary(dst []byte) []byte {
	switch a := p.AddrPort.Addr(); {
	case a.Is4():
		b := a.As4()
		return append(dst, b[:]...)
	case a.Is6():
		b := a.As16()
		return append(dst, b[:]...)
	}
	return append(dst, p.Text()...)
}
