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

const waitLimit = 10 * time.Second

func config() Config {
	return Config{
		MaxStreams: 8, Requests: 1000, Preread: 64 << 10, FieldSize: 8 << 10, HeadSize: 32 << 10,
		HeaderTimeout: waitLimit, IdleTimeout: waitLimit, SendTimeout: waitLimit,
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

func TestAnswersRequests(t *testing.T) {
	t.Parallel()
	var heads sync.Map
	c := start(t, config(), &host{serve: func(st *Stream) {
		heads.Store(st.id, string(st.Head()))
		hello("hello")(st)
	}})
	c.ask(1, true, get("/a", "cookie: a=b", "x-y: z", "cookie: c=d")...)
	c.ask(3, true, get("/b")...)
	for _, id := range []uint32{1, 3} {
		if id == 3 {
			c.ask(5, true, get("/c")...)
			id = 5
		}
		fields, body := c.answer(id)
		if fields[":status"] != "200" || fields["content-type"] != "text/plain" || body != "hello" {
			t.Errorf("stream %d: %v, %q", id, fields, body)
		}
		if v, ok := fields["x-empty"]; !ok || v != "" {
			t.Errorf("stream %d: an empty field came as %q, %v", id, v, ok)
		}
	}
	want := "GET /a HTTP/1.1\r\nhost: example.com\r\nx-y: z\r\ncookie: a=b; c=d\r\n\r\n"
	if got, _ := heads.Load(uint32(1)); got != want {
		t.Errorf("head %q, want %q", got, want)
	}
}

// echo answers with the body.
func echo(st *Stream) {
	st.SetHead(200, nil, -1)
	buf := make([]byte, 3000)
	for {
		n, err := st.Recv(buf)
		switch {
		case err == unix.EAGAIN:
			if st.AwaitRead() != nil {
				return
			}
		case err == io.EOF:
			st.End()
			_, _ = st.Send(nil, nil)
			return
		case err != nil || send(st, buf[:n], waitLimit) != nil:
			return
		}
	}
}

// A body much larger than any window comes, and goes back, whole.
func TestLargeBodiesBothWays(t *testing.T) {
	t.Parallel()
	conf := config()
	conf.Preread = 0 // nothing may come before it is wanted
	c := start(t, conf, &host{serve: echo})
	body := bytes.Repeat([]byte("0123456789abcdef"), 128<<10)
	c.until("settings", func(f http2.Frame) bool { _, ok := f.(*http2.SettingsFrame); return ok })
	c.ok(c.WriteSettingsAck())
	c.ask(1, false, get("/")...)
	var got []byte
	left, window, connWindow := body, 0, 65535
	for len(got) < len(body) {
		f, err := c.ReadFrame()
		c.ok(err)
		switch f := f.(type) {
		case *http2.DataFrame:
			got = append(got, f.Data()...)
			if f.Length > 0 {
				c.ok(c.WriteWindowUpdate(0, f.Length))
				c.ok(c.WriteWindowUpdate(1, f.Length))
			}
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				connWindow += int(f.Increment)
			} else {
				window += int(f.Increment)
			}
		}
		for n := min(len(left), window, connWindow, 16<<10); n > 0; n = min(len(left), window, connWindow, 16<<10) {
			c.ok(c.WriteData(1, n == len(left), left[:n]))
			left, window, connWindow = left[n:], window-n, connWindow-n
		}
	}
	if !bytes.Equal(got, body) {
		t.Error("what came back is something else")
	}
}

// Nothing but the head goes out while the client's window is shut.
func TestWindowThatIsShut(t *testing.T) {
	t.Parallel()
	c := start(t, config(), &host{serve: hello("hello")}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	c.ask(1, true, get("/")...)
	c.until("head", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
	c.ok(c.WritePing(false, [8]byte{1}))
	c.until("ping", func(f http2.Frame) bool {
		if d, ok := f.(*http2.DataFrame); ok {
			t.Fatalf("%d bytes came into no window", len(d.Data()))
		}
		_, ok := f.(*http2.PingFrame)
		return ok
	})
	c.ok(c.WriteWindowUpdate(1, 2))
	c.until("two bytes", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok && string(d.Data()) != "he" {
			t.Errorf("got %q", d.Data())
		}
		return ok
	})
	c.ok(c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	c.until("the rest", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok && (string(d.Data()) != "llo" || !d.StreamEnded()) {
			t.Errorf("got %q", d.Data())
		}
		return ok
	})
}

// A client that takes nothing for longer than the time-out costs the stream.
func TestClientThatTakesNothing(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	c := start(t, config(), &host{serve: func(st *Stream) {
		st.SetHead(200, nil, 5)
		failed <- send(st, []byte("hello"), 20*time.Millisecond)
	}}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	c.ask(1, true, get("/")...)
	c.wantReset(1, http2.ErrCodeInternal)
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("sending came to %v", err)
	}
}

// A client that does not even read costs the connection.
func TestClientThatReadsNothing(t *testing.T) {
	t.Parallel()
	conf := config()
	conf.SendTimeout = 50 * time.Millisecond
	c := start(t, conf, &host{serve: hello(strings.Repeat("x", 64<<20))}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	c.ok(c.WriteWindowUpdate(0, 1<<31-1-65535))
	c.ask(1, true, get("/")...)
	c.wantEnd()
}

// What the client must know of us: frames that it may not send, and what it is told.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	const protocol, flow, size, compression, calm = http2.ErrCodeProtocol, http2.ErrCodeFlowControl,
		http2.ErrCodeFrameSize, http2.ErrCodeCompression, http2.ErrCodeEnhanceYourCalm
	for name, c := range map[string]struct {
		send func(c *client)
		code http2.ErrCode
	}{
		"even stream":           {func(c *client) { c.ask(2, true, get("/")...) }, protocol},
		"stream 0":              {func(c *client) { c.ask(0, true, get("/")...) }, protocol},
		"data on stream 0":      {func(c *client) { c.ok(c.WriteData(0, true, nil)) }, protocol},
		"data on idle stream":   {func(c *client) { c.ok(c.WriteData(1, true, nil)) }, protocol},
		"reset of idle stream":  {func(c *client) { c.ok(c.WriteRSTStream(1, 8)) }, protocol},
		"window of idle stream": {func(c *client) { c.ok(c.WriteWindowUpdate(1, 8)) }, protocol},
		"window too large":      {func(c *client) { c.ok(c.WriteWindowUpdate(0, 1<<31-1)) }, flow},
		"window of 0":           {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4))) }, protocol},
		"initial window":        {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{0, 4, 255, 255, 255, 255})) }, flow},
		"settings of odd size":  {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5))) }, size},
		"ping of odd size":      {func(c *client) { c.ok(c.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 5))) }, size},
		"too large frame":       {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 16385))) }, size},
		"push promise":          {func(c *client) { c.ok(c.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4))) }, protocol},
		"lonely continuation":   {func(c *client) { c.ok(c.WriteContinuation(1, true, nil)) }, protocol},
		"dependency on itself":  {func(c *client) { c.ok(c.WriteRawFrame(http2.FramePriority, 0, 1, []byte{0, 0, 0, 1, 9})) }, protocol},
		"no header block":       {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0x80})) }, compression},
		"half a header block":   {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0x40, 5, 'a'})) }, compression},
		"too large field":       {func(c *client) { c.ask(1, true, get("/", "x: "+strings.Repeat("y", 9000))...) }, calm},
		"older stream":          {func(c *client) { c.ask(3, true, get("/")...); c.ask(1, true, get("/")...) }, protocol},
		"something between": {func(c *client) {
			c.ok(c.WriteRawFrame(http2.FrameHeaders, 1, 1, nil))
			c.ok(c.WritePing(false, [8]byte{}))
		}, protocol},
		"no settings at the top": {nil, protocol},
		"no preface":             {nil, protocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := dial(t, config(), &host{serve: hello("")})
			switch {
			case c.send != nil:
				cl.must(io.WriteString(cl.Conn, http2.ClientPreface))
				cl.ok(cl.WriteSettings())
				c.send(cl)
			case name == "no preface":
				cl.must(io.WriteString(cl.Conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
			default:
				cl.must(io.WriteString(cl.Conn, http2.ClientPreface))
				cl.ok(cl.WritePing(false, [8]byte{}))
			}
			cl.wantGoAway(c.code)
		})
	}
}

