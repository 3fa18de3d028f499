package upgrade

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/report"
)

// A socket is one row of /proc/PID/net/tcp or unix.
type socket struct {
	key       string // "tcp 0100007F:1F90", "unix /run/x.sock"
	listening bool
}

// sockets returns the sockets of the network that process pid is in, by inode.
func sockets(pid int) (map[string]socket, error) {
	found := map[string]socket{}
	for _, table := range []string{"tcp", "tcp6", "unix"} {
		text, err := os.ReadFile(procPath(pid, "net", table))
		if err != nil {
			if table == "tcp6" {
				continue // a kernel without IPv6
			}
			return nil, fmt.Errorf("list sockets: %w", err)
		}
		lines := strings.Split(string(text), "\n")
		for _, line := range lines[1:] {
			if inode, s, ok := parseSocket(table, strings.Fields(line)); ok {
				found[inode] = s
			}
		}
	}
	return found, nil
}

// parseSocket reads one row of a table, see proc_pid_net(5).
func parseSocket(table string, f []string) (inode string, s socket, ok bool) {
	if table == "unix" {
		const acceptsConnections = "00010000" // __SO_ACCEPTCON
		if len(f) < 8 {
			return "", s, false // without a name nobody finds it
		}
		return f[6], socket{"unix " + f[7], f[3] == acceptsConnections}, true
	}
	const established, listens = "01", "0A"
	if len(f) < 10 || f[3] != established && f[3] != listens {
		return "", s, false
	}
	return f[9], socket{table + " " + f[1], f[3] == listens}, true
}

// socketInodes returns the inodes of the sockets that process pid has open.
func socketInodes(pid int) (inodes []string, err error) {
	err = lookInto(pid, func(dir string) error {
		names, err := os.ReadDir(dir + "/fd")
		if err != nil {
			return err
		}
		for _, n := range names {
			target, err := os.Readlink(dir + "/fd/" + n.Name())
			if err != nil {
				continue // closed meanwhile
			}
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				inodes = append(inodes, strings.TrimSuffix(inode, "]"))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list descriptors: %w", err)
	}
	return inodes, nil
}

// listeners returns the listening sockets of process pid: by address the inodes,
// several with reuseport.
func listeners(pid int, all map[string]socket) (map[string][]string, error) {
	inodes, err := socketInodes(pid)
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for _, inode := range inodes {
		// Operators ask there: it is each master's own, and no client's.
		if s := all[inode]; s.listening && !report.IsPath(s.key) {
			found[s.key] = append(found[s.key], inode)
		}
	}
	return found, nil
}

// clients counts the connections of process pid that came in at one of ports. The
// table of sockets was read before, so one that came since is not counted.
func clients(pid int, all map[string]socket, ports map[string]bool) int {
	inodes, err := socketInodes(pid)
	if err != nil {
		return 0 // it ended meanwhile: it has none
	}
	n := 0
	for _, inode := range inodes {
		if s := all[inode]; s.key != "" && !s.listening && ports[portOf(s.key)] {
			n++
		}
	}
	return n
}

// portOf returns what a connection has in common with the socket that it was
// accepted from: the port, or the path of a unix socket.
func portOf(key string) string {
	if strings.HasPrefix(key, "unix ") {
		return key
	}
	return key[strings.LastIndexByte(key, ':')+1:]
}

// address words the key of a listening socket for people.
func address(key string) string {
	table, hex, ok := strings.Cut(key, " ")
	ip, port, ok2 := strings.Cut(hex, ":")
	if !ok || table == "unix" || !ok2 {
		return key
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return key
	}
	if table == "tcp6" {
		if strings.Trim(ip, "0") == "" {
			return fmt.Sprintf("[::]:%d", n)
		}
		return fmt.Sprintf("port %d of an IPv6 address", n)
	}
	a, err := strconv.ParseUint(ip, 16, 32)
	if err != nil {
		return key
	}
	return fmt.Sprintf("%d.%d.%d.%d:%d", a&255, a>>8&255, a>>16&255, a>>24, n)
}
