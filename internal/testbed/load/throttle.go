package load

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// A throttle is a connection that is read at some rate, and no more once ctx is
// done. It is used by one goroutine.
type throttle struct {
	net.Conn
	ctx     context.Context
	rate    *atomic.Int64 // bytes in a second, 0 means no limit
	timeout time.Duration // without a single byte
}

// throttleStep is how often a throttled client reads.
const throttleStep = 20 * time.Millisecond

func (t *throttle) Read(b []byte) (int, error) {
	if rate := t.rate.Load(); rate > 0 {
		wait(t.ctx, throttleStep)
		b = b[:min(len(b), max(1, int(rate*int64(throttleStep)/int64(time.Second))))]
	}
	for end := time.Now().Add(t.timeout); ; {
		if t.ctx.Err() != nil {
			return 0, errStopped
		}
		// In short pieces, to notice the end of ctx.
		t.Conn.SetReadDeadline(time.Now().Add(10 * throttleStep))
		n, err := t.Conn.Read(b)
		if n > 0 || !isTimeout(err) || time.Now().After(end) {
			return n, err
		}
	}
}
