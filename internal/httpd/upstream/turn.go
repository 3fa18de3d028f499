package upstream

import (
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// turns tells those who wait for one turn of the poller when it is over. The pools of a
// configuration share one. It costs nothing until somebody waits.
//
// A turn is an event of an eventfd: the poller tells of it behind all that was ready when it
// was rung for, so those who have an answer by then have kept their connections before.
type turns struct {
	// mu guards what follows. It is a leaf, and taken under a pool's.
	mu     sync.Mutex
	file   *os.File // the eventfd; nil: nobody waited yet
	fd     int      // its descriptor, which is file's
	over   uint64   // turns that are over
	heard  bool     // events are listened for
	rung   bool     // an event is on its way, or will be once they are
	again  bool     // who waits came behind it, and needs another one
	pools  []*pool  // in which somebody waits
	spare  []*pool  // the memory of another list
	closed bool     // nobody may wait
}

// begin says which turn somebody who waits in pl from now on is to wait for; false when that
// is not possible. pl.mu must be held.
func (t *turns) begin(pl *pool) (turn uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open() {
		return 0, false
	}
	if !pl.listed {
		pl.listed = true
		t.pools = append(t.pools, pl)
	}
	if t.rung {
		t.again = true
		return t.over + 2, true
	}
	t.ring()
	return t.over + 1, true
}

// open makes the eventfd when there is none, and reports whether there is one. t.mu must
// be held.
func (t *turns) open() bool {
	if t.file != nil || t.closed {
		return !t.closed
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return false
	}
	t.fd, t.file = fd, os.NewFile(uintptr(fd), "turn")
	go t.run(t.file) // until close
	return true
}

// ring asks for an event. t.mu must be held.
func (t *turns) ring() {
	t.rung = true
	if !t.heard {
		return // listen does it
	}
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(t.fd), uintptr(unsafe.Pointer(&one)), 8)
}

// run ends turns until file is closed.
func (t *turns) run(file *os.File) {
	raw, err := file.SyscallConn()
	if err != nil {
		return // it was closed at once
	}
	listening := false
	// The eventfd is not read: each write is an event, and a read would be another one,
	// which might be taken for the next.
	_ = raw.Read(func(uintptr) bool {
		if listening {
			t.end()
		} else {
			listening = true
			t.listen()
		}
		return false
	})
}

// listen is called when no event can be missed from then on: the poller forgets those that
// came before somebody read.
func (t *turns) listen() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard = true
	if t.rung && !t.closed {
		t.ring()
	}
}

// end is called at an event.
func (t *turns) end() {
	// The poller hands over many goroutines at once, and this one is not the last to run.
	runtime.Gosched()
	t.mu.Lock()
	t.over++
	over := t.over
	if t.rung = t.again; t.again && !t.closed {
		t.again = false
		t.ring()
	}
	pools := t.pools
	t.pools, t.spare = t.spare[:0], nil
	t.mu.Unlock()
	left := pools[:0]
	for _, pl := range pools {
		if pl.endTurn(over) {
			left = append(left, pl)
		}
	}
	t.mu.Lock()
	t.pools = append(t.pools, left...)
	clear(pools)
	t.spare = pools[:0]
	t.mu.Unlock()
}

// close is called behind that of all pools. It waits for an end that is under way.
func (t *turns) close() {
	t.mu.Lock()
	t.closed = true // nobody uses fd from now on
	file := t.file
	t.mu.Unlock()
	if file != nil {
		_ = file.Close()
	}
}

// A waiter is a request that found no idle connection and waits for one turn of the poller
// before it opens another one. It is guarded by its pool's lock while it is in the list.
type waiter struct {
	peer       *Peer
	kind, user any
	turn       uint64 // when that is over it waits in vain
	next       *waiter
	got        chan *Conn // a connection, or nil at the end of the turn
}

var waiters = sync.Pool{New: func() any { return &waiter{got: make(chan *Conn, 1)} }}

// wait returns what somebody gives, or nil.
func (w *waiter) wait() *Conn {
	c := <-w.got
	w.peer, w.kind, w.user = nil, nil, nil
	waiters.Put(w)
	return c
}

// A queue is who waits in a pool, the first comer first, so that turns ascend.
type queue struct{ head, tail *waiter }

func (q *queue) push(w *waiter) {
	w.next = nil
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	q.tail = w
}

// cut takes w out, which stands behind prev, or is the first when prev is nil.
func (q *queue) cut(prev, w *waiter) {
	if prev == nil {
		q.head = w.next
	} else {
		prev.next = w.next
	}
	if q.tail == w {
		q.tail = prev
	}
	w.next = nil
}

// A kept connection that is closed for want of room is one that somebody had to open while
// others were in use. Only such connections are saved by waiting, so each allows
// waitsForOne waits in vain, and maxWaits bounds how long a pool remembers.
const (
	waitsForOne = 2
	maxWaits    = 1024
)

// enlist makes who wants a connection to p wait for one, where that has a chance. pl.mu
// must be held.
func (pl *pool) enlist(p *Peer, kind, user any) *waiter {
	if pl.waits <= 0 || pl.closed || pl.turns == nil || pl.idle <= 0 {
		return nil
	}
	turn, ok := pl.turns.begin(pl)
	if !ok {
		return nil
	}
	pl.waits--
	w := waiters.Get().(*waiter)
	w.peer, w.kind, w.user, w.turn = p, kind, user, turn
	pl.queue.push(w)
	return w
}

// give hands c to the first who waits for one like it, if any. pl.mu must be held.
func (pl *pool) give(c *Conn) bool {
	var prev *waiter
	for w := pl.queue.head; w != nil; prev, w = w, w.next {
		if pl.suits(c, w.peer, w.kind, w.user) {
			pl.queue.cut(prev, w)
			w.got <- c
			return true
		}
	}
	return false
}

// endTurn ends the waits for turns up to over, and reports whether there are others.
func (pl *pool) endTurn(over uint64) bool {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.endWaits(over)
	pl.listed = pl.queue.head != nil
	return pl.listed
}

// endWaits ends the waits for turns up to over. pl.mu must be held.
func (pl *pool) endWaits(over uint64) {
	for w := pl.queue.head; w != nil && w.turn <= over; w = pl.queue.head {
		pl.queue.cut(nil, w)
		w.got <- nil
	}
}

// allowWaits makes room for n waits in vain.
func (pl *pool) allowWaits(n int) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.waits = min(pl.waits+n, maxWaits)
}
