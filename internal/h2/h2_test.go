package h2

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

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
		"even stream":            {func(c *client) { c.ask(2, true, get("/")...) }, protocol},
		"stream 0":               {func(c *client) { c.ask(0, true, get("/")...) }, protocol},
		"data on stream 0":       {func(c *client) { c.ok(c.WriteData(0, true, nil)) }, protocol},
		"data on idle stream":    {func(c *client) { c.ok(c.WriteData(1, true, nil)) }, protocol},
		"reset of idle stream":   {func(c *client) { c.ok(c.WriteRSTStream(1, 8)) }, protocol},
		"window of idle stream":  {func(c *client) { c.ok(c.WriteWindowUpdate(1, 8)) }, protocol},
		"window too large":       {func(c *client) { c.ok(c.WriteWindowUpdate(0, 1<<31-1)) }, flow},
		"window of 0":            {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4))) }, protocol},
		"initial window":         {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{0, 4, 255, 255, 255, 255})) }, flow},
		"settings of odd size":   {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5))) }, size},
		"ping of odd size":       {func(c *client) { c.ok(c.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 5))) }, size},
		"too large frame":        {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 16385))) }, size},
		"empty head":             {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 5, 1, nil)) }, size},
		"head of half its flags": {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 0x2d, 1, make([]byte, 6))) }, size},
		"head of padding":        {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 0x0d, 1, []byte{200, 0x82})) }, protocol},
		"data without padding":   {func(c *client) { c.ask(1, false, get("/")...); c.ok(c.WriteRawFrame(http2.FrameData, 8, 1, nil)) }, size},
		"data of padding": {func(c *client) {
			c.ask(1, false, get("/")...)
			c.ok(c.WriteRawFrame(http2.FrameData, 8, 1, []byte{2, 'a'}))
		}, protocol},
		"window of 0 of a closed stream": {func(c *client) {
			c.ask(1, true, get("/")...)
			c.answer(1)
			c.ok(c.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4)))
		}, protocol},
		"empty push promise":   {func(c *client) { c.ok(c.WriteRawFrame(http2.FramePushPromise, 8, 1, nil)) }, protocol},
		"push promise":         {func(c *client) { c.ok(c.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4))) }, protocol},
		"lonely continuation":  {func(c *client) { c.ok(c.WriteContinuation(1, true, nil)) }, protocol},
		"dependency on itself": {func(c *client) { c.ok(c.WriteRawFrame(http2.FramePriority, 0, 1, []byte{0, 0, 0, 1, 9})) }, protocol},
		"no header block":      {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0x80})) }, compression},
		"half a header block":  {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0x40, 5, 'a'})) }, size},
		"no name":              {func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 5, 1, []byte{0x40, 0, 1, 'a'})) }, protocol},
		"too much priority": {func(c *client) {
			for range 100 + 1 {
				c.ok(c.WritePriority(1, http2.PriorityParam{StreamDep: 3}))
			}
		}, calm},
		"too many settings": {func(c *client) {
			for c.lost() == nil {
				_ = c.WriteSettings()
			}
		}, calm},
		"too large field": {func(c *client) { c.ask(1, true, get("/", "x: "+strings.Repeat("y", 9000))...) }, calm},
		"older stream":    {func(c *client) { c.ask(3, true, get("/")...); c.ask(1, true, get("/")...) }, protocol},
		"something between": {func(c *client) {
			c.ok(c.WriteRawFrame(http2.FrameHeaders, 1, 1, []byte{0x82}))
			c.ok(c.WritePing(false, [8]byte{}))
		}, protocol},
		"dependency of a head on itself": {func(c *client) {
			c.ok(c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(get("/")...), EndStream: true,
				EndHeaders: true, Priority: http2.PriorityParam{StreamDep: 1}}))
		}, protocol},
		"no preface": {nil, protocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := dial(t, config(), &host{serve: hello("")})
			if c.send != nil {
				cl.must(io.WriteString(cl.Conn, http2.ClientPreface))
				cl.ok(cl.WriteSettings())
				c.send(cl)
			} else {
				cl.must(io.WriteString(cl.Conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
			}
			cl.wantGoAway(c.code)
		})
	}
}

