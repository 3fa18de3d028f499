package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Group is a number of clients that do the same.
type Group struct {
	Name string // heads its column in the report
	Addr string // "host:port", or a path: unix socket
	Path string // "" means "/"

	Clients   int  // at least 1
	KeepAlive bool // false: each request on a connection of its own
	Post      bool // POST with a small body; false: GET
	Echo      bool // the answer's body must be the request's

	// Blind clients send on a connection that the server has closed already,
	// as happens when a request crosses the server's FIN on the wire. Others
	// look first and open another connection. Both are counted as idle cuts.
	Blind bool

	// Split is more than 0 for clients that send every request in two pieces, cut
	// at a random byte, and wait up to Split in between.
	Split time.Duration
	// Pipeline is more than 1 for clients that send 2 to Pipeline requests at once
	// and then take the answers. They need KeepAlive.
	Pipeline int

	// TLS is how the server is spoken to; nil: plain. Whether such a connection was cut
	// while it was idle is not looked at before a request: all are blind.
	TLS *tls.Config

	// A client waits between MinPause and MaxPause before each request.
	MinPause, MaxPause time.Duration

	Timeout time.Duration // for one request; 0 means 5s
	Status  int           // expected of every answer; 0 means 200
	By      string        // header that tells who answered; "" means Server
}

func (g *Group) network() string {
	if strings.HasPrefix(g.Addr, "/") {
		return "unix"
	}
	return "tcp"
}

// host is what the header Host says.
func (g *Group) host() string {
	if g.network() == "unix" {
		return "localhost"
	}
	return g.Addr
}

func (g *Group) path() string           { return or(g.Path, "/") }
func (g *Group) timeout() time.Duration { return or(g.Timeout, 5*time.Second) }
func (g *Group) status() int            { return or(g.Status, 200) }
func (g *Group) by() string             { return or(g.By, "Server") }

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func (g *Group) validate() error {
	var errs []error
	if g.Clients < 1 {
		errs = append(errs, fmt.Errorf("Clients is %d", g.Clients))
	}
	if g.MaxPause < g.MinPause || g.MinPause < 0 {
		errs = append(errs, fmt.Errorf("pause is from %v to %v", g.MinPause, g.MaxPause))
	}
	if g.Split < 0 || g.Pipeline < 0 || g.Pipeline > 1 && !g.KeepAlive {
		errs = append(errs, fmt.Errorf("Split is %v, Pipeline is %d, KeepAlive is %v", g.Split, g.Pipeline, g.KeepAlive))
	}
	if g.network() == "tcp" {
		if _, _, err := net.SplitHostPort(g.Addr); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check group %q: %w", g.Name, err)
	}
	return nil
}

// A Load is clients at work.
type Load struct {
	began   time.Time
	cancel  context.CancelFunc
	clients sync.WaitGroup
	groups  []Group
	tallies []*tally
}

// Start starts the clients of all groups. They work until ctx is done or
// [Load.Stop] is called; the caller must call Stop in any case.
func Start(ctx context.Context, groups ...Group) (*Load, error) {
	for i := range groups {
		if err := groups[i].validate(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &Load{began: time.Now(), cancel: cancel, groups: groups}
	for i := range l.groups {
		t := &tally{began: l.began, failures: failures{began: l.began}, count: Count{Answered: map[string]int{}}}
		l.tallies = append(l.tallies, t)
		for id := range l.groups[i].Clients {
			c := &client{group: &l.groups[i], tally: t, id: id}
			l.clients.Go(func() { c.run(ctx) })
		}
	}
	return l, nil
}

// Stop ends the load: no client sends another request, those in flight are
// waited for. It returns the final report; calling it again returns it again.
func (l *Load) Stop() *Report {
	l.cancel()
	l.clients.Wait()
	return l.Report()
}

// Report returns what was seen so far. A request in flight is not in it.
func (l *Load) Report() *Report {
	r := &Report{Took: time.Since(l.began)}
	for i, t := range l.tallies {
		r.Groups = append(r.Groups, t.report(l.groups[i].Name))
	}
	return r
}

// Since returns how long the load has been running, the clock of [Sample.At].
func (l *Load) Since() time.Duration { return time.Since(l.began) }

// causes of a lost request
type cause int

const (
	lostFIN cause = iota
	lostRST
	lostBroken
	lostTimeout
)

func (c cause) String() string {
	return [...]string{"connection closed", "connection reset", "answer broken off", "timed out"}[c]
}

// A tally is the account of one group, kept by all of its clients.
type tally struct {
	began time.Time

	// mu guards what follows. It is a leaf.
	mu       sync.Mutex
	count    Count
	samples  []Sample
	failures failures
}

func (t *tally) report(name string) GroupReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	return GroupReport{
		Name: name, Count: t.count.clone(),
		Samples:  t.samples[:len(t.samples):len(t.samples)],
		Failures: t.failures.soFar(),
	}
}

func (t *tally) opened(again bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count.Connects++
	if again {
		t.count.Reconnects++
	}
}

func (t *tally) unopened(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A unix socket whose file is missing has nobody listening either.
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		t.count.Refused++
	} else {
		t.count.Unopened++
	}
	t.failures.add("connection not opened: %v", err)
}

func (t *tally) cutIdle(by string, reset bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if reset {
		t.count.IdleRST++
	} else {
		t.count.IdleFIN++
	}
	t.failures.addOf(by, "idle connection cut without announcement: %v", err)
}

func (t *tally) lost(by string, sent time.Time, c cause, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count.Sent++
	t.count.Lost++
	switch c {
	case lostFIN:
		t.count.LostFIN++
	case lostRST:
		t.count.LostRST++
	case lostBroken:
		t.count.LostBroken++
	case lostTimeout:
		t.count.LostTimeout++
	}
	t.failures.addOf(by, "request lost, %v %v after it was sent: %v", c, time.Since(sent).Round(time.Microsecond), err)
}

func (t *tally) answered(sent time.Time, by string, wrong error, announced bool) {
	took := time.Since(sent)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count.Sent++
	t.count.Answered[by]++
	if announced {
		t.count.Announced++
	}
	if wrong != nil {
		t.count.Wrong++
		t.failures.addOf(by, "wrong answer from %s: %v", by, wrong)
	}
	t.samples = append(t.samples, Sample{At: sent.Sub(t.began), Took: took, By: by})
}
