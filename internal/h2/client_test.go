package h2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

// A tcp is a Socket over a connection of package net.
type tcp struct {
	*net.TCPConn
	stopped atomic.Bool
}

func (s *tcp) Buffered() bool { return false }

func (s *tcp) Read(p []byte, timeout time.Duration) (int, error) {
	until := time.Time{}
	if timeout > 0 {
		until = time.Now().Add(timeout)
	}
	_ = s.SetReadDeadline(until)
	if s.stopped.Load() {
		return 0, ErrInterrupted
	}
	n, err := s.TCPConn.Read(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && s.stopped.Load():
		return n, ErrInterrupted
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, ErrTimeout
	}
	return n, err
}

func (s *tcp) WriteNow(p []byte) (n int, err error) {
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, err
	}
	if werr := raw.Write(func(fd uintptr) bool {
		n, err = unix.Write(int(fd), p)
		return true
	}); werr != nil {
		return 0, werr
	}
	if err == unix.EAGAIN {
		return 0, nil
	}
	return max(n, 0), err
}

func (s *tcp) Write(p []byte, timeout time.Duration) error {
	for len(p) > 0 {
		_ = s.SetWriteDeadline(time.Now().Add(timeout))
		n, err := s.TCPConn.Write(p[:min(len(p), 4096)])
		if p = p[n:]; err != nil {
			return err
		}
	}
	return nil
}

func (s *tcp) Interrupt() {
	s.stopped.Store(true)
	_ = s.SetReadDeadline(time.Unix(1, 0))
}

// A host answers with what serve does.
type host struct {
	serve func(st *Stream)

	mu   sync.Mutex
	logs []string
	busy int
	live atomic.Int64
	peak atomic.Int64
}

func (h *host) Serve(st *Stream) {
	for n, peak := h.live.Add(1), h.peak.Load(); n > peak && !h.peak.CompareAndSwap(peak, n); peak = h.peak.Load() {
	}
	defer h.live.Add(-1)
	h.serve(st)
}

func (h *host) Busy(bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy++
}

func (h *host) Log(msg string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs = append(h.logs, msg)
}

func (h *host) logged() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.logs, "\n")
}

// send sends all of p, as a transport does.
func send(st *Stream, p []byte, timeout time.Duration) error {
	st.SetWriteDeadline(time.Now().Add(timeout))
	for {
		n, err := st.Send(p, nil)
		if p = p[n:]; err != nil && err != unix.EAGAIN {
			return err
		}
		if len(p) == 0 {
			return nil
		}
		if err := st.AwaitWrite(); err != nil {
			return err
		}
	}
}

// hello answers with body.
func hello(body string) func(*Stream) {
	return func(st *Stream) {
		st.SetHead(200, []byte("Content-Type: text/plain\r\nX-Empty: \r\n"), int64(len(body)))
		st.End()
		_ = send(st, []byte(body), waitLimit)
	}
}

const waitLimit = time.Minute

func config() Config {
	return Config{
		MaxStreams: 8, Requests: 1000, Preread: 64 << 10, FieldSize: 8 << 10, HeadSize: 32 << 10, Age: time.Hour,
		HeaderTimeout: waitLimit, IdleTimeout: waitLimit, SendTimeout: waitLimit, Crew: new(Crew),
	}
}

// A client is the other end, which speaks in frames.
type client struct {
	*http2.Framer
	net.Conn
	t     *testing.T
	block bytes.Buffer
	enc   *hpack.Encoder
	conn  *Conn
	host  *host
	ended chan struct{}
}

// dial runs a connection and returns its client, which has said hello.
func dial(t *testing.T, conf Config, h *host) *client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	served, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	sock := &tcp{TCPConn: served.(*net.TCPConn)}
	cl := &client{Framer: http2.NewFramer(c, c), Conn: c, t: t, host: h, ended: make(chan struct{})}
	cl.AllowIllegalWrites = true
	cl.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	cl.enc = hpack.NewEncoder(&cl.block)
	cl.conn = New(sock, h, conf)
	cl.conn.slack = 64 << 10
	cl.conn.pace.answer, cl.conn.pace.quiet = 50*time.Millisecond, time.Millisecond
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		cl.conn.Serve()
		close(cl.ended)
		_ = sock.CloseWrite()
		_ = sock.SetReadDeadline(time.Now().Add(waitLimit))
		_, _ = io.Copy(io.Discard, sock.TCPConn)
		served.Close()
	}()
	t.Cleanup(func() {
		c.Close()
		defer func() { <-closed }()
		select {
		case <-cl.ended:
		case <-time.After(waitLimit):
			t.Error("the connection did not end")
		}
	})
	return cl
}

// start is dial with a client that has sent its preface and settings.
func start(t *testing.T, conf Config, h *host, settings ...http2.Setting) *client {
	t.Helper()
	c := dial(t, conf, h)
	c.must(io.WriteString(c.Conn, http2.ClientPreface))
	c.ok(c.WriteSettings(settings...))
	return c
}

func (c *client) must(_ int, err error) { c.t.Helper(); c.ok(err) }

func (c *client) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// encode is a head of fields, "name: value" each.
func (c *client) encode(fields ...string) []byte {
	c.block.Reset()
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		c.ok(c.enc.WriteField(hpack.HeaderField{Name: name, Value: value}))
	}
	return c.block.Bytes()
}

func get(path string, more ...string) []string {
	return append([]string{":method: GET", ":scheme: http", ":path: " + path, ":authority: example.com"}, more...)
}

// ask sends a request.
func (c *client) ask(id uint32, end bool, fields ...string) {
	c.t.Helper()
	c.ok(c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(fields...), EndStream: end, EndHeaders: true}))
}

// until reads frames up to one that f wants, and fails when there is none.
func (c *client) until(what string, f func(http2.Frame) bool) {
	c.t.Helper()
	for {
		fr, err := c.ReadFrame()
		if err != nil {
			c.t.Fatalf("%s: %v; log: %s", what, err, c.host.logged())
		}
		if f(fr) {
			return
		}
	}
}

// answer reads the answer on one stream.
func (c *client) answer(id uint32) (fields map[string]string, body string) {
	c.t.Helper()
	fields = map[string]string{}
	c.until(fmt.Sprintf("answer on stream %d", id), func(f http2.Frame) bool {
		if f.Header().StreamID != id {
			return false
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			for _, hf := range f.Fields {
				fields[hf.Name] = hf.Value
			}
			return f.StreamEnded()
		case *http2.DataFrame:
			body += string(f.Data())
			return f.StreamEnded()
		case *http2.RSTStreamFrame:
			c.t.Fatalf("stream %d was reset: %v", id, f.ErrCode)
		}
		return false
	})
	return fields, body
}

// wantGoAway waits for the end of the connection, with a code.
func (c *client) wantGoAway(code http2.ErrCode) {
	c.t.Helper()
	c.until("GOAWAY", func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && g.ErrCode != code {
			c.t.Fatalf("GOAWAY with %v, want %v; log: %s", g.ErrCode, code, c.host.logged())
		}
		return ok
	})
	c.wantEnd()
}

// wantEnd waits for Serve to return.
func (c *client) wantEnd() {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(waitLimit):
		c.t.Fatalf("the connection did not end; log: %s", c.host.logged())
	}
}

func (c *client) wantReset(id uint32, code http2.ErrCode) {
	c.t.Helper()
	c.until("RST_STREAM", func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		if ok && (r.StreamID != id || r.ErrCode != code) {
			c.t.Fatalf("stream %d reset with %v, want %d with %v", r.StreamID, r.ErrCode, id, code)
		}
		return ok
	})
}
