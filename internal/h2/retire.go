package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// A retirement is the end of a connection that has done its part. The client is told
// twice: first that it should begin nothing new, with a PING behind it, and at last which
// request was the last one that is served. It answers the PING when it has read the first
// word, but a request may be on its way between two of its goroutines meanwhile, and come
// behind that answer; it is served, too. So the last word goes out only when nothing is
// open and nothing has come for a while. What comes after that all the same is refused in
// the way that says that it was not begun.
//
// A client may also lose a request by itself when it hears the first word in the moment
// in which it begins one: Go's gives up a body that cannot be read twice, though nothing
// was sent. So the first word goes out when the client has as much open as it lately had
// at most: what begins requests in it most likely waits for answers then, all of which
// come behind the word. The connection's mu guards it.
type retirement struct {
	pace        pace
	crest       crest
	due         bool // it was told to retire, and the moment for the first word is waited for
	late        int  // streams opened since there is a reason to retire
	retiring    bool // the client was told the first word
	retiredAt   time.Time
	sinceRetire int       // streams opened since
	heardAt     time.Time // when it answered, zero before
	clock       *time.Timer
	lastWord    bool   // the client was told which stream is the last one
	wordID      uint32 // this one
}

// A pace is how long the steps of a retirement last.
type pace struct {
	moment time.Duration // that the first word may wait for a good moment
	answer time.Duration // that a client may take to answer the PING, while it has nothing open
	quiet  time.Duration // in which nothing must come from one that has answered
	whole  time.Duration // from the first word to the last
}

const (
	momentTime = 100 * time.Millisecond
	answerTime = 3 * time.Second
	quietTime  = 200 * time.Millisecond
	retireTime = 15 * time.Second
	// maxLate is how many streams may be opened before the first word goes out in any
	// moment.
	maxLate = 64
)

// A crest is the most streams that a client has lately had open at once.
type crest struct {
	before, last, seen int // crestSpan streams are seen before last becomes before
}

const crestSpan = 64

// rise counts one more stream; open of them are by now.
func (c *crest) rise(open int) {
	if c.seen++; c.seen > crestSpan {
		c.before, c.last, c.seen = c.last, 0, 1
	}
	c.last = max(c.last, open)
}

// reached reports whether so many open streams are as many as there lately were at most.
func (c *crest) reached(open int) bool { return open >= max(c.before, c.last) }

// retirePing is what the PING carries that follows the first GOAWAY.
var retirePing = [8]byte{'r', 'e', 't', 'i', 'r', 'e', 'd', '?'}

// Retire asks the client to open another connection for what it wants next, and ends
// this one when what is under way is done, without losing what crosses that.
func (c *Conn) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := c.live == 0 && time.Since(c.idleSince) >= c.pace.quiet
	switch {
	case c.due || c.retiring:
		return
	case idle || c.crest.reached(c.live-c.ending):
		c.notify()
		c.flush(false)
		return
	}
	c.due = true // wearOut looks for the moment
	c.clock = time.AfterFunc(c.pace.moment, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.notify()
		c.flush(false)
	})
}

// retireIdle is Retire for a connection that was idle for long enough. It reports false
// when nothing can be lost, since there was no request yet.
func (c *Conn) retireIdle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened > 0 {
		c.notify()
	}
	return c.retiring
}

// wearOut retires a connection that had as many streams as there may be, or is too old, and does not let
// a client that was told so go on for ever. c.mu is held.
func (c *Conn) wearOut() {
	c.crest.rise(c.live - c.ending)
	switch {
	case c.retiring:
		if c.sinceRetire++; c.sinceRetire >= 2*max(c.conf.MaxStreams, 100) {
			c.sayLast()
		}
	case c.due || c.opened >= c.conf.Requests || c.conf.IdleTimeout <= 0 || c.old:
		if c.late++; c.late > maxLate || c.crest.reached(c.live-c.ending) {
			c.notify()
		}
	}
}

// age makes the next stream of a connection one that retires it.
func (c *Conn) age() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.old = true
}

// notify is the first word. c.mu is held.
func (c *Conn) notify() {
	if c.retiring || c.fault != nil || c.lastWord {
		return
	}
	c.retiring, c.retiredAt = true, time.Now()
	if c.clock != nil {
		c.clock.Stop() // it was postponed
	}
	c.clock = time.AfterFunc(c.pace.answer, c.settle)
	if c.started {
		c.appendNotice()
	}
}

// appendNotice appends the first word.
func (c *Conn) appendNotice() {
	c.appendGoAway(maxWindow, http2.ErrCodeNo)
	c.out = appendFrame(c.out, len(retirePing), http2.FramePing, 0, 0)
	c.out = append(c.out, retirePing[:]...)
}

// heed follows the client's answer to the first word. c.mu is held.
func (c *Conn) heed() {
	if c.retiring && c.heardAt.IsZero() {
		c.heardAt = time.Now()
		c.await()
	}
}

// await sets the clock for the last word. c.mu is held.
func (c *Conn) await() {
	if c.retiring && !c.lastWord {
		c.clock.Reset(max(c.unsettled(time.Now()), 0))
	}
}

// settle says the last word when it is time to.
func (c *Conn) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastWord || c.fault != nil {
		return
	}
	if left := c.unsettled(time.Now()); left > 0 {
		c.clock.Reset(left)
		return
	}
	c.sayLast()
}

// unsettled is how long the last word must wait still, unless something comes. c.mu is
// held.
func (c *Conn) unsettled(now time.Time) time.Duration {
	since, wait := c.heardAt, c.pace.quiet
	if since.IsZero() {
		since, wait = c.retiredAt, c.pace.answer
	}
	if c.idleSince.After(since) {
		since = c.idleSince
	}
	end := c.retiredAt.Add(c.pace.whole).Sub(now)
	switch {
	case c.live > 0:
		return end
	case c.midFrame:
		return min(end, c.pace.quiet)
	}
	return min(end, since.Add(wait).Sub(now))
}

// sayLast is the last word. c.mu is held.
func (c *Conn) sayLast() {
	if c.lastWord || c.fault != nil {
		return
	}
	c.word(http2.ErrCodeNo)
	c.flush(false)
	c.closeIfDone()
}

// word tells the client which stream is the last one. What it was told once stays so.
// c.mu is held.
func (c *Conn) word(code http2.ErrCode) {
	if !c.lastWord {
		c.lastWord, c.wordID = true, c.lastID
	}
	c.appendGoAway(c.wordID, code)
}

// closeIfDone makes Serve return once the client knows the last stream and has got the
// answers to all. c.mu is held.
func (c *Conn) closeIfDone() {
	if c.lastWord && c.live == 0 && len(c.out) == 0 && !c.writing && !c.closing && c.fault == nil {
		c.closing = true
		c.sock.Interrupt()
	}
}
