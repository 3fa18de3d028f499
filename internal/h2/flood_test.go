package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

// A client that opens streams and gives them up at once never has more of them served
// than twice what it may have open, however slow the server is to notice.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	conf := config()
	release := make(chan struct{})
	h := &host{serve: func(*Stream) { <-release }} // does not even look whether it is reset
	c := start(t, conf, h)
	defer close(release)
	go func() { // until the server has had enough
		for id := uint32(1); ; id += 2 {
			block := []byte{0x82, 0x84, 0x86, 0x41, 1, 'a'}
			if c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}) != nil ||
				c.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	c.until("GOAWAY", func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		return ok && g.ErrCode == http2.ErrCodeEnhanceYourCalm
	})
	if peak := h.peak.Load(); peak > int64(2*conf.MaxStreams) {
		t.Errorf("%d streams were served at once, want at most %d", peak, 2*conf.MaxStreams)
	}
}

// Who serves a stream that was reset is told.
func TestResetEndsWaits(t *testing.T) {
	t.Parallel()
	ends := make(chan error, 2)
	c := start(t, config(), &host{serve: func(st *Stream) {
		_, err := st.Recv(make([]byte, 1))
		for err == unix.EAGAIN {
			_ = st.AwaitRead()
			_, err = st.Recv(make([]byte, 1))
		}
		ends <- err
		ends <- send(st, []byte("x"), waitLimit)
		if !st.HungUp() || !st.Canceled() {
			t.Error("nobody hung up")
		}
	}})
	c.ask(1, false, get("/")...)
	c.ok(c.WriteRSTStream(1, http2.ErrCodeCancel))
	for range 2 {
		if err := <-ends; !errors.Is(err, ErrReset) {
			t.Errorf("the wait ended with %v", err)
		}
	}
}

// More streams than may be are refused, and who goes on is sent away.
func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	conf := config()
	c := start(t, conf, &host{serve: func(*Stream) { <-release }})
	defer close(release)
	for id := uint32(1); id < 2*uint32(conf.MaxStreams)+2; id += 2 {
		c.ask(id, true, get("/")...)
	}
	c.wantReset(2*uint32(conf.MaxStreams)+1, http2.ErrCodeRefusedStream)
}

// A head that never ends is not read for ever.
func TestContinuationFlood(t *testing.T) {
	t.Parallel()
	for name, piece := range map[string][]byte{
		"empty":      nil,
		"of fields":  bytes.Repeat([]byte{0x40, 1, 'a', 1, 'b'}, 200),
		"from table": bytes.Repeat([]byte{0x82}, 16000), // each byte a field
		"one field":  append([]byte{0x40, 1, 'a', 0x7f, 0xff, 0xff, 0x03}, bytes.Repeat([]byte{'b'}, 16000)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, config(), &host{serve: hello("")})
			go func() { // until the server has had enough
				for err := c.WriteRawFrame(http2.FrameHeaders, 0, 1, []byte{0x82}); err == nil; {
					err = c.WriteContinuation(1, false, piece)
				}
			}()
			c.wantGoAway(http2.ErrCodeEnhanceYourCalm)
		})
	}
}

// A few bytes that stand for megabytes do not take up as much.
func TestHeadThatUnfolds(t *testing.T) {
	t.Parallel()
	c := start(t, config(), &host{serve: hello("")})
	bomb := append([]byte{0x40, 1, 'a', 0x7f, 0x81, 0x1e}, bytes.Repeat([]byte{'b'}, 127+0x1e<<7+1)...) // into the table
	bomb = append(bomb, bytes.Repeat([]byte{0x80 | 62}, 10000)...)                                      // and out of it again and again
	c.ok(c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: bomb, EndHeaders: true, EndStream: true}))
	c.wantGoAway(http2.ErrCodeEnhanceYourCalm)
	if n := cap(c.conn.head.lines); n > 4*config().HeadSize {
		t.Errorf("%d bytes were put together", n)
	}
	if c.conn.head.size < 10000*3000 {
		t.Errorf("the bomb is one of %d bytes", c.conn.head.size)
	}
}