// Faults of one stream leave the others alone.
func TestBadStreams(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		send func(c *client)
		code http2.ErrCode
	}{
		"window of 0": {func(c *client) {
			c.ask(1, false, get("/")...)
			c.ok(c.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4)))
		}, http2.ErrCodeProtocol},
		"window too large": {func(c *client) {
			c.ask(1, false, get("/")...)
			c.ok(c.WriteWindowUpdate(1, 1<<31-1))
		}, http2.ErrCodeFlowControl},
		"more than the window": {func(c *client) {
			c.ask(1, false, get("/")...)
			for range 5 {
				c.ok(c.WriteData(1, false, make([]byte, 16384)))
			}
		}, http2.ErrCodeFlowControl},
		"data behind the end": {func(c *client) {
			c.ask(1, true, get("/")...)
			c.ok(c.WriteData(1, false, make([]byte, 1)))
		}, http2.ErrCodeStreamClosed},
		"dependency on itself": {func(c *client) {
			c.ok(c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(get("/")...), EndStream: true,
				EndHeaders: true, Priority: http2.PriorityParam{StreamDep: 1}}))
		}, http2.ErrCodeProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stay := make(chan struct{})
			cl := start(t, config(), &host{serve: func(st *Stream) {
				if st.id == 1 {
					<-stay
				}
				hello("fine")(st)
			}})
			t.Cleanup(func() { close(stay) })
			c.send(cl)
			cl.wantReset(1, c.code)
			cl.ask(3, true, get("/")...)
			if _, body := cl.answer(3); body != "fine" {
				t.Errorf("the next stream was answered with %q", body)
			}
		})
	}
}

