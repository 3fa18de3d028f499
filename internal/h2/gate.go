package h2

import (
	"os"
	"sync"
	"time"
)

// A gate is where one goroutine waits for news of one direction of a stream, until
// its deadline. News that comes before the wait is not lost.
type gate struct {
	news  chan struct{} // of one place
	timer *time.Timer   // the waiting goroutine's

	// mu guards what follows. It is a leaf.
	mu    sync.Mutex
	until time.Time // zero: no deadline
}

func (g *gate) init() {
	if g.news == nil {
		g.news = make(chan struct{}, 1)
	}
}

// reset forgets news and deadline. Nobody may wait.
func (g *gate) reset() {
	select {
	case <-g.news:
	default:
	}
	g.until = time.Time{}
}

// tell ends the wait under way, or else the next one.
func (g *gate) tell() {
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// setDeadline also ends a wait under way, so that it begins again with t.
func (g *gate) setDeadline(t time.Time) {
	g.mu.Lock()
	g.until = t
	g.mu.Unlock()
	g.tell()
}

// wait waits for news. It returns os.ErrDeadlineExceeded when the deadline has passed.
func (g *gate) wait() error {
	g.mu.Lock()
	until := g.until
	g.mu.Unlock()
	if until.IsZero() {
		<-g.news
		return nil
	}
	left := time.Until(until)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	if g.timer == nil {
		g.timer = time.NewTimer(left)
	} else {
		g.timer.Reset(left)
	}
	select {
	case <-g.news:
	case <-g.timer.C:
	}
	g.timer.Stop()
	return nil
}
