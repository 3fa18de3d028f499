package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// An Idler is one kind of connection that is silent for long.
type Idler struct {
	Name    string
	Addr    string
	Clients int
	Before  string // a whole GET request that is answered before the silence; "" none
	Begun   string // the beginning of a request, sent before the silence; "" none
	After   string // its rest, or a whole GET request, sent after the silence
}

// Idlers returns the kinds of idle connections that a server can have, clients of
// each: HTTP/1.1 and HTTP/1.0 kept alive, one that has not sent anything, and
// parts of a request head, the first and a later one. addr as in [Group].
func Idlers(addr string, clients int) []Idler {
	host := hostOf(addr)
	get := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	kept := "GET / HTTP/1.0\r\nHost: " + host + "\r\nConnection: keep-alive\r\n\r\n"
	cut := len("GET / HTTP/1.1\r\nHo")
	return []Idler{
		{Name: "HTTP/1.1", Addr: addr, Clients: clients, Before: get, After: get},
		{Name: "HTTP/1.0", Addr: addr, Clients: clients, Before: kept, After: kept},
		{Name: "silent so far", Addr: addr, Clients: clients, After: get},
		{Name: "first head begun", Addr: addr, Clients: clients, Begun: get[:cut], After: get[cut:]},
		{Name: "later head begun", Addr: addr, Clients: clients, Before: get, Begun: get[:cut], After: get[cut:]},
	}
}

// A CrowdCount is what idle clients have seen when they spoke again.
type CrowdCount struct {
	Opened, Unopened int
	Refused          int // connections whose first request was not answered as it should be
	Answered         map[string]int
	Cut              int // connections that had ended in the silence
	Lost             int // requests after the silence that no good answer came to
	Announced        int // answers after the silence that said Connection: close
	Failures         []Failure
}

// Failed returns everything by which a client could tell that the server was
// replaced.
func (c CrowdCount) Failed() int { return c.Unopened + c.Refused + c.Cut + c.Lost + c.Announced }

// String returns the count in one line.
func (c CrowdCount) String() string {
	return fmt.Sprintf("%d opened, %d unopened, %d refused; afterwards %d cut, %d lost, %d closes announced, answered by %v",
		c.Opened, c.Unopened, c.Refused, c.Cut, c.Lost, c.Announced, c.Answered)
}

// A Crowd is idle connections of many kinds. Its methods are called by one
// goroutine.
type Crowd struct {
	members []member

	// mu guards what follows. It is a leaf.
	mu       sync.Mutex
	count    CrowdCount
	failures failures
}

type member struct {
	kind *Idler
	conn net.Conn // nil when it was not opened, or is of no use
	next string   // what makes a request whole
}

// Gather opens all connections and brings them to their silence. The caller must
// close the crowd.
func Gather(ctx context.Context, kinds ...Idler) *Crowd {
	w := &Crowd{failures: failures{began: time.Now()}}
	w.count.Answered = map[string]int{}
	for i := range kinds {
		for range kinds[i].Clients {
			w.members = append(w.members, member{kind: &kinds[i]})
		}
	}
	each(ctx, len(w.members), func(i int) { w.hush(ctx, &w.members[i]) })
	return w
}

// hush opens one connection and makes it idle.
func (w *Crowd) hush(ctx context.Context, m *member) {
	conn, err := dial(ctx, m.kind.Addr, crowdTimeout, 0)
	if err != nil {
		w.note(func(c *CrowdCount) { c.Unopened++ }, "%s: not opened: %v", m.kind.Name, err)
		return
	}
	w.note(func(c *CrowdCount) { c.Opened++ }, "")
	if m.kind.Before != "" {
		resp, err := say(conn, m.kind.Before)
		if err == nil && resp.Close {
			err = errors.New("answered with Connection: close")
		}
		if err != nil {
			conn.Close()
			w.note(func(c *CrowdCount) { c.Refused++ }, "%s: the request before the silence: %v", m.kind.Name, err)
			return
		}
	}
	if _, err := io.WriteString(conn, m.kind.Begun); err != nil {
		conn.Close()
		w.note(func(c *CrowdCount) { c.Refused++ }, "%s: %v", m.kind.Name, err)
		return
	}
	m.conn, m.next = conn, m.kind.After
}

const crowdTimeout = 20 * time.Second

// say sends what makes a request whole and takes its answer.
func say(conn net.Conn, text string) (*http.Response, error) {
	conn.SetDeadline(time.Now().Add(crowdTimeout))
	if _, err := io.WriteString(conn, text); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return resp, nil
}

// Speak ends the silence: every connection looks whether it was cut, and sends its
// request. It may be called again; who was told that the connection will be closed is
// silent then.
func (w *Crowd) Speak(ctx context.Context) {
	each(ctx, len(w.members), func(i int) {
		m := &w.members[i]
		if m.conn == nil {
			return
		}
		if err := peekClosed(m.conn); err != nil {
			w.note(func(c *CrowdCount) { c.Cut++ }, "%s: cut while idle: %v", m.kind.Name, err)
			return
		}
		resp, err := say(m.conn, m.next)
		switch {
		case err != nil:
			w.note(func(c *CrowdCount) { c.Lost++ }, "%s: the request after the silence: %v", m.kind.Name, err)
		case resp.Close:
			w.note(func(c *CrowdCount) { c.Announced++ }, "%s: Connection: close", m.kind.Name)
			m.conn.Close()
			m.conn = nil
		default:
			m.next = m.kind.Begun + m.kind.After
			by := resp.Header.Get("Server")
			w.note(func(c *CrowdCount) { c.Answered[by]++ }, "")
		}
	})
}

// Report returns what was seen so far.
func (w *Crowd) Report() CrowdCount {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.count
	c.Answered = maps.Clone(c.Answered)
	c.Failures = w.failures.soFar()
	return c
}

// Close closes every connection.
func (w *Crowd) Close() {
	for i := range w.members {
		if w.members[i].conn != nil {
			w.members[i].conn.Close()
			w.members[i].conn = nil
		}
	}
}

func (w *Crowd) note(change func(c *CrowdCount), format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.count)
	if format != "" {
		w.failures.add(format, args...)
	}
}
