package h2

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// untilWord reads up to a GOAWAY that names last, and checks its code.
func (c *client) untilWord(last uint32) {
	c.t.Helper()
	c.until("GOAWAY", func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && (g.LastStreamID != last || g.ErrCode != http2.ErrCodeNo) {
			c.t.Errorf("got %v, want stream %d", g, last)
		}
		return ok
	})
}

const noStream = 1<<31 - 1

// A connection that retires says so twice. A request that crosses the first word is
// served, also one that comes behind the client's answer to the PING: the client may
// have begun it before it heard.
func TestRetireServesWhatCrosses(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := start(t, config(), &host{serve: func(st *Stream) {
		if string(st.Head()[:6]) == "GET /s" {
			<-release
		}
		hello("served")(st)
	}})
	c.setPace(pace{answer: time.Hour, quiet: time.Hour, whole: time.Hour})
	c.ask(1, true, get("/slow")...)
	c.until("settings", func(f http2.Frame) bool { _, ok := f.(*http2.SettingsFrame); return ok })
	c.conn.Retire()
	c.untilWord(noStream)
	c.ask(3, true, get("/crossing")...)
	if _, body := c.answer(3); body != "served" {
		t.Errorf("a request that crossed the first word got %q", body)
	}
	c.ok(c.WritePing(true, retirePing))
	c.ask(5, true, get("/late")...)
	if _, body := c.answer(5); body != "served" {
		t.Errorf("a request behind the answer to the PING got %q", body)
	}
	close(release)
	if _, body := c.answer(1); body != "served" {
		t.Errorf("the request under way got %q", body)
	}
	c.ask(7, true, get("/again")...)
	if _, body := c.answer(7); body != "served" {
		t.Errorf("a request while nothing else was open got %q", body)
	}
}

// setPace makes a retirement slower or faster than usual.
func (c *client) setPace(p pace) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.pace = p
}

// patient makes a retirement wait for the client's answer.
func (c *client) patient() {
	c.setPace(pace{answer: time.Hour, quiet: time.Millisecond, whole: time.Hour})
}

// What comes behind the last word is refused, so that the client may try it elsewhere; a
// request from before it is served to its end, and then the connection ends.
func TestRetireRefusesWhatIsTooLate(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := start(t, config(), &host{serve: func(st *Stream) {
		<-release
		hello("served")(st)
	}})
	c.setPace(pace{answer: time.Hour, quiet: time.Millisecond, whole: 50 * time.Millisecond})
	c.ask(1, true, get("/")...)
	c.until("settings", func(f http2.Frame) bool { _, ok := f.(*http2.SettingsFrame); return ok })
	c.ok(c.WritePing(false, [8]byte{1}))
	c.until("ping", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	c.conn.Retire()
	c.untilWord(noStream)
	c.ok(c.WritePing(true, retirePing))
	c.untilWord(1)
	c.ask(3, true, get("/late")...)
	c.wantReset(3, http2.ErrCodeRefusedStream)
	close(release)
	if _, body := c.answer(1); body != "served" {
		t.Errorf("the request under way got %q", body)
	}
	c.wantEnd()
}

// When the last word may be said depends on what the client has said, on what is open,
// and on what came since.
func TestWhenARetirementIsOver(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.UnixMilli(int64(1000000 + ms)) }
	p := pace{answer: 3000 * time.Millisecond, quiet: 200 * time.Millisecond, whole: 15000 * time.Millisecond}
	for name, c := range map[string]struct {
		conn func(c *Conn)
		left int
	}{
		"not heard":               {func(*Conn) {}, 2000},
		"heard":                   {func(c *Conn) { c.heardAt = at(950) }, 150},
		"heard long ago":          {func(c *Conn) { c.heardAt = at(100) }, -700},
		"a request since":         {func(c *Conn) { c.heardAt, c.idleSince = at(100), at(990) }, 190},
		"an unheard request":      {func(c *Conn) { c.idleSince = at(900) }, 2900},
		"open":                    {func(c *Conn) { c.heardAt, c.live = at(100), 1 }, 14000},
		"half a frame":            {func(c *Conn) { c.heardAt, c.midFrame = at(100), true }, 200},
		"half a frame at the end": {func(c *Conn) { c.retiredAt, c.heardAt, c.midFrame = at(-13900), at(100), true }, 100},
		"the whole is over":       {func(c *Conn) { c.retiredAt, c.heardAt, c.live = at(-14000), at(100), 1 }, 0},
	} {
		conn := &Conn{retirement: retirement{pace: p, retiring: true, retiredAt: at(0)}}
		c.conn(conn)
		if left := conn.unsettled(at(1000)); left != time.Duration(c.left)*time.Millisecond {
			t.Errorf("%s: %v left, want %d ms", name, left, c.left)
		}
	}
}

