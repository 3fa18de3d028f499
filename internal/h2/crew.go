package h2

import (
	"sync"
	"time"
)

// A Crew serves streams on goroutines that have served others: their stacks have grown
// already. Those that had nothing to do for a while are let go. The zero Crew is ready
// for use.
type Crew struct {
	mu       sync.Mutex
	idle     []chan *Stream // the last one that became idle is the first to serve again
	least    int            // of them since the last sweep
	sweeping bool
}

const (
	// mostIdle bounds how many goroutines of a Crew wait for work.
	mostIdle = 256
	// sweepEvery is how long one waits at least before it is let go.
	sweepEvery = time.Second
)

// serve serves st on a goroutine of its own.
func (k *Crew) serve(st *Stream) {
	k.mu.Lock()
	n := len(k.idle) - 1
	if n < 0 {
		k.mu.Unlock()
		go k.work(st)
		return
	}
	next := k.idle[n]
	k.idle = k.idle[:n]
	k.least = min(k.least, n)
	k.mu.Unlock()
	next <- st
}

func (k *Crew) work(st *Stream) {
	next := make(chan *Stream, 1)
	for ; st != nil; st = <-next {
		c := st.c
		c.run(st)
		c.running.Done()
		if !k.rest(next) {
			return
		}
	}
}

// rest makes the goroutine that waits for next an idle one, unless there are enough.
func (k *Crew) rest(next chan *Stream) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.idle) >= mostIdle {
		return false
	}
	k.idle = append(k.idle, next)
	if !k.sweeping {
		k.sweeping = true
		time.AfterFunc(sweepEvery, k.sweep)
	}
	return true
}

// sweep lets those go that nobody needed since the last time.
func (k *Crew) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, next := range k.idle[:k.least] {
		next <- nil
	}
	k.idle = append(k.idle[:0], k.idle[k.least:]...)
	k.least = len(k.idle)
	if k.sweeping = k.least > 0; k.sweeping {
		time.AfterFunc(sweepEvery, k.sweep)
	}
}
