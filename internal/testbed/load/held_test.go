package load_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/load"
	"golang.org/x/net/websocket"
)

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// echoer answers every request with its body, and remembers how pieces came.
func echoer(conn *net.TCPConn, in *bufio.Reader) {
	for {
		body, err := take(in)
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nServer: fake/2\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

func TestSplitAndPipelinedRequestsAreWhole(t *testing.T) {
	for name, g := range map[string]load.Group{
		"split":     {Split: time.Millisecond},
		"pipelined": {Pipeline: 4},
		"both":      {Split: time.Millisecond, Pipeline: 4},
	} {
		t.Run(name, func(t *testing.T) {
			g.Addr, g.KeepAlive, g.Post, g.Echo = serve(t, echoer), true, true, true
			got := countUntil(t, g, func(c load.Count) bool { return c.Answered["fake/2"] >= 40 })
			if got.Noticed() != 0 || got.Connects != 1 {
				t.Errorf("count = %+v, want nothing noticed on one connection", got.Count)
			}
		})
	}
}

// A connection that is announced to end with the first of several answers loses
// the rest of the requests.
func TestPipelinedRequestsBehindACloseAreLost(t *testing.T) {
	addr := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
		if _, err := take(in); err == nil {
			io.WriteString(conn, strings.Replace(ok, "Server:", "Connection: close\r\nServer:", 1))
			take(in)
		}
	})
	got := countUntil(t, load.Group{Addr: addr, KeepAlive: true, Pipeline: 2}, func(c load.Count) bool { return c.Announced >= 3 })
	if got.Lost != got.Announced || got.Noticed() != got.Lost+got.Announced+got.Reconnects {
		t.Errorf("count = %+v, want one lost request for each announcement", got.Count)
	}
}

