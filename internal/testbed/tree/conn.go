package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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

// Sizes and offsets of struct inet_diag_req_v2 and struct inet_diag_msg, see
// sock_diag(7).
const (
	diagByFamily   = 20 // SOCK_DIAG_BY_FAMILY
	diagReqBytes   = 56
	diagMsgBytes   = 72
	diagInodeAt    = 68
	netlinkHdBytes = unix.SizeofNlMsghdr
)

// socketInode returns the inode of the established TCP socket with these
// addresses, or "".
func socketInode(local, remote netip.AddrPort) (string, error) {
	inode, err := diagnose(unix.AF_INET, local, remote)
	if inode == 0 && err == nil {
		// An IPv6 socket may serve IPv4: its addresses are then mapped ones.
		inode, err = diagnose(unix.AF_INET6, local, remote)
	}
	if inode != 0 && err == nil {
		return strconv.FormatUint(uint64(inode), 10), nil
	}
	// No such socket, or a kernel without sock_diag(7) for TCP: they say the
	// same. Not the text first: it has a line for each connection that was
	// closed in the last minute, too many to read for every question under load.
	return readInode(local, remote)
}

// readInode is socketInode by /proc/net/tcp, see proc_pid_net(5).
func readInode(local, remote netip.AddrPort) (string, error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return "", fmt.Errorf("find socket: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[9] != "0" && parseHexAddr(f[1]) == local && parseHexAddr(f[2]) == remote {
				return f[9], nil
			}
		}
	}
	return "", nil
}

// parseHexAddr reads an address as /proc/net/tcp prints it, in 32-bit words of
// the machine's byte order. It returns the zero AddrPort when s is none.
func parseHexAddr(s string) netip.AddrPort {
	host, port, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil || (len(host) != 8 && len(host) != 32) {
		return netip.AddrPort{}
	}
	var raw []byte
	for word := range slices.Chunk([]byte(host), 8) {
		v, err := strconv.ParseUint(string(word), 16, 32)
		if err != nil {
			return netip.AddrPort{}
		}
		raw = binary.NativeEndian.AppendUint32(raw, uint32(v))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n))
}

// diagnose asks for one socket of a family; inode is 0 when there is none.
func diagnose(family uint8, local, remote netip.AddrPort) (inode uint32, err error) {
	if family == unix.AF_INET && !local.Addr().Is4() {
		return 0, nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, fmt.Errorf("ask for socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, diagRequest(family, local, remote), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("ask for socket: %w", err)
	}
	reply := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil {
		return 0, fmt.Errorf("ask for socket: %w", err)
	}
	reply = reply[:n]
	if n < netlinkHdBytes+4 {
		return 0, fmt.Errorf("ask for socket: answer of %d bytes", n)
	}
	if binary.NativeEndian.Uint16(reply[4:]) == unix.NLMSG_ERROR {
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(reply[netlinkHdBytes:])))
		if errno == unix.ENOENT {
			return 0, nil
		}
		return 0, fmt.Errorf("ask for socket: %w", errno)
	}
	if n < netlinkHdBytes+diagMsgBytes {
		return 0, fmt.Errorf("ask for socket: answer of %d bytes", n)
	}
	return binary.NativeEndian.Uint32(reply[netlinkHdBytes+diagInodeAt:]), nil
}

func diagRequest(family uint8, local, remote netip.AddrPort) []byte {
	var b []byte
	b = binary.NativeEndian.AppendUint32(b, netlinkHdBytes+diagReqBytes)
	b = binary.NativeEndian.AppendUint16(b, diagByFamily)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence number and sender: the kernel fills in

	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, 1<<1) // TCP_ESTABLISHED only
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, addr := range []netip.Addr{local.Addr(), remote.Addr()} {
		raw := addr.AsSlice()
		if family == unix.AF_INET6 {
			mapped := addr.As16()
			raw = mapped[:]
		}
		b = append(append(b, raw...), make([]byte, 16-len(raw))...)
	}
	b = binary.NativeEndian.AppendUint32(b, 0)          // any interface
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // any cookie, INET_DIAG_NOCOOKIE
	return binary.NativeEndian.AppendUint32(b, ^uint32(0))
}
