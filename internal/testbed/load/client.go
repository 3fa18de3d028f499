package load

import (
	"bufio"
	"bytes"
	"context"
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

// exchange sends one request and takes its answer.
func (c *client) exchange(ctx context.Context) {
	if c.conn != nil {
		c.lookAtIdle()
	}
	if c.conn == nil && !c.open(ctx) {
		return
	}
	body := fmt.Sprintf("client %d request %d", c.id, c.sent)
	c.sent++
	began := time.Now()
	c.conn.SetDeadline(began.Add(c.group.timeout()))
	n, err := c.conn.Write(c.request(body))
	if n == 0 && err != nil {
		// Nothing has left this machine, but the one who asked for the request
		// sees it fail: it counts as sent and lost, not as nothing.
		c.lose(began, err, false)
		return
	}
	if _, err := c.in.Peek(1); err != nil {
		c.lose(began, err, false)
		return
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: c.method()})
	if err != nil {
		c.lose(began, err, true)
		return
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		c.lose(began, err, true)
		return
	}
	c.answered(began, resp, got, body)
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
	c.conn, c.in = conn, bufio.NewReader(conn)
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
	c.tally.cutIdle(errors.Is(err, syscall.ECONNRESET), err)
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

func (c *client) lose(began time.Time, err error, answerBegan bool) {
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
	c.tally.lost(began, cause, err)
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
	by := resp.Header.Get(c.group.by())
	c.tally.answered(began, by, wrong, resp.Close && c.group.KeepAlive)
}