// Who makes us answer and does not read the answers is cut off before they fill the
// memory, and who sends frames that carry nothing is cut off, too.
func TestFloodsOfControlFrames(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(c *client) error{
		"ping":       func(c *client) error { return c.WritePing(false, [8]byte{1}) },
		"settings":   func(c *client) error { return c.WriteSettings() },
		"empty data": func(c *client) error { return c.WriteData(1, false, nil) },
		"priority":   func(c *client) error { return c.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
		"window":     func(c *client) error { return c.WriteWindowUpdate(1, 1) },
		"unknown":    func(c *client) error { return c.WriteRawFrame(0x42, 0, 1, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := config()
			conf.SendTimeout = 200 * time.Millisecond
			release := make(chan struct{})
			free := sync.OnceFunc(func() { close(release) })
			defer free() // or the connection never ends when the test fails
			c := start(t, conf, &host{serve: func(*Stream) { <-release }})
			c.ask(1, false, get("/")...)
			var frames bytes.Buffer
			one := &client{Framer: http2.NewFramer(&frames, nil)}
			for frames.Len() < 64<<10 {
				c.ok(write(one))
			}
			var sent sync.WaitGroup
			sent.Go(func() {
				for n, err := 1, error(nil); n > 0 && err == nil; {
					n, err = c.Conn.Write(frames.Bytes())
				}
			})
			c.waitFor("the end of a flood", func() bool { return c.lost() != nil })
			free()
			c.wantEnd()
			c.Conn.Close()
			sent.Wait()
		})
	}
}

// waitFor waits until ok.
func (c *client) waitFor(what string, ok func() bool) {
	c.t.Helper()
	testbed.WaitFor(c.t, what, ok)
}

// lost is why the connection is lost, nil as long as it is not.
func (c *client) lost() error {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	return c.conn.fault
}

// A client that says nothing, or not enough, does not stay.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		say  func(c *client)
		code http2.ErrCode
	}{
		"nothing":      {func(*client) {}, http2.ErrCodeProtocol},
		"half a hello": {func(c *client) { c.must(io.WriteString(c.Conn, http2.ClientPreface[:9])) }, http2.ErrCodeProtocol},
		"half a frame": {func(c *client) { c.hello(); c.must(c.Conn.Write([]byte{0, 0, 8})) }, http2.ErrCodeProtocol},
		"half a head":  {func(c *client) { c.hello(); c.ok(c.WriteRawFrame(http2.FrameHeaders, 0, 1, []byte{0x82})) }, http2.ErrCodeProtocol},
		"no request":   {func(c *client) { c.hello() }, 0},
		"one request":  {func(c *client) { c.hello(); c.ask(1, true, get("/")...); c.answer(1) }, 0},
		"half a body":  {func(c *client) { c.hello(); c.ask(1, false, get("/")...); c.answer(1) }, 0},
		"only its ping": {func(c *client) {
			c.hello()
			c.ask(1, true, get("/")...)
			c.answer(1)
			c.ok(c.WritePing(false, [8]byte{}))
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := config()
			conf.HeaderTimeout, conf.IdleTimeout = time.Second, time.Second // enough for a busy machine to say it
			cl := dial(t, conf, &host{serve: hello("x")})
			cl.setPace(pace{answer: time.Millisecond, whole: time.Second})
			c.say(cl)
			cl.wantGoAway(c.code)
		})
	}
}

func (c *client) hello() {
	c.must(io.WriteString(c.Conn, http2.ClientPreface))
	c.ok(c.WriteSettings())
}

// An idle time-out does not end a connection on which something is served.
func TestBusyConnectionIsNotIdle(t *testing.T) {
	t.Parallel()
	conf := config()
	conf.IdleTimeout = time.Second // the client asks before that
	release := make(chan struct{})
	c := start(t, conf, &host{serve: func(st *Stream) {
		<-release
		hello("late")(st)
	}})
	c.ask(1, true, get("/")...)
	c.ok(c.WritePing(false, [8]byte{1}))
	c.until("ping", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	timer := time.AfterFunc(2*conf.IdleTimeout, func() { close(release) })
	defer timer.Stop()
	if _, body := c.answer(1); body != "late" {
		t.Errorf("body %q", body)
	}
	c.wantGoAway(http2.ErrCodeNo)
}

// Whatever comes, the connection ends when the client has closed it.
func FuzzServe(f *testing.F) {
	var frames bytes.Buffer
	c := &client{Framer: http2.NewFramer(&frames, nil)}
	_ = c.WriteSettings()
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82, 0x84, 0x86, 0x41, 1, 'a'}, EndHeaders: true})
	_ = c.WriteData(1, true, []byte("body"))
	_ = c.WriteWindowUpdate(1, 100)
	_ = c.WritePing(false, [8]byte{1})
	f.Add(frames.Bytes())
	f.Add([]byte(strings.Repeat("\x00", 100)))
	f.Fuzz(func(t *testing.T, frames []byte) {
		server, client := net.Pipe()
		var sent sync.WaitGroup
		sent.Go(func() {
			_, _ = io.WriteString(client, http2.ClientPreface)
			_, _ = client.Write(frames)
			client.Close()
		})
		sent.Go(func() { _, _ = io.Copy(io.Discard, client) })
		New(&pipe{server}, &host{serve: echo}, config()).Serve()
		server.Close()
		sent.Wait()
	})
}