// An idle connection retires soon after the client knows; one that has been idle for as
// long as it may does so by itself, and serves what crosses its good-bye.
func TestRetireOfAnIdleConnection(t *testing.T) {
	t.Parallel()
	for _, byItself := range []bool{false, true} {
		conf := config()
		if byItself {
			conf.IdleTimeout = time.Millisecond
		}
		c := start(t, conf, &host{serve: hello("x")})
		c.patient()
		c.ask(1, true, get("/")...)
		c.answer(1)
		if !byItself {
			c.conn.Retire()
		}
		c.untilWord(noStream)
		c.ask(3, true, get("/")...)
		c.answer(3)
		c.ok(c.WritePing(true, retirePing))
		c.untilWord(3)
		c.wantEnd()
	}
}

// Retire is also for a connection that has said nothing yet.
func TestRetireBeforeTheFirstFrame(t *testing.T) {
	t.Parallel()
	c := dial(t, config(), &host{serve: hello("x")})
	c.patient()
	c.conn.Retire()
	c.hello()
	first := true
	c.until("ping", func(f http2.Frame) bool {
		if _, ok := f.(*http2.SettingsFrame); first && !ok {
			t.Errorf("the first frame is %v", f)
		}
		first = false
		_, ok := f.(*http2.PingFrame)
		return ok
	})
	c.ask(1, true, get("/")...)
	c.answer(1)
	c.ok(c.WritePing(true, retirePing))
	c.wantEnd()
}

// A client that does not answer the PING and goes on is served a while longer.
func TestRetireOfAClientThatDoesNotListen(t *testing.T) {
	t.Parallel()
	c := start(t, config(), &host{serve: hello("x")})
	c.patient()
	c.conn.Retire()
	last := uint32(0)
	for id := uint32(1); last == 0 && id < 1000; id += 2 {
		c.ask(id, true, get("/")...)
		c.until("answer", func(f http2.Frame) bool {
			if g, ok := f.(*http2.GoAwayFrame); ok && g.LastStreamID < 1<<31-1 {
				last = g.LastStreamID
			}
			if r, ok := f.(*http2.RSTStreamFrame); ok {
				return r.StreamID == id
			}
			d, ok := f.(*http2.DataFrame)
			return ok && d.StreamID == id && d.StreamEnded()
		})
	}
	if last == 0 {
		t.Fatal("it may go on for ever")
	}
	c.wantEnd()
}

// After as many requests as there may be the client is asked to open a connection; where
// none is to be kept after the first.
func TestRequestsInAll(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"requests": func(c *Config) { c.Requests = 2 },
		"age":      func(c *Config) { c.Age = 0 },
		"no time":  func(c *Config) { c.IdleTimeout = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := config()
			change(&conf)
			c := start(t, conf, &host{serve: hello("x")})
			c.patient()
			for _, id := range []uint32{1, 3} {
				c.ask(id, true, get("/")...)
			}
			c.untilWord(noStream)
			c.ask(5, true, get("/")...)
			c.answer(5)
			c.ok(c.WritePing(true, retirePing))
			c.untilWord(5)
			c.wantEnd()
		})
	}
}

// Large heads go out in several frames, and values of all lengths arrive as they are.
func TestLargeAnswerHeads(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for _, n := range []int{0, 1, 30, 126, 127, 128, 254, 255, 256, 5000, 40000} {
		lines.WriteString("X-Field: " + strings.Repeat("~", n) + "\r\n")
	}
	lines.WriteString("Connection: close\r\nTransfer-Encoding: chunked\r\n")
	c := start(t, config(), &host{serve: func(st *Stream) {
		st.SetHead(418, []byte(lines.String()), 0)
		_, _ = st.Send(nil, nil)
	}})
	c.MaxHeaderListSize = 1 << 20
	c.ask(1, true, get("/")...)
	c.until("head", func(f http2.Frame) bool {
		h, ok := f.(*http2.MetaHeadersFrame)
		if !ok {
			return false
		}
		var got strings.Builder
		for _, hf := range h.RegularFields() {
			got.WriteString("X-Field: " + hf.Value + "\r\n")
		}
		if h.PseudoValue("status") != "418" || !strings.HasPrefix(lines.String(), got.String()) || len(h.Fields) != 12 {
			t.Errorf("%d fields, :status %s", len(h.Fields), h.PseudoValue("status"))
		}
		return true
	})
}
