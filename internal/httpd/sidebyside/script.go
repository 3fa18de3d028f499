package sidebyside

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
)

// scriptLimit is how long a connection to a script lasts at most.
const scriptLimit = time.Minute

// Script is a server whose every connection is served by serve, and closed behind it.
// It returns its address.
func Script(t testing.TB, serve func(c net.Conn, br *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ScriptOn(t, ln, serve)
	return ln.Addr().String()
}

// ScriptOn is [Script] on a listener, which it closes when the test ends.
func ScriptOn(t testing.TB, ln net.Listener, serve func(c net.Conn, br *bufio.Reader)) {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with its connection, at the deadline at the latest
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(scriptLimit))
				serve(c, bufio.NewReader(c))
			}()
		}
	}()
}

// ClosedPort is an address on which nobody listens.
func ClosedPort(t testing.TB) string {
	t.Helper()
	port, err := testbed.TakePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	return fmt.Sprintf("127.0.0.1:%d", port.Number)
}
