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

// holding starts a connection with open streams that are served when they are released,
// in any order, by the number in their path.
func holding(t *testing.T, conf Config, open int) (c *client, release func(id uint32)) {
	t.Helper()
	held := make([]chan struct{}, 500)
	for i := range held {
		held[i] = make(chan struct{})
	}
	c = start(t, conf, &host{serve: func(st *Stream) {
		<-held[st.ID()]
		hello("served")(st)
	}})
	for i := range open {
		c.ask(uint32(2*i+1), true, get("/")...)
	}
	c.unannounced()
	return c, func(id uint32) { close(held[id]) }
}

// unannounced makes sure that everything that was sent has been read, and was not
// followed by a word of retirement.
func (c *client) unannounced() {
	c.t.Helper()
	mark := [8]byte{'m', 'a', 'r', 'k'}
	c.ok(c.WritePing(false, mark))
	c.until("answer to a PING", func(f http2.Frame) bool {
		if g, ok := f.(*http2.GoAwayFrame); ok {
			c.t.Errorf("got %v too early", g)
		}
		p, ok := f.(*http2.PingFrame)
		return ok && p.Data == mark
	})
}

// The first word goes out in a moment in which the client waits for as many answers as it
// lately did at most, and before these: what begins its requests is waiting then, and
// nothing is begun while the word arrives.
func TestRetirementAwaitsAMoment(t *testing.T) {
	t.Parallel()
	for name, retire := range map[string]bool{"told": true, "by the number of requests": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := config()
			if !retire {
				conf.Requests = 5
			}
			c, release := holding(t, conf, 4)
			c.setPace(pace{moment: time.Hour, answer: time.Hour, quiet: time.Hour, whole: time.Hour})
			for _, id := range []uint32{1, 3, 5} {
				release(id)
				c.answer(id)
			}
			if retire {
				c.conn.Retire()
			}
			for id := uint32(9); id <= 11; id += 2 { // the fifth and the sixth, of which three are open
				c.ask(id, true, get("/")...)
				c.unannounced()
			}
			c.ask(13, true, get("/")...)
			c.untilWord(noStream)
			for _, id := range []uint32{7, 9, 11, 13} {
				release(id)
				c.answer(id)
			}
		})
	}
}

// A client that never has as much open again hears the first word all the same: after a
// while, or a number of streams.
func TestRetirementAwaitsNoMomentForEver(t *testing.T) {
	t.Parallel()
	c, release := holding(t, config(), 2)
	release(1)
	c.answer(1)
	c.setPace(pace{moment: time.Millisecond, answer: time.Hour, whole: time.Hour})
	c.conn.Retire()
	c.untilWord(noStream)
	release(3)
	c.answer(3)

	conf := config()
	conf.Requests = 3
	c, release = holding(t, conf, 2)
	for id := uint32(1); id <= 3; id += 2 {
		release(id)
		c.answer(id)
	}
	last := uint32(3)
	for range maxLate {
		last += 2
		c.ask(last, true, get("/")...)
		c.unannounced()
		release(last)
		c.answer(last)
	}
	c.ask(last+2, true, get("/")...)
	c.untilWord(noStream)
	release(last + 2)
	c.answer(last + 2)
}

// What a client had open at once counts as long as it did lately.
func TestCrest(t *testing.T) {
	t.Parallel()
	var c crest
	for _, open := range []int{1, 7, 2} {
		c.rise(open)
	}
	if c.reached(6) || !c.reached(7) {
		t.Error("the crest is not 7")
	}
	for range 2 * crestSpan {
		c.rise(2)
	}
	if c.reached(1) || !c.reached(2) {
		t.Error("the crest is not 2 after a while")
	}
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
