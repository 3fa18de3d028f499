package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// A client sends one request after the other. It is used by one goroutine.
type client struct {
	group *Group
	tally *tally
	id    int
	sent  int // requests sent so far, the number in the next body
	opens int // connections opened so far

	conn net.Conn // nil when there is none
	in   *bufio.Reader
	by   string // who answered last on conn
}

// run sends requests until ctx is done. The request in flight at that moment
// is still waited for.
func (c *client) run(ctx context.Context) {
	defer c.drop()
	pause := time.NewTimer(c.pause())
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		c.exchange(ctx)
		pause.Reset(c.pause())
	}
}

func (c *client) pause() time.Duration {
	spread := c.group.MaxPause - c.group.MinPause
	if spread <= 0 {
		return c.group.MinPause
	}
	return c.group.MinPause + rand.N(spread)
}

// exchange sends one request, or several at once, and takes the answers.
func (c *client) exchange(ctx context.Context) {
	if c.conn != nil {
		c.lookAtIdle()
	}
	if c.conn == nil && !c.open(ctx) {
		return
	}
	bodies, wire := c.requests()
	c.conn.SetDeadline(time.Now().Add(c.group.timeout()))
	began, err := c.send(wire)
	if err != nil {
		// Nothing has left this machine, but the one who asked for the request
		// sees it fail: it counts as sent and lost, not as nothing.
		c.lose(began, len(bodies), err, false)
		return
	}
	for i, body := range bodies {
		if c.conn == nil {
			c.lose(began, len(bodies)-i, errBehindClose, false)
			return
		}
		answerBegan, err := c.take(began, body)
		if err != nil {
			c.lose(began, 1, err, answerBegan)
			c.lose(began, len(bodies)-i-1, err, false)
			return
		}
	}
}

// errBehindClose is why a pipelined request was lost whose predecessor was
// answered with "Connection: close".
var errBehindClose = errors.New("the answer before it announced the connection's end")

// requests returns the bodies of the next requests, and the requests as they go
// over the wire.
func (c *client) requests() (bodies []string, wire []byte) {
	n := 1
	if c.group.Pipeline > 1 {
		n = 2 + rand.IntN(c.group.Pipeline-1)
	}
	for range n {
		body := fmt.Sprintf("client %d request %d", c.id, c.sent)
		c.sent++
		bodies = append(bodies, body)
		wire = append(wire, c.request(body)...)
	}
	return bodies, wire
}

// send writes requests, in two pieces if the group wants it so. It returns an
// error only if nothing could be sent; whatever fails later is seen by who waits
// for the answer. began is when the last piece was sent.
func (c *client) send(wire []byte) (began time.Time, err error) {
	began = time.Now()
	if c.group.Split > 0 {
		cut := 1 + rand.IntN(len(wire)-1)
		if _, err := c.conn.Write(wire[:cut]); err != nil {
			return began, err
		}
		wire = wire[cut:]
		<-time.After(rand.N(c.group.Split))
		began = time.Now()
		c.conn.Write(wire) // see above
		return began, nil
	}
	if n, err := c.conn.Write(wire); n == 0 && err != nil {
		return began, err
	}
	return began, nil
}

// take takes the answer to the request with this body. When there is none it
// reports whether one had begun.
func (c *client) take(began time.Time, body string) (answerBegan bool, err error) {
	if _, err := c.in.Peek(1); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: c.method()})
	if err != nil {
		return true, err
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return true, err
	}
	c.answered(began, resp, got, body)
	return true, nil
}

func (c *client) method() string {
	if c.group.Post {
		return http.MethodPost
	}
	return http.MethodGet
}

// request returns a whole request; body is used with POST only.
func (c *client) request(body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", c.method(), c.group.path(), c.group.host())
	if !c.group.KeepAlive {
		b.WriteString("Connection: close\r\n")
	}
	if c.group.Post {
		fmt.Fprintf(&b, "Content-Type: text/plain\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	if c.group.Post {
		b.WriteString(body)
	}
	return b.Bytes()
}

func (c *client) open(ctx context.Context) bool {
	dialer := net.Dialer{Timeout: c.group.timeout()}
	// The load's end does not abort an opening: that would be no failure of
	// the server.
	conn, err := dialer.DialContext(context.WithoutCancel(ctx), c.group.network(), c.group.Addr)
	if err != nil {
		c.tally.unopened(err)
		return false
	}
	if c.group.TLS != nil {
		secure := tls.Client(conn, c.group.TLS)
		conn.SetDeadline(time.Now().Add(c.group.timeout()))
		if err := secure.HandshakeContext(context.WithoutCancel(ctx)); err != nil {
			conn.Close()
			c.tally.unopened(err)
			return false
		}
		conn = secure
	}
	c.conn, c.in, c.by = conn, bufio.NewReader(conn), ""
	c.tally.opened(c.opens > 0 && c.group.KeepAlive)
	c.opens++
	return true
}

// drop closes the connection, if there is one.
func (c *client) drop() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// lookAtIdle looks, without reading, whether the server has closed the
// connection while it was idle. A watchful client then opens another; a blind
// one sends all the same, as clients do whose request crosses the server's FIN.
func (c *client) lookAtIdle() {
	err := peekClosed(c.conn)
	if err == nil {
		return
	}
	c.tally.cutIdle(c.by, errors.Is(err, syscall.ECONNRESET), err)
	if !c.group.Blind {
		c.drop()
	}
}

// peekClosed returns io.EOF or ECONNRESET when the peer has ended conn, an
// error when it sent bytes that nobody asked for, and nil otherwise.
func peekClosed(conn net.Conn) error {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var peekErr error
	err = rc.Control(func(fd uintptr) {
		n, _, peekErr = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	switch {
	case err != nil:
		return err
	case errors.Is(peekErr, syscall.EAGAIN):
		return nil
	case peekErr != nil:
		return peekErr
	case n == 0:
		return io.EOF
	default:
		return errors.New("bytes on an idle connection")
	}
}

// lose counts n requests as lost and ends the connection.
func (c *client) lose(began time.Time, n int, err error, answerBegan bool) {
	c.drop()
	cause := lostFIN
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		cause = lostTimeout
	case answerBegan:
		cause = lostBroken
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		cause = lostRST
	}
	for range n {
		c.tally.lost(c.by, began, cause, err)
	}
}

func (c *client) answered(began time.Time, resp *http.Response, got []byte, sent string) {
	var wrong error
	switch {
	case resp.StatusCode != c.group.status():
		wrong = fmt.Errorf("status %d, want %d", resp.StatusCode, c.group.status())
	case c.group.Echo && string(got) != sent:
		wrong = fmt.Errorf("body %q, want %q", got, sent)
	}
	closing := resp.Close || !c.group.KeepAlive
	if closing {
		c.drop()
	}
	c.by = resp.Header.Get(c.group.by())
	c.tally.answered(began, c.by, wrong, resp.Close && c.group.KeepAlive)
}
