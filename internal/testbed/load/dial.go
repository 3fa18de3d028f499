package load

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// atOnce is how many connections are opened at the same time: more would overrun
// the queue of a listening socket, which is no failure of who serves it.
const atOnce = 64

// networkOf tells a path, which is a unix socket's, from "host:port".
func networkOf(addr string) string {
	if strings.HasPrefix(addr, "/") {
		return "unix"
	}
	return "tcp"
}

// hostOf is what the header Host says to addr.
func hostOf(addr string) string {
	if networkOf(addr) == "unix" {
		return "localhost"
	}
	return addr
}

// dial opens a connection. window, if not 0, bounds the bytes that the kernel
// keeps for a client that does not read them.
func dial(ctx context.Context, addr string, timeout time.Duration, window int) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	if window > 0 {
		// Before the connection is opened: the window that is announced then is
		// never taken back.
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			ctlErr := c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, window)
			})
			if ctlErr != nil {
				return ctlErr
			}
			return err
		}
	}
	for end := time.Now().Add(timeout); ; {
		// The load's end does not abort an opening: that would be no failure of the
		// server.
		conn, err := d.DialContext(context.WithoutCancel(ctx), networkOf(addr), addr)
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(end) {
			return conn, err
		}
		// The queue of a unix socket is full. For TCP the kernel would try again by
		// itself.
		wait(context.WithoutCancel(ctx), time.Millisecond)
	}
}

// each calls f for 0 to n-1, some at the same time, and returns when all are done.
// It begins no more when ctx is done.
func each(ctx context.Context, n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, atOnce) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
}

// wait waits for d or the end of ctx, and reports whether it was d.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