func TestFaultsOfHeads(t *testing.T) {
	t.Parallel()
	for text, fields := range map[string][]string{
		"client sent no :method header":                              get("/")[1:],
		"client sent no :path header":                                {":method: GET", ":scheme: http"},
		"client sent empty :path header":                             {":method: GET", ":scheme: http", ":path: "},
		"client sent no :scheme header":                              {":method: GET", ":path: /"},
		"client sent duplicate :path header":                         get("/", ":path: /"),
		"client sent unknown pseudo-header \":foo\"":                 get("/", ":foo: /"),
		"client sent invalid method: \"GE T\"":                       {":method: GE T", ":scheme: http", ":path: /"},
		"client sent invalid :path header: \"/ HTTP/1.1\"":           {":method: GET", ":scheme: http", ":path: / HTTP/1.1"},
		"client sent invalid :path header: \"*\"":                    {":method: GET", ":scheme: http", ":path: *"},
		"client sent invalid :scheme header: \"a b\"":                {":method: GET", ":scheme: a b", ":path: /"},
		"client sent invalid header name: \"Foo\"":                   get("/", "Foo: bar"),
		"client sent invalid header name: \"foo\r\nbar\"":            get("/", "foo\r\nbar: bar"),
		"client sent header \"foo\" with invalid value: \"a\r\nb\"":  get("/", "foo: a\r\nb"),
		"client sent header \"cookie\" with invalid value: \"a\nb\"": get("/", "cookie: a\nb"),
		"client sent header \":authority\" with invalid value: \"a\r\nb\"": {":method: GET", ":scheme: http", ":path: /",
			":authority: a\r\nb"},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			c := start(t, config(), &host{serve: func(st *Stream) {
				fault, _ := st.Fault()
				got <- fault
				hello("")(st)
			}})
			c.ask(1, true, fields...)
			if fault := <-got; fault != text {
				t.Errorf("fault %q", fault)
			}
		})
	}
}
