package tree

import (
	"fmt"
	"net"
	"os"
	"testing"
)

// Both ways to find a connection's other end give the inode that its
// descriptor has, for IPv4, IPv6, and IPv4 on an IPv6 socket.
func TestInodeOfTheOtherEnd(t *testing.T) {
	for _, tc := range []struct{ network, listen, dial string }{
		{"tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"tcp", "[::]:0", "127.0.0.1"},
		{"tcp", "[::]:0", "::1"},
	} {
		ln, err := net.Listen(tc.network, tc.listen)
		if err != nil {
			t.Logf("%s: %v: this machine has no IPv6", tc.listen, err)
			continue
		}
		defer ln.Close()
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		client, err := net.Dial("tcp", net.JoinHostPort(tc.dial, port))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		want := inodeOf(t, server)
		local, err1 := addrPort(client.RemoteAddr())
		remote, err2 := addrPort(client.LocalAddr())
		asked, err3 := socketInode(local, remote)
		read, err4 := readInode(local, remote)
		for _, err := range []error{err1, err2, err3, err4} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if asked != want || read != want {
			t.Errorf("%s to %s: inode is %s; asked for it: %q, read: %q", tc.dial, tc.listen, want, asked, read)
		}
	}
}

// inodeOf returns the inode that a connection's own descriptor names.
func inodeOf(t *testing.T, conn net.Conn) (inode string) {
	t.Helper()
	rc, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var target string
	if ctlErr := rc.Control(func(fd uintptr) { target, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) }); ctlErr != nil || err != nil {
		t.Fatal(ctlErr, err)
	}
	if _, err := fmt.Sscanf(target, "socket:[%s", &inode); err != nil {
		t.Fatalf("read %q: %v", target, err)
	}
	return inode[:len(inode)-1]
}
