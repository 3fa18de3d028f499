package h2

import (
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

// content reads the body of a stream and tells of each piece that comes.
func content(pieces chan<- string) func(*Stream) {
	return func(st *Stream) {
		defer close(pieces)
		buf := make([]byte, 1000)
		for {
			n, err := st.Recv(buf)
			switch {
			case err == unix.EAGAIN:
				if st.AwaitRead() != nil {
					return
				}
			case err == io.EOF:
				hello("all")(st)
				return
			case err != nil:
				return
			default:
				pieces <- string(buf[:n])
			}
		}
	}
}

// raw writes a frame's header and the beginning of its payload.
func (c *client) raw(kind http2.FrameType, flags http2.Flags, size int, payload string) {
	c.t.Helper()
	c.must(c.Conn.Write(append(appendFrame(nil, size, kind, flags, 1), payload...)))
}

// Who serves a stream gets content as it comes, also when the client takes its time for
// a frame; the padding is none of it.
func TestFrameInPieces(t *testing.T) {
	t.Parallel()
	pieces := make(chan string)
	c := start(t, config(), &host{serve: content(pieces)})
	c.ask(1, false, get("/")...)
	c.raw(http2.FrameData, http2.FlagDataPadded|http2.FlagDataEndStream, 1+6+2, "\x02one")
	if got := <-pieces; got != "one" {
		t.Errorf("got %q first", got)
	}
	c.must(io.WriteString(c.Conn, "two\x00"))
	c.must(io.WriteString(c.Conn, "\x00"))
	if got := <-pieces; got != "two" {
		t.Errorf("got %q then", got)
	}
	if more, ok := <-pieces; ok {
		t.Errorf("got %q at the end", more)
	}
	if _, body := c.answer(1); body != "all" {
		t.Errorf("body %q", body)
	}
}

// A stream that is reset in the middle of a frame does not upset the rest of that.
func TestResetWithinAFrame(t *testing.T) {
	t.Parallel()
	first := make(chan string)
	c := start(t, config(), &host{serve: func(st *Stream) {
		if st.ID() == 1 {
			_ = st.AwaitRead()
			first <- "came"
			return // without an answer
		}
		hello("fine")(st)
	}})
	c.ask(1, false, get("/")...)
	c.raw(http2.FrameData, 0, 6, "one")
	<-first
	c.wantReset(1, http2.ErrCodeInternal)
	c.must(io.WriteString(c.Conn, "two"))
	c.ask(3, true, get("/")...)
	if _, body := c.answer(3); body != "fine" {
		t.Errorf("the next stream was answered with %q", body)
	}
}

// A client that stops in the middle of a frame does not lose what is served meanwhile;
// when nothing is it may not stay.
func TestPauseWithinAFrame(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(c *client){
		"of a body": func(c *client) { c.raw(http2.FrameData, 0, 100, "some") },
		"of a head": func(c *client) { c.ok(c.WriteRawFrame(http2.FrameHeaders, 0, 3, []byte{0x82})) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := config()
			conf.HeaderTimeout = 500 * time.Millisecond // in which the client must have begun
			release := make(chan struct{})
			c := start(t, conf, &host{serve: func(st *Stream) {
				<-release
				hello(strings.Repeat("x", 1000))(st)
			}})
			c.ask(1, false, get("/")...)
			begin(c)
			timer := time.AfterFunc(2*conf.HeaderTimeout, func() { close(release) })
			defer timer.Stop()
			if _, body := c.answer(1); len(body) != 1000 {
				t.Errorf("%d bytes", len(body))
			}
			c.wantEnd()
		})
	}
}

// The log blames the client for an end that it made, and not for ours.
func TestWhoEndsAConnection(t *testing.T) {
	t.Parallel()
	for want, end := range map[string]func(c *client){
		"client prematurely closed connection": func(c *client) { c.Conn.Close() },
		"":                                     func(c *client) { c.conn.sock.(*tcp).Close() },
	} {
		served := make(chan struct{})
		c := start(t, config(), &host{serve: func(st *Stream) {
			served <- struct{}{}
			_ = st.AwaitWrite()
		}})
		c.ask(1, true, get("/")...)
		<-served
		end(c)
		c.wantEnd()
		if got := c.host.logged(); got != want {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
}
