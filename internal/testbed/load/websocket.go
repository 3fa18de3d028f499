package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
)

// Sockets are a number of WebSocket clients whose every message must come back.
type Sockets struct {
	Addr, Path string
	Clients    int // at least 1
	// A client waits between MinPause and MaxPause before each turn, in which it
	// sends 1 to Burst messages and waits for their echoes. Burst 0 means 3.
	MinPause, MaxPause time.Duration
	Burst              int
	MaxBytes           int           // of a message; 0 means 1000
	Late               time.Duration // an echo that takes longer is late; 0 means 1s
	Timeout            time.Duration // of opening, and of waiting for an echo; 0 means 10s
}

// A SocketCount is what WebSocket clients have seen.
type SocketCount struct {
	Opened, Unopened int // connections
	Dropped          int // those of them that ended before their client ended them

	Sent    int // messages
	Echoed  int // those of them that came back as they were sent
	Lost    int // those that did not
	Doubled int // messages that came back once more
	Altered int // messages that nobody sent
	Late    int // echoes that took longer than [Sockets.Late]; no failure

	Longest  time.Duration // of any echo
	Samples  []Sample      // one for each echo
	Failures []Failure     // the first [maxFailures]
}

// Failed returns everything a client of a perfect server would never see.
func (c SocketCount) Failed() int {
	return c.Unopened + c.Dropped + c.Lost + c.Doubled + c.Altered
}

// Check returns an error unless every message is accounted for once. It is for
// the report of clients that have stopped.
func (c SocketCount) Check() error {
	if c.Echoed+c.Lost != c.Sent {
		return fmt.Errorf("account for messages: %d sent, %d echoed and %d lost", c.Sent, c.Echoed, c.Lost)
	}
	return nil
}

// String returns the count in one line.
func (c SocketCount) String() string {
	return fmt.Sprintf("%d opened, %d unopened, %d dropped; messages: %d sent, %d echoed, %d lost, %d doubled, %d altered, %d late, longest %v",
		c.Opened, c.Unopened, c.Dropped, c.Sent, c.Echoed, c.Lost, c.Doubled, c.Altered, c.Late, c.Longest.Round(time.Millisecond))
}

// A SocketLoad is WebSocket clients at work.
type SocketLoad struct {
	o       Sockets
	cancel  context.CancelFunc
	clients sync.WaitGroup

	// mu guards what follows. It is a leaf.
	mu       sync.Mutex
	count    SocketCount
	failures failures
}

// StartSockets opens all connections and then starts their clients, which work
// until ctx is done or Stop is called; the caller must call Stop in any case.
func StartSockets(ctx context.Context, o Sockets) (*SocketLoad, error) {
	if o.Clients < 1 || o.MinPause < 0 || o.MaxPause < o.MinPause {
		return nil, fmt.Errorf("check sockets: Clients is %d, pause is from %v to %v", o.Clients, o.MinPause, o.MaxPause)
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &SocketLoad{o: o, cancel: cancel, failures: failures{began: time.Now()}}
	open := make([]*socket, o.Clients)
	each(ctx, o.Clients, func(i int) { open[i] = l.open(ctx, i) })
	for _, s := range open {
		if s != nil {
			l.clients.Go(func() { s.run(ctx) })
		}
	}
	return l, nil
}

// Stop ends the load. Each client takes one more turn, which proves that its
// connection lives, says goodbye, and takes no message after it. Stop returns the
// final report; calling it again returns it again.
func (l *SocketLoad) Stop() SocketCount {
	l.cancel()
	l.clients.Wait()
	return l.Report()
}

// Report returns what was seen so far.
func (l *SocketLoad) Report() SocketCount {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.count
	c.Samples = c.Samples[:len(c.Samples):len(c.Samples)]
	c.Failures = l.failures.soFar()
	return c
}

// note changes the count, and keeps a failure's words if there are any.
func (l *SocketLoad) note(change func(c *SocketCount), format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.count)
	if format != "" {
		l.failures.add(format, args...)
	}
}

// A socket is one WebSocket client. It is used by one goroutine.
type socket struct {
	l    *SocketLoad
	id   int
	conn net.Conn
	ws   *websocket.Conn
	next int // number of the next message to be sent
	back int // number of the next message to come back
	sent map[int]time.Time
}

func (l *SocketLoad) open(ctx context.Context, id int) *socket {
	timeout := or(l.o.Timeout, 10*time.Second)
	conn, err := dial(ctx, l.o.Addr, timeout, 0)
	var ws *websocket.Conn
	if err == nil {
		conn.SetDeadline(time.Now().Add(timeout))
		host := hostOf(l.o.Addr)
		var config *websocket.Config
		if config, err = websocket.NewConfig("ws://"+host+or(l.o.Path, "/"), "http://"+host); err == nil {
			ws, err = websocket.NewClient(config, &splitter{Conn: conn})
		}
	}
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		l.note(func(c *SocketCount) { c.Unopened++ }, "WebSocket %d not opened: %v", id, err)
		return nil
	}
	l.note(func(c *SocketCount) { c.Opened++ }, "")
	return &socket{l: l, id: id, conn: conn, ws: ws, sent: map[int]time.Time{}}
}

