package tree

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Holders returns the processes of the tree that hold the other end of conn,
// a TCP connection over loopback: one, except while it changes hands. It is
// empty while the connection waits to be accepted, and when the other end is
// closed or outside of the tree.
func (t *Tree) Holders(conn net.Conn) ([]Process, error) {
	local, err1 := addrPort(conn.LocalAddr())
	remote, err2 := addrPort(conn.RemoteAddr())
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("find holder of connection: not TCP: %v", conn.RemoteAddr())
	}
	inode, err := socketInode(remote, local) // as the other end sees it
	if err != nil || inode == "" {
		return nil, err
	}
	found, err := t.Processes()
	if err != nil {
		return nil, err
	}
	var holders []Process
	for _, p := range found {
		open, err := p.Descriptors()
		if err != nil {
			continue // it left meanwhile
		}
		for _, target := range open {
			if target == "socket:["+inode+"]" {
				holders = append(holders, p)
				break
			}
		}
	}
	return holders, nil
}

func addrPort(a net.Addr) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), err
}

// socketInode returns the inode of the established TCP socket with these
// addresses, or "".
func socketInode(local, remote netip.AddrPort) (string, error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // a kernel without IPv6
		}
		inode, err := findInode(bufio.NewScanner(f), local, remote)
		f.Close()
		if inode != "" || err != nil {
			return inode, err
		}
	}
	return "", nil
}

func findInode(lines *bufio.Scanner, local, remote netip.AddrPort) (string, error) {
	lines.Scan() // the heading
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		if parseHexAddr(f[1]) == local && parseHexAddr(f[2]) == remote && f[9] != "0" {
			return f[9], nil
		}
	}
	return "", lines.Err()
}

// parseHexAddr reads an address as /proc/net/tcp prints it, in 32-bit words of
// the machine's byte order. It returns the zero AddrPort when s is none.
func parseHexAddr(s string) netip.AddrPort {
	host, port, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || (len(host) != 8 && len(host) != 32) {
		return netip.AddrPort{}
	}
	var raw []byte
	for i := 0; i < len(host); i += 8 {
		word, err := strconv.ParseUint(host[i:i+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}
		}
		raw = binary.NativeEndian.AppendUint32(raw, uint32(word))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n))
}
