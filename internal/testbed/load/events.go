package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Events are a number of subscribers to a stream of server-sent events, whose ids
// count up from 0. They open their connection once.
type Events struct {
	Addr, Path string
	Clients    int           // at least 1
	Timeout    time.Duration // from one event to the next; 0 means 10s
}

// An EventCount is what subscribers have seen.
type EventCount struct {
	Opened, Unopened int // connections
	Received         int // events in their order
	Missing          int // events that were left out
	Doubled          int // events that came once more, or too late
	Broken           int // streams that ended with an error, or stood still
	Ended            int // streams that the server ended as it should

	Longest  time.Duration // between two events
	Failures []Failure     // the first [maxFailures]
}

// Failed returns everything a client of a perfect server would never see.
func (c EventCount) Failed() int { return c.Unopened + c.Missing + c.Doubled + c.Broken }

// String returns the count in one line.
func (c EventCount) String() string {
	return fmt.Sprintf("%d opened, %d unopened; streams: %d ended, %d broken; events: %d received, %d missing, %d doubled, longest gap %v",
		c.Opened, c.Unopened, c.Ended, c.Broken, c.Received, c.Missing, c.Doubled, c.Longest.Round(time.Millisecond))
}

// An EventLoad is subscribers at work.
type EventLoad struct {
	o       Events
	cancel  context.CancelFunc
	clients sync.WaitGroup
	done    chan struct{}

	// mu guards what follows. It is a leaf.
	mu       sync.Mutex
	count    EventCount
	failures failures
}

// StartEvents starts the subscribers. They stay until their stream ends, ctx is
// done or Stop is called; the caller must call Stop in any case.
func StartEvents(ctx context.Context, o Events) (*EventLoad, error) {
	if o.Clients < 1 {
		return nil, fmt.Errorf("check events: Clients is %d", o.Clients)
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &EventLoad{o: o, cancel: cancel, done: make(chan struct{}), failures: failures{began: time.Now()}}
	for id := range o.Clients {
		l.clients.Go(func() { l.subscribe(ctx, id) })
	}
	go func() { l.clients.Wait(); close(l.done) }()
	return l, nil
}

// Done is closed when every stream has ended.
func (l *EventLoad) Done() <-chan struct{} { return l.done }

// Stop ends the load and returns the final report; calling it again returns it
// again.
func (l *EventLoad) Stop() EventCount {
	l.cancel()
	<-l.done
	return l.Report()
}

// Report returns what was seen so far.
func (l *EventLoad) Report() EventCount {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.count
	c.Failures = l.failures.soFar()
	return c
}

func (l *EventLoad) note(change func(c *EventCount), format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.count)
	if format != "" {
		l.failures.add(format, args...)
	}
}

func (l *EventLoad) subscribe(ctx context.Context, id int) {
	conn, err := dial(ctx, l.o.Addr, 10*time.Second, 0)
	if err != nil {
		l.note(func(c *EventCount) { c.Unopened++ }, "subscriber %d: not opened: %v", id, err)
		return
	}
	defer conn.Close()
	l.note(func(c *EventCount) { c.Opened++ }, "")
	t := &throttle{Conn: conn, ctx: ctx, rate: new(atomic.Int64), timeout: or(l.o.Timeout, 10*time.Second)}
	fmt.Fprintf(t, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", l.o.Path, hostOf(l.o.Addr))
	resp, err := http.ReadResponse(bufio.NewReader(t), &http.Request{Method: http.MethodGet})
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err == nil {
		err = l.listen(id, bufio.NewScanner(resp.Body))
	}
	switch {
	case errors.Is(err, errStopped):
	case err != nil:
		l.note(func(c *EventCount) { c.Broken++ }, "subscriber %d: stream broke: %v", id, err)
	default:
		l.note(func(c *EventCount) { c.Ended++ }, "")
	}
}

// listen takes events until the stream ends.
func (l *EventLoad) listen(id int, lines *bufio.Scanner) error {
	next, last := 0, time.Now()
	for lines.Scan() {
		number, ok := strings.CutPrefix(lines.Text(), "id: ")
		if !ok {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil {
			return fmt.Errorf("event with the id %q", number)
		}
		gap := time.Since(last)
		last = time.Now()
		if n < next {
			l.note(func(c *EventCount) { c.Doubled++ }, "subscriber %d: event %d again, after %d", id, n, next-1)
			continue
		}
		if n > next {
			missing := n - next
			l.note(func(c *EventCount) { c.Missing += missing }, "subscriber %d: event %d follows %d", id, n, next-1)
		}
		l.note(func(c *EventCount) { c.Received++; c.Longest = max(c.Longest, gap) }, "")
		next = n + 1
	}
	return lines.Err()
}