// talk serves WebSockets.
func talk(t *testing.T, handle func(ws *websocket.Conn)) (addr string) {
	t.Helper()
	s := httptest.NewServer(websocket.Server{Handler: handle})
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func receive(ws *websocket.Conn) (text string, ok bool) {
	return text, websocket.Message.Receive(ws, &text) == nil
}

func TestEveryFailureOfAWebSocketIsCounted(t *testing.T) {
	for _, tc := range []struct {
		name string
		say  func(ws *websocket.Conn, n int, text string) (more bool)
		got  func(c load.SocketCount) int
	}{
		{"none", func(ws *websocket.Conn, _ int, text string) bool {
			return websocket.Message.Send(ws, text) == nil
		}, func(c load.SocketCount) int { return c.Failed() }},
		// When the lost message was the last of a turn, only its client's patience ends
		// the waiting for it, and the connection.
		{"lost", func(ws *websocket.Conn, n int, text string) bool {
			return n == 3 || websocket.Message.Send(ws, text) == nil
		}, func(c load.SocketCount) int { return c.Lost }},
		{"doubled", func(ws *websocket.Conn, n int, text string) bool {
			if n == 3 {
				websocket.Message.Send(ws, text)
			}
			return websocket.Message.Send(ws, text) == nil
		}, func(c load.SocketCount) int { return c.Doubled }},
		{"altered", func(ws *websocket.Conn, n int, text string) bool {
			if n == 3 {
				websocket.Message.Send(ws, text+"x")
			}
			return websocket.Message.Send(ws, text) == nil
		}, func(c load.SocketCount) int { return c.Altered }},
		{"dropped", func(ws *websocket.Conn, n int, text string) bool {
			return websocket.Message.Send(ws, text) == nil && n != 9
		}, func(c load.SocketCount) int { return c.Dropped }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr := talk(t, func(ws *websocket.Conn) {
				for n := 0; ; n++ {
					text, ok := receive(ws)
					if !ok || !tc.say(ws, n, text) {
						return
					}
				}
			})
			o := load.Sockets{Addr: addr, Clients: 1, MaxPause: time.Millisecond, Burst: 8}
			if tc.name == "lost" {
				o.Timeout = time.Second
			}
			l, err := load.StartSockets(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Stop()
			within(t, "messages", func() bool { c := l.Report(); return c.Sent > 40 || c.Dropped > 0 })
			got := l.Stop()
			if err := got.Check(); err != nil {
				t.Error(err)
			}
			if want := min(1, len(got.Failures)); tc.got(got) < want || (got.Failed() > 0) != (tc.name != "none") {
				t.Errorf("%v\n%v", got, got.Failures)
			}
			if tc.name != "none" && tc.got(got) == 0 {
				t.Errorf("not counted: %v", got)
			}
			given := 0 // up, with its connection
			if tc.name == "lost" {
				given = got.Dropped
			}
			if tc.name != "dropped" && got.Failed() != tc.got(got)+given {
				t.Errorf("%v: more is counted than happened", got)
			}
		})
	}
}

func TestWebSocketsThatAreNotOpened(t *testing.T) {
	addr := serve(t, func(conn *net.TCPConn, in *bufio.Reader) { take(in); io.WriteString(conn, ok) })
	l, err := load.StartSockets(context.Background(), load.Sockets{Addr: addr, Clients: 2})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Stop(); got.Unopened != 2 || got.Opened != 0 {
		t.Errorf("%v", got)
	}
}

func TestEveryFailureOfADownloadIsCounted(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 1<<14)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: fake/3\r\nContent-Length: %d\r\n", len(content))
	for _, tc := range []struct {
		name, head string
		send       []byte
		then       bool
		got        func(c load.DownloadCount) int
	}{
		{"none", head, content, true, func(c load.DownloadCount) int { return c.Failed() }},
		{"broken", head, content[1:], false, func(c load.DownloadCount) int { return c.Broken }},
		{"altered", head, bytes.ToUpper(content), true, func(c load.DownloadCount) int { return c.Altered }},
		{"announced", head + "Connection: close\r\n", content, false, func(c load.DownloadCount) int { return c.Announced }},
		{"unusable", head, content, false, func(c load.DownloadCount) int { return c.Unusable }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
				if _, err := take(in); err != nil {
					return
				}
				io.WriteString(conn, tc.head+"\r\n")
				conn.Write(tc.send)
				if !tc.then {
					return
				}
				if _, err := take(in); err == nil {
					io.WriteString(conn, ok)
				}
			})
			l, err := load.StartDownloads(context.Background(), load.Downloads{
				Addr: addr, Path: "/big", Clients: 2, Bytes: int64(len(content)), Sum: sha256.Sum256(content),
			})
			if err != nil {
				t.Fatal(err)
			}
			<-l.Done()
			got := l.Stop()
			if err := got.Check(); err != nil {
				t.Error(err)
			}
			want := 2
			if tc.name == "none" {
				want = 0
			}
			if tc.got(got) != want || got.Failed() != want || len(got.Failures) != want {
				t.Errorf("%v\n%v", got, got.Failures)
			}
			if tc.name == "none" && got.By["fake/1"] != 2 {
				t.Errorf("answered afterwards by %v", got.By)
			}
		})
	}
}

// A slow client leaves most of a document to be sent: what is in between does
// not swallow it.
func TestSlowDownloadsStayUnderWay(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 1<<18)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content)
	}))
	defer s.Close()
	l, err := load.StartDownloads(context.Background(), load.Downloads{
		Addr: s.Listener.Addr().String(), Path: "/", Clients: 1, Rate: 100 << 10, Bytes: int64(len(content)), Sum: sha256.Sum256(content),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Stop()
	within(t, "first bytes", func() bool { return l.Report().Bytes > 10<<10 })
	if got := l.Report(); got.Bytes > 1<<20 || got.Whole > 0 {
		t.Errorf("%v, %d bytes", got, got.Bytes)
	}
	l.Hurry()
	<-l.Done()
	if got := l.Stop(); got.Whole != 1 || got.Bytes != int64(len(content)) {
		t.Errorf("%v, %d bytes", got, got.Bytes)
	}
}

func TestStoppedDownloadIsAbandoned(t *testing.T) {
	addr := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
		take(in)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
		take(in)
	})
	l, err := load.StartDownloads(context.Background(), load.Downloads{Addr: addr, Path: "/", Clients: 1, Bytes: 10})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "first bytes", func() bool { return l.Report().Bytes > 0 })
	if got := l.Stop(); got.Abandoned != 1 || got.Failed() != 0 || got.Check() != nil {
		t.Errorf("%v, %v", got, got.Check())
	}
}

