package h2

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// A connection that retires says so twice. A request that crosses the first word is
// served, and one that comes behind the second, which nobody may send, is not.
func TestRetireTellsTwice(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := start(t, config(), &host{serve: func(st *Stream) {
		if string(st.Head()[:6]) == "GET /s" {
			<-release
		}
		hello("served")(st)
	}})
	c.ask(1, true, get("/slow")...)
	c.until("settings", func(f http2.Frame) bool { _, ok := f.(*http2.SettingsFrame); return ok })
	c.conn.Retire()
	c.until("first word", func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && (g.LastStreamID != 1<<31-1 || g.ErrCode != http2.ErrCodeNo) {
			t.Errorf("first %v", g)
		}
		return ok
	})
	c.ask(3, true, get("/crossing")...)
	if _, body := c.answer(3); body != "served" {
		t.Errorf("a request that crossed the first word got %q", body)
	}
	c.ok(c.WritePing(true, retirePing))
	c.until("second word", func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && (g.LastStreamID != 3 || g.ErrCode != http2.ErrCodeNo) {
			t.Errorf("second %v", g)
		}
		return ok
	})
	c.ask(5, true, get("/late")...)
	select {
	case <-c.ended:
		t.Fatal("it ended before its last answer")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if _, body := c.answer(1); body != "served" {
		t.Errorf("the request under way got %q", body)
	}
	c.wantEnd()
	if n := c.conn.opened; n != 2 {
		t.Errorf("%d requests were served", n)
	}
}

// An idle connection retires as soon as the client knows.
func TestRetireOfAnIdleConnection(t *testing.T) {
	t.Parallel()
	c := start(t, config(), &host{serve: hello("x")})
	c.ask(1, true, get("/")...)
	c.answer(1)
	c.conn.Retire()
	c.until("ping", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	c.ok(c.WritePing(true, retirePing))
	c.wantEnd()
}

// Retire is also for a connection that has said nothing yet.
func TestRetireBeforeTheFirstFrame(t *testing.T) {
	t.Parallel()
	c := dial(t, config(), &host{serve: hello("x")})
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
	c.conn.Retire()
	last := uint32(0)
	for id := uint32(1); last == 0 && id < 1000; id += 2 {
		c.ask(id, true, get("/")...)
		c.until("answer", func(f http2.Frame) bool {
			if g, ok := f.(*http2.GoAwayFrame); ok && g.LastStreamID < 1<<31-1 {
				last = g.LastStreamID
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

// After as many requests as there may be the client is asked to open a connection.
func TestRequestsInAll(t *testing.T) {
	t.Parallel()
	conf := config()
	conf.Requests = 2
	c := start(t, conf, &host{serve: hello("x")})
	for _, id := range []uint32{1, 3} {
		c.ask(id, true, get("/")...)
	}
	c.until("first word", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok })
	c.ask(5, true, get("/")...)
	c.answer(5)
	c.ok(c.WritePing(true, retirePing))
	c.wantEnd()
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