// A client that sends no SETTINGS of its own is served, as nginx does.
func TestClientWithoutSettings(t *testing.T) {
	t.Parallel()
	c := dial(t, config(), &host{serve: hello("hello")})
	c.must(io.WriteString(c.Conn, http2.ClientPreface))
	c.ask(1, true, get("/")...)
	if _, body := c.answer(1); body != "hello" {
		t.Errorf("got %q", body)
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
		"data behind the client's reset": {func(c *client) {
			c.ask(1, true, get("/")...)
			c.ok(c.WriteRSTStream(1, http2.ErrCodeCancel))
			c.ok(c.WriteData(1, false, make([]byte, 1)))
		}, http2.ErrCodeStreamClosed},
		"data behind the end": {func(c *client) {
			c.ask(1, true, get("/")...)
			c.ok(c.WriteData(1, false, make([]byte, 1)))
		}, http2.ErrCodeStreamClosed},
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

// What is wrong with a head is said in nginx's words, and answered; the reset behind the
// answer is for who has to mend the client.
func TestFaultsOfHeads(t *testing.T) {
	t.Parallel()
	for text, fields := range map[string][]string{
		"client sent no :method header":                                               get("/")[1:],
		"client sent no :path header":                                                 {":method: GET", ":scheme: http", "a: b"},
		"client sent empty :path header":                                              {":method: GET", ":scheme: http", ":path: "},
		"client sent no :scheme header":                                               {":method: GET", ":path: /"},
		"client sent duplicate :path header":                                          get("/", ":path: /"),
		"client sent duplicate \":authority\" header":                                 get("/", ":authority: a"),
		"client sent unknown pseudo-header \":foo\"":                                  get("/", ":foo: /"),
		"client sent out of order pseudo-headers":                                     append(get("/", "a: b"), ":path: /"),
		"client sent invalid method: \"GE T\"":                                        {":method: GE T", ":scheme: http", ":path: /"},
		"client sent invalid :path header: \"/ HTTP/1.1\"":                            {":method: GET", ":scheme: http", ":path: / HTTP/1.1"},
		"client sent invalid :path header: \"*\"":                                     {":method: GET", ":scheme: http", ":path: *"},
		"client sent invalid :scheme header: \"a b\"":                                 {":method: GET", ":scheme: a b", ":path: /"},
		"client sent invalid header name: \"Foo\"":                                    get("/", "Foo: bar"),
		"client sent invalid header name: \"fo:o\"":                                   get("/", "fo:o: bar"),
		"client sent invalid header name: \"fo o\"":                                   get("/", "fo o: bar"),
		"client sent invalid header name: \"foo\r\nbar\"":                             get("/", "foo\r\nbar: bar"),
		"client sent header \"foo\" with invalid value: \"a\r\nb\"":                   get("/", "foo: a\r\nb"),
		"client sent header \"cookie\" with invalid value: \"a\nb\"":                  get("/", "cookie: a\nb"),
		"client sent header \":authority\" with invalid value: \"a\r\nb\"":            {":method: GET", ":scheme: http", ":authority: a\r\nb"},
		"client sent \"Connection\" header":                                           get("/", "connection: close"),
		"client sent \"Keep-Alive\" header":                                           get("/", "keep-alive: timeout=1"),
		"client sent \"Transfer-Encoding\" header":                                    get("/", "transfer-encoding: chunked"),
		"client sent \"Upgrade\" header":                                              get("/", "upgrade: websocket"),
		"client sent invalid \"TE\" header":                                           get("/", "te: gzip"),
		"client sent neither \":authority\" nor \"Host\" header":                      get("/")[:3],
		"client sent \":authority\" and \"Host\" headers with different values":       get("/", "host: a"),
		"client sent duplicate host header: \"host: b\", previous value: \"host: a\"": append(get("/")[:3], "host: a", "host: b"),
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			c := start(t, config(), &host{serve: func(st *Stream) {
				fault, _ := st.Fault()
				st.Malformed()
				got <- fault
				hello("")(st)
			}})
			c.ask(1, true, fields...)
			if fault := <-got; fault != text {
				t.Errorf("fault %q", fault)
			}
			c.answer(1)
			c.wantReset(1, http2.ErrCodeProtocol)
		})
	}
}

// What a head may have and HTTP/1 would not: a host that is there twice and the same,
// "te: trailers", cookies in crumbs.
func TestHeadsThatAreFine(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"host: example.com", "te: trailers", "cookie: a"} {
		got := make(chan string, 1)
		c := start(t, config(), &host{serve: func(st *Stream) {
			fault, _ := st.Fault()
			got <- fault + string(st.Head())
			hello("")(st)
		}})
		c.ask(1, true, get("/", more)...)
		want := "GET / HTTP/1.1\r\nhost: example.com\r\n"
		if !strings.HasPrefix(more, "host") {
			want += more + "\r\n"
		}
		if head := <-got; head != want+"\r\n" {
			t.Errorf("with %q the head is %q", more, head)
		}
	}
}

// A body that is not as long as its head says makes the request malformed, however it is
// answered; so does a trailer with what is no trailer's.
func TestBodiesOfAnotherLength(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(c *client){
		"longer":   func(c *client) { c.ok(c.WriteData(1, true, []byte("hello!"))) },
		"shorter":  func(c *client) { c.ok(c.WriteData(1, true, []byte("hell"))) },
		"open":     func(c *client) { c.ok(c.WriteData(1, false, []byte("hello!"))) },
		"trailer":  func(c *client) { c.ok(c.WriteData(1, false, []byte("hell"))); c.ask(1, true, "a: b") },
		"pseudo":   func(c *client) { c.ok(c.WriteData(1, false, []byte("hello"))); c.ask(1, true, ":path: /") },
		"odd name": func(c *client) { c.ok(c.WriteData(1, false, []byte("hello"))); c.ask(1, true, "a b: c") },
		"host's":   func(c *client) { c.ok(c.WriteData(1, false, []byte("hello"))); c.ask(1, true, "connection: close") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			c := start(t, config(), &host{serve: func(st *Stream) {
				<-release
				hello("x")(st)
			}})
			c.ask(1, false, get("/", "content-length: 5")...)
			send(c)
			c.ok(c.WritePing(false, [8]byte{1}))
			released := false
			c.until("reset", func(f http2.Frame) bool {
				if _, ok := f.(*http2.PingFrame); ok && !released {
					released = true
					close(release)
				}
				r, ok := f.(*http2.RSTStreamFrame)
				if ok && r.ErrCode != http2.ErrCodeProtocol {
					t.Errorf("reset with %v", r.ErrCode)
				}
				return ok
			})
			if !released {
				close(release)
			}
		})
	}
}