// A pipe is a Socket that never takes anything without waiting.
type pipe struct{ net.Conn }

func (p *pipe) Buffered() bool { return false }
func (p *pipe) Read(b []byte, _ time.Duration) (int, error) {
	return p.Conn.Read(b)
}
func (p *pipe) WriteNow([]byte) (int, error) { return 0, nil }
func (p *pipe) Write(b []byte, _ time.Duration) error {
	_, err := p.Conn.Write(b)
	return err
}
func (p *pipe) Interrupt() { _ = p.SetReadDeadline(time.Unix(1, 0)) }

// Of a setting that a frame has several times the last value counts, and only that: what
// is between costs nothing and is no fault.
func TestSettingsGivenTwice(t *testing.T) {
	t.Parallel()
	stay := make(chan struct{})
	c := start(t, config(), &host{serve: func(*Stream) { <-stay }})
	t.Cleanup(func() { close(stay) })
	c.ask(1, true, get("/")...)
	c.ok(c.WriteWindowUpdate(1, 100)) // with which the largest initial window would be too large
	var settings []http2.Setting
	for i := range uint32(2000) {
		settings = append(settings, http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow - i})
	}
	settings = append(settings, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 70000})
	before := c.charged()
	c.ok(c.WriteSettings(settings...))
	c.ok(c.WritePing(false, [8]byte{1}))
	c.until("ping", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	c.conn.mu.Lock()
	window := c.conn.streams[1].sendWindow
	c.conn.mu.Unlock()
	if window != 70000+100 {
		t.Errorf("the window is %d", window)
	}
	if most := before + int64(6*len(settings)) + 20*frameHeader + streamCost; c.charged() > most {
		t.Errorf("the frame was charged as %d bytes, want at most %d", c.charged(), most)
	}
}

// charged is what the connection's frames have cost so far, of one that reads nothing.
func (c *client) charged() int64 {
	c.ok(c.WritePing(false, [8]byte{2}))
	c.until("ping", func(f http2.Frame) bool { p, ok := f.(*http2.PingFrame); return ok && p.Data[0] == 2 })
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	return c.conn.total
}

// More SETTINGS than some in each second are a flood.
func TestSettingsOften(t *testing.T) {
	t.Parallel()
	c := New(nil, nil, config())
	now := time.Unix(1000, 0)
	for second := range 3 {
		for n := 1; n <= 150; n++ {
			if got := c.often(now); got != (n > 100) {
				t.Fatalf("frame %d of second %d: %v", n, second, got)
			}
		}
		now = now.Add(1001 * time.Millisecond)
	}
}

// Windows that are opened a byte at a time for many streams that wait for more are a
// flood long before their frames have come to much.
func TestWindowsInSmallPieces(t *testing.T) {
	t.Parallel()
	c := start(t, config(), &host{serve: func(st *Stream) {
		st.SetHead(200, nil, -1)
		_ = send(st, make([]byte, 1<<20), waitLimit)
	}})
	c.ok(c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	for id := uint32(1); id < 16; id += 2 {
		c.ask(id, true, get("/")...)
	}
	content := 0
	for frames := 0; ; frames++ {
		if frames == 30000 {
			t.Fatal("it may go on for ever")
		}
		f, err := c.ReadFrame()
		for err == nil {
			if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode == http2.ErrCodeEnhanceYourCalm {
				return
			}
			if d, ok := f.(*http2.DataFrame); ok {
				content += len(d.Data())
				break
			}
			f, err = c.ReadFrame()
		}
		c.ok(err)
		if content >= initialWindow { // what the client gave at first is used up
			c.ok(c.WriteWindowUpdate(0, 1))
		}
	}
}
