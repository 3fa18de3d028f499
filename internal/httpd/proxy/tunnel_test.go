package proxy

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/netconn"
)

// pair is a connected pair of sockets: ours, and the other end.
func pair(t *testing.T) (ours, other *netconn.Socket) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*netconn.Socket
	for i, fd := range fds {
		if ends[i], err = netconn.NewSocket(fd, "test"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	return ends[0], ends[1]
}

const patience = time.Minute

// expect reads exactly want from s.
func expect(t *testing.T, s *netconn.Socket, want string) {
	t.Helper()
	for len(s.Buffered()) < len(want) {
		if err := s.Fill(patience); err != nil {
			t.Fatalf("read %q, then %v, want %q", s.Buffered(), err, want)
		}
	}
	if got := string(s.Buffered()); got != want {
		t.Fatalf("read %q, want %q", got, want)
	}
	s.Consume(len(want))
}

func send(t *testing.T, s *netconn.Socket, text string) {
	t.Helper()
	if err := s.Write([]byte(text), nil, patience); err != nil {
		t.Fatal(err)
	}
}

// A tunnel can be stopped between any two bytes and gone on with: nothing is lost,
// doubled or altered. That is what lets it move to another process.
func TestInterruptedTunnelGoesOn(t *testing.T) {
	client, browser := pair(t)
	server, app := pair(t)
	tunnel := &httpd.Tunnel{Client: client, Server: server, ReadTimeout: patience, SendTimeout: patience, ClientTimeout: patience}
	for round := range 50 {
		done := make(chan error, 1)
		go func() { done <- tunnel.Run() }()
		send(t, browser, "ping")
		expect(t, app, "ping")
		send(t, app, "pong")
		if round%2 == 0 {
			expect(t, browser, "pong")
		}
		send(t, browser, "left behind")
		tunnel.Interrupt()
		if err := <-done; !errors.Is(err, netconn.ErrInterrupted) {
			t.Fatalf("an interrupted tunnel returned %v", err)
		}
		tunnel.Resume()
		go func() { done <- tunnel.Run() }()
		if round%2 == 1 {
			expect(t, browser, "pong")
		}
		expect(t, app, "left behind")
		tunnel.Interrupt()
		<-done
		tunnel.Resume()
	}
	if tunnel.FromClient != 50*int64(len("pingleft behind")) || tunnel.FromServer != 50*int64(len("pong")) {
		t.Errorf("counted %d and %d bytes", tunnel.FromClient, tunnel.FromServer)
	}
}

// A side that has said all that it has to say is still answered: the tunnel ends with the
// other one's end, also when it was stopped in between.
func TestTunnelGoesOnWhenOneSideHasEnded(t *testing.T) {
	for _, first := range []string{"client", "server"} {
		client, browser := pair(t)
		server, app := pair(t)
		tunnel := &httpd.Tunnel{Client: client, Server: server, ReadTimeout: patience}
		done := make(chan error, 1)
		run := func() { go func() { done <- tunnel.Run() }() }
		run()
		send(t, browser, "hello")
		expect(t, app, "hello")
		one, other, ended := browser, app, &tunnel.ClientEnded
		if first == "server" {
			one, other, ended = app, browser, &tunnel.ServerEnded
		}
		send(t, one, "bye")
		one.CloseWrite()
		expect(t, other, "bye")
		if err := other.Fill(patience); err != io.EOF {
			t.Fatalf("behind the last word of the %s comes %v", first, err)
		}
		send(t, other, "last")
		expect(t, one, "last")
		tunnel.Interrupt()
		if err := <-done; !errors.Is(err, netconn.ErrInterrupted) || !*ended {
			t.Errorf("stopped after the end of the %s: %v, ended %v", first, err, *ended)
		}
		tunnel.Resume()
		run()
		send(t, other, " words")
		expect(t, one, " words")
		other.CloseWrite()
		if err := <-done; err != nil {
			t.Errorf("closed by the %s first: %v", first, err)
		}
		if err := one.Fill(patience); err != io.EOF {
			t.Errorf("behind the last words to the %s comes %v", first, err)
		}
	}
}

// A side that has gone is of no use to the other.
func TestTunnelEndsWhenOneSideFails(t *testing.T) {
	client, browser := pair(t)
	server, app := pair(t)
	tunnel := &httpd.Tunnel{Client: client, Server: server, ReadTimeout: patience}
	done := make(chan error, 1)
	go func() { done <- tunnel.Run() }()
	send(t, browser, "hello")
	expect(t, app, "hello")
	_ = browser.Close()
	if err := app.Fill(patience); err != io.EOF {
		t.Fatalf("the server reads %v", err)
	}
	send(t, app, "who is there?")
	if err := <-done; !errors.Is(err, unix.EPIPE) {
		t.Errorf("the tunnel ended with %v", err)
	}
}

// What moves in one direction keeps the other one alive.
func TestTunnelTimesOutOnlyWhenNothingMoves(t *testing.T) {
	t.Parallel()
	client, browser := pair(t)
	server, app := pair(t)
	const idle = time.Second
	tunnel := &httpd.Tunnel{Client: client, Server: server, ReadTimeout: idle}
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- tunnel.Run() }()
	tick := time.NewTicker(idle / 4)
	defer tick.Stop()
	for range 5 {
		<-tick.C
		send(t, browser, "x")
		expect(t, app, "x")
	}
	if err := <-done; !errors.Is(err, netconn.ErrTimeout) {
		t.Errorf("a silent tunnel returned %v", err)
	}
	if d := time.Since(start); d < 2*idle {
		t.Errorf("it ended after %v although something moved for %v", d, 5*idle/4)
	}
}
