package testbed

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
)

// Ports are handed out below the range that the kernel takes the local ports
// of outgoing connections from (ip_local_port_range, usually from 32768): a
// client's connection must not sit on a port that a server is about to bind.
const firstPort, lastPort = 12000, 29999

// A Port is a free TCP port of the loopback addresses. No other program that
// asks this package gets it until it is released.
type Port struct {
	Number  int
	release func()
}

// TakePort reserves a free port. The caller must release it.
func TakePort() (*Port, error) {
	dir, err := cacheDir("ports")
	if err != nil {
		return nil, fmt.Errorf("take port: %w", err)
	}
	var lastErr error
	for range 100 {
		n := firstPort + rand.IntN(lastPort-firstPort+1)
		unlock, err := lock(filepath.Join(dir, strconv.Itoa(n)), false)
		if err != nil {
			lastErr = err
			continue
		}
		if err := tryBind(n); err != nil {
			unlock()
			lastErr = err
			continue
		}
		return &Port{Number: n, release: unlock}, nil
	}
	return nil, fmt.Errorf("take port: %w", lastErr)
}

// tryBind binds n on every address once, so that a server on any of them is
// noticed.
func tryBind(n int) error {
	for _, network := range []string{"tcp4", "tcp6"} {
		ln, err := net.Listen(network, fmt.Sprintf(":%d", n))
		if errors.Is(err, syscall.EADDRINUSE) || (err != nil && network == "tcp4") {
			return err
		}
		if err == nil { // a machine without IPv6 fails in other ways
			ln.Close()
		}
	}
	return nil
}

// Release gives the port back.
func (p *Port) Release() { p.release() }

// Addr returns 127.0.0.1 with the port.
func (p *Port) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Number)) }
