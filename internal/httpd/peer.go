package httpd

import (
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// A peer is the address of one end of a connection.
type peer struct {
	addr netip.AddrPort // invalid for a unix socket
	text string         // the address without port, made when first asked for
}

// peerOf reads a socket address as accept(2) and getsockname(2) give it.
func peerOf(sa unix.Sockaddr) peer {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return peer{addr: netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))}
	case *unix.SockaddrInet6:
		return peer{addr: netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))}
	}
	return peer{}
}

// nameOf is peerOf for the server's end, which has a name on a unix socket, too.
func nameOf(sa unix.Sockaddr) peer {
	if u, ok := sa.(*unix.SockaddrUnix); ok {
		return peer{text: "unix:" + u.Name}
	}
	return peerOf(sa)
}

// Text is the address as $remote_addr has it: "unix:" for a unix socket, with the path
// where it is the server's end.
func (p *peer) Text() string {
	if p.text == "" {
		p.text = "unix:"
		if p.addr.IsValid() {
			p.text = p.addr.Addr().String()
		}
	}
	return p.text
}

// Port is "" for a unix socket.
func (p *peer) Port() string {
	if !p.addr.IsValid() {
		return ""
	}
	return strconv.Itoa(int(p.addr.Port()))
}

// appendPort appends what Port returns.
func (p *peer) appendPort(dst []byte) []byte {
	if !p.addr.IsValid() {
		return dst
	}
	return strconv.AppendUint(dst, uint64(p.addr.Port()), 10)
}

// appendBinary appends the address's 4 or 16 bytes, or "unix:".
func (p *peer) appendBinary(dst []byte) []byte {
	switch a := p.addr.Addr(); {
	case a.Is4():
		b := a.As4()
		return append(dst, b[:]...)
	case a.Is6():
		b := a.As16()
		return append(dst, b[:]...)
	}
	return append(dst, p.Text()...)
}
