package load_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/load"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ok = "HTTP/1.1 200 OK\r\nServer: fake/1\r\nContent-Length: 2\r\n\r\nok"

// A misdeed is what a fake server does with a connection; in is at the
// connection's first byte.
type misdeed func(conn *net.TCPConn, in *bufio.Reader)

// serve runs a server that treats every connection with deed, then closes it.
func serve(t *testing.T, deed misdeed) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				deed(conn.(*net.TCPConn), bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); conns.Wait() })
	return ln.Addr().String()
}

// take reads one request and returns its body.
func take(in *bufio.Reader) (body string, err error) {
	req, err := http.ReadRequest(in)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(req.Body)
	return string(b), err
}

// countUntil runs one client until its count satisfies enough.
func countUntil(t *testing.T, g load.Group, enough func(load.Count) bool) load.GroupReport {
	t.Helper()
	g.Name, g.Clients, g.MaxPause = "one", 1, time.Millisecond
	l, err := load.Start(context.Background(), g)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Stop()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if enough(l.Report().Group("one").Count) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("timed out:\n%v%s", l.Report(), l.Report().Trouble())
		}
	}
	got := l.Stop().Group("one")
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	return got
}

func TestGoodServerHasNoFailures(t *testing.T) {
	echo := func(conn *net.TCPConn, in *bufio.Reader) {
		for {
			body, err := take(in)
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nServer: fake/2\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}
	got := countUntil(t, load.Group{Addr: serve(t, echo), KeepAlive: true, Post: true, Echo: true},
		func(c load.Count) bool { return c.Answered["fake/2"] >= 20 })
	if got.Failed() != 0 || got.Connects != 1 || got.Reconnects != 0 {
		t.Errorf("count = %+v, want no failure and one connection", got.Count)
	}
	if len(got.Samples) != got.Total() {
		t.Errorf("%d samples of %d answers", len(got.Samples), got.Total())
	}
}

// Each way a server can fail a client is counted as itself and as nothing else.
func TestEveryFailureIsCounted(t *testing.T) {
	answerThen := func(last func(conn *net.TCPConn)) misdeed {
		return func(conn *net.TCPConn, in *bufio.Reader) {
			if _, err := take(in); err == nil {
				io.WriteString(conn, ok)
				last(conn)
			}
		}
	}
	reset := func(conn *net.TCPConn) { conn.SetLinger(0) } // the close after it sends RST
	for _, tc := range []struct {
		name  string
		deed  misdeed
		group load.Group
		got   func(load.Count) int
	}{
		{
			name:  "idle connection closed",
			deed:  answerThen(func(*net.TCPConn) {}),
			group: load.Group{KeepAlive: true, MinPause: time.Millisecond},
			got:   func(c load.Count) int { return c.IdleFIN },
		},
		{
			name:  "idle connection reset",
			deed:  answerThen(reset),
			group: load.Group{KeepAlive: true, MinPause: time.Millisecond},
			got:   func(c load.Count) int { return c.IdleRST },
		},
		{
			name:  "request of a blind client on a closed connection",
			deed:  answerThen(func(*net.TCPConn) {}),
			group: load.Group{KeepAlive: true, Post: true, Blind: true},
			got:   func(c load.Count) int { return c.LostRST + c.LostFIN },
		},
		{
			name: "closed instead of an answer",
			deed: func(_ *net.TCPConn, in *bufio.Reader) { take(in) },
			got:  func(c load.Count) int { return c.LostFIN },
		},
		{
			name: "reset instead of an answer",
			deed: func(conn *net.TCPConn, in *bufio.Reader) { take(in); reset(conn) },
			got:  func(c load.Count) int { return c.LostRST },
		},
		{
			name: "half an answer",
			deed: func(conn *net.TCPConn, in *bufio.Reader) { take(in); io.WriteString(conn, ok[:len(ok)-1]) },
			got:  func(c load.Count) int { return c.LostBroken },
		},
		{
			name:  "no answer in time",
			deed:  func(_ *net.TCPConn, in *bufio.Reader) { take(in); in.ReadByte() },
			group: load.Group{Timeout: time.Second},
			got:   func(c load.Count) int { return c.LostTimeout },
		},
		{
			name:  "another status",
			deed:  answerThen(func(*net.TCPConn) {}),
			group: load.Group{Status: 204},
			got:   func(c load.Count) int { return c.Wrong },
		},
		{
			name:  "another body",
			deed:  answerThen(func(*net.TCPConn) {}),
			group: load.Group{Post: true, Echo: true},
			got:   func(c load.Count) int { return c.Wrong },
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.group.Addr = serve(t, tc.deed)
			got := countUntil(t, tc.group, func(c load.Count) bool { return tc.got(c) >= 3 })
			if strings.HasPrefix(tc.name, "request of a blind") {
				return // the cut and what it cost are both counted
			}
			if n := tc.got(got.Count); n != got.Failed() {
				t.Errorf("count = %+v: %d of this kind, but %d failures", got.Count, n, got.Failed())
			}
			if len(got.Failures) == 0 {
				t.Error("no failure kept in words")
			}
		})
	}
}

func TestRefusedIsCounted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	got := countUntil(t, load.Group{Addr: ln.Addr().String()}, func(c load.Count) bool { return c.Refused >= 3 })
	if got.Sent != 0 || got.Connects != 0 {
		t.Errorf("count = %+v, want nothing sent", got.Count)
	}
}

func TestAnnouncedCloseIsNoFailure(t *testing.T) {
	closing := strings.Replace(ok, "Server:", "Connection: close\r\nServer:", 1)
	addr := serve(t, func(conn *net.TCPConn, in *bufio.Reader) {
		if _, err := take(in); err == nil {
			io.WriteString(conn, closing)
		}
	})
	got := countUntil(t, load.Group{Addr: addr, KeepAlive: true}, func(c load.Count) bool { return c.Announced >= 3 })
	if got.Failed() != 0 || got.Reconnects == 0 {
		t.Errorf("count = %+v, want reconnects and no failure", got.Count)
	}
}

func TestReportIsATable(t *testing.T) {
	r := &load.Report{Groups: []load.GroupReport{
		{Name: "new", Count: load.Count{Sent: 12, Answered: map[string]int{"baton/1.0.0": 7, "baton/2.0.0": 4}, Lost: 1, LostRST: 1}},
		{Name: "kept", Count: load.Count{Sent: 3, Answered: map[string]int{"baton/2.0.0": 3}}},
	}}
	text := r.String()
	for _, row := range []string{"requests sent 12 3", "answered by baton/1.0.0 7 0", "answered by baton/2.0.0 4 3", "lost 1 0"} {
		found := false
		for line := range strings.Lines(text) {
			found = found || strings.Join(strings.Fields(line), " ") == row
		}
		if !found {
			t.Errorf("no row %q in\n%s", row, text)
		}
	}
	if q := load.Quantile([]load.Sample{{Took: 3}, {Took: 1}, {Took: 2}}, 0.5); q != 2 {
		t.Errorf("median = %d, want 2", q)
	}
}