// A splitter sends some of what is written in two pieces, cut at a random byte,
// so that parts of a frame lie about in the server.
type splitter struct{ net.Conn }

func (s *splitter) Write(b []byte) (int, error) {
	const oneIn = 4
	if len(b) < 2 || rand.IntN(oneIn) > 0 {
		return s.Conn.Write(b)
	}
	cut := 1 + rand.IntN(len(b)-1)
	n, err := s.Conn.Write(b[:cut])
	if err != nil {
		return n, err
	}
	<-time.After(rand.N(20 * time.Millisecond))
	n, err = s.Conn.Write(b[cut:])
	return cut + n, err
}

func (s *socket) run(ctx context.Context) {
	defer s.conn.Close()
	for going := true; going; {
		spread := s.l.o.MaxPause - s.l.o.MinPause
		going = wait(ctx, s.l.o.MinPause+rand.N(spread+1))
		if err := s.turn(); err != nil {
			lost := s.next - s.back
			s.l.note(func(c *SocketCount) { c.Dropped++; c.Lost += lost }, "WebSocket %d ended: %v; %d messages lost", s.id, err, lost)
			return
		}
	}
	s.goodbye()
}

// turn sends some messages and takes their echoes.
func (s *socket) turn() error {
	// What came unasked is taken first: a server may have said goodbye.
	if err := peekClosed(s.conn); err != nil {
		s.conn.SetDeadline(time.Now().Add(time.Second))
		if err := s.takeOne(); err != nil {
			return fmt.Errorf("between two messages: %w", err)
		}
	}
	s.conn.SetDeadline(time.Now().Add(or(s.l.o.Timeout, 10*time.Second)))
	for range 1 + rand.IntN(or(s.l.o.Burst, 3)) {
		message := s.message(s.next)
		s.sent[s.next] = time.Now()
		s.next++
		s.l.note(func(c *SocketCount) { c.Sent++ }, "")
		if _, err := s.ws.Write([]byte(message)); err != nil {
			return err
		}
	}
	for s.back < s.next {
		if err := s.takeOne(); err != nil {
			return err
		}
	}
	return nil
}

// message returns the text of message n: its number, and as many bytes as its
// number asks for.
func (s *socket) message(n int) string {
	text := fmt.Sprintf("socket %d message %d ", s.id, n)
	size := (s.id*7919 + n*104729) % or(s.l.o.MaxBytes, 1000)
	return text + strings.Repeat("0123456789abcdef", size/16+1)[:size]
}

// takeOne takes one message and accounts for it.
func (s *socket) takeOne() error {
	var got string
	if err := websocket.Message.Receive(s.ws, &got); err != nil {
		return err
	}
	var id, n int
	_, err := fmt.Sscanf(got, "socket %d message %d ", &id, &n)
	switch {
	case err != nil || id != s.id || n >= s.next || got != s.message(n):
		s.l.note(func(c *SocketCount) { c.Altered++ }, "WebSocket %d got %.60q, waits for message %d", s.id, got, s.back)
	case n < s.back:
		s.l.note(func(c *SocketCount) { c.Doubled++ }, "WebSocket %d got message %d once more", s.id, n)
	default:
		s.echoed(n)
	}
	return nil
}

// echoed accounts for message n, and for those before it that were left out.
func (s *socket) echoed(n int) {
	if lost := n - s.back; lost > 0 {
		s.l.note(func(c *SocketCount) { c.Lost += lost }, "WebSocket %d lost messages %d to %d", s.id, s.back, n-1)
	}
	took := time.Since(s.sent[n])
	s.l.note(func(c *SocketCount) {
		c.Echoed++
		c.Longest = max(c.Longest, took)
		c.Samples = append(c.Samples, Sample{At: time.Since(s.l.failures.began) - took, Took: took})
		if took > or(s.l.o.Late, time.Second) {
			c.Late++
		}
	}, "")
	for ; s.back <= n; s.back++ {
		delete(s.sent, s.back)
	}
}

// goodbye ends the connection by a close frame and takes what comes before the
// server's end of it: nothing should.
func (s *socket) goodbye() {
	const closeFrame, normal = 8, "\x03\xe8"
	s.ws.PayloadType = closeFrame
	s.conn.SetDeadline(time.Now().Add(or(s.l.o.Timeout, 10*time.Second)))
	if _, err := s.ws.Write([]byte(normal)); err != nil {
		return
	}
	for {
		err := s.takeOne()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			s.l.note(func(*SocketCount) {}, "WebSocket %d: no end after its close frame", s.id)
		}
		if err != nil {
			return
		}
	}
}