func TestEveryFailureOfAStreamIsCounted(t *testing.T) {
	event := func(n int) string { return fmt.Sprintf("id: %d\ndata: x\n\n", n) }
	for _, tc := range []struct {
		name, stream string
		broken       bool
		want         load.EventCount
	}{
		{"none", event(0) + event(1), false, load.EventCount{Received: 2, Ended: 1}},
		{"missing", event(0) + event(3), false, load.EventCount{Received: 2, Missing: 2, Ended: 1}},
		{"doubled", event(0) + event(0), false, load.EventCount{Received: 1, Doubled: 1, Ended: 1}},
		{"broken", event(0), true, load.EventCount{Received: 1, Broken: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
				take(in)
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(tc.stream), tc.stream)
				if !tc.broken {
					io.WriteString(conn, "0\r\n\r\n")
				}
			})
			l, err := load.StartEvents(context.Background(), load.Events{Addr: addr, Path: "/", Clients: 1})
			if err != nil {
				t.Fatal(err)
			}
			<-l.Done()
			got := l.Stop()
			failed := got.Failed()
			tc.want.Opened = 1
			if len(got.Failures) == 0 && failed > 0 {
				t.Error("no failure kept in words")
			}
			got.Longest = 0
			if got.String() != tc.want.String() {
				t.Errorf("got  %v\nwant %v", got, tc.want)
			}
		})
	}
}

func TestEveryFailureOfAnIdleConnectionIsCounted(t *testing.T) {
	get := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, tc := range []struct {
		name string
		deed misdeed
		got  func(c load.CrowdCount) int
	}{
		{"none", echoer, func(c load.CrowdCount) int { return c.Failed() }},
		{"refused", func(*net.TCPConn, *bufio.Reader) {}, func(c load.CrowdCount) int { return c.Refused }},
		{"cut", func(conn *net.TCPConn, in *bufio.Reader) { take(in); io.WriteString(conn, ok) }, func(c load.CrowdCount) int { return c.Cut }},
		{"lost", func(conn *net.TCPConn, in *bufio.Reader) { take(in); io.WriteString(conn, ok); take(in) }, func(c load.CrowdCount) int { return c.Lost }},
		{"announced", func(conn *net.TCPConn, in *bufio.Reader) {
			take(in)
			io.WriteString(conn, ok)
			take(in)
			io.WriteString(conn, strings.Replace(ok, "Server:", "Connection: close\r\nServer:", 1))
		}, func(c load.CrowdCount) int { return c.Announced }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := load.Gather(context.Background(), load.Idler{Name: "kept", Addr: serve(t, tc.deed), Clients: 3, Before: get, After: get})
			defer w.Close()
			if tc.name == "cut" {
				within(t, "the cut", func() bool { w.Speak(context.Background()); return w.Report().Cut >= 3 })
			} else {
				w.Speak(context.Background())
			}
			got := w.Report()
			if n := tc.got(got); n != got.Failed() || (n > 0) != (tc.name != "none") {
				t.Errorf("%v\n%v", got, got.Failures)
			}
		})
	}
}

// Every kind of idle connection is answered by a server that does nothing wrong.
func TestIdlersAreAnswered(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "good/1")
		w.Header().Set("Content-Length", "0")
	}))
	defer s.Close()
	w := load.Gather(context.Background(), load.Idlers(s.Listener.Addr().String(), 2)...)
	defer w.Close()
	w.Speak(context.Background())
	if got := w.Report(); got.Failed() > 0 || got.Answered["good/1"] != 10 {
		t.Errorf("%v\n%v", got, got.Failures)
	}
}
