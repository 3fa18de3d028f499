package httpd

import (
	"errors"
	"log/slog"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/netconn"
)

// outlast serves a client that is slower than its server. When it does not help to
// wait briefly, a goroutine reads the answer into a spool while the request's own
// sends to the client, which has no room at the moment, first what is pending and then
// what is in the spool. It returns when all of that is sent: with s.failed when the
// server failed behind it, with [ErrMoved], or with lost when the client went away.
//
// When the answer is complete the server is free, however long its client takes.
func (r *Request) outlast(s *Stream) (lost, err error) {
	if s.spool == nil { // else it came from another process
		if ok, err := r.waitBriefly(s); ok || err != nil {
			return err, nil
		}
		r.spoolFor(s)
	}
	if s.Whole && !s.over {
		s.end(nil)
	}
	r.startReading(s)
	for {
		if r.c.movable() && r.outlastMovable(s) && r.moveSpool(s) {
			return nil, ErrMoved
		}
		some, err := r.sendSpooled(s)
		switch {
		case err != nil:
			s.stopReading()
			s.unspool()
			r.c.stalled = false
			return err, s.failed
		case some:
			continue
		}
		s.stopReading()
		if s.spool.inMemory() == 0 {
			break
		}
	}
	s.unspool()
	return nil, s.failed
}

// A client that is nearly as fast as its server is waited for: to begin and end a
// goroutine for it, and to write a file, would take longer. It gets briefly once, and
// for each byte what a client takes that reads 200 MB in a second.
const (
	briefly = 20 * time.Millisecond
	perByte = 5 * time.Nanosecond
)

// waitBriefly waits for the client to take what is pending while the server is not
// read, and reports whether it did.
func (r *Request) waitBriefly(s *Stream) (bool, error) {
	c := r.c
	left := briefly + time.Duration(s.Content)*perByte - s.blocked
	if s.Whole || s.Spool == nil || r.Out.rate > 0 || left <= 0 {
		return false, nil
	}
	start := time.Now()
	err := c.pushFor(min(left, briefly))
	s.blocked += time.Since(start)
	if c.stalled = err == nil && len(c.out) > 0; !c.stalled {
		c.releaseOut()
	}
	return !c.stalled, err
}

// spoolFor gives s an empty spool.
func (r *Request) spoolFor(s *Stream) {
	conf := s.Spool
	if conf == nil {
		conf = new(SpoolConf) // keeps nothing
	}
	s.spool = newSpool(conf)
	s.spool.create = r.CreateTemp
	s.spool.noFile = s.noFile
	s.spool.report = func(level slog.Level, msg string) {
		told := &s.warned
		if level != levelWarn {
			told = &s.noFile
		}
		if !*told {
			s.Owner.Report(level, msg+" while reading upstream")
		}
		*told = true
	}
	_ = r.RemoteAddr() // found out here once: the log may be written to by two goroutines
}

// startReading starts the goroutine that fills the spool, unless there is nothing to
// be read. stopReading must follow.
func (r *Request) startReading(s *Stream) {
	if s.Whole || s.failed != nil || s.Spool == nil {
		return
	}
	done := make(chan struct{})
	s.reading = done
	go func() { // ends with stopReading, or when the answer is complete
		defer close(done)
		err := r.Guarded(s.readOn)
		if !errors.Is(err, netconn.ErrInterrupted) {
			s.end(err)
		}
	}()
}

// readOn reads the answer into the spool: to its end, then it returns nil, or until
// stopReading, then it returns [ErrInterrupted].
func (s *Stream) readOn() error {
	for {
		p, used, end, err := s.next(s.Server.Buffered())
		if err != nil {
			return err
		}
		s.spool.put(p)
		s.took(p, used)
		if end {
			s.Whole = true
			return nil
		}
		if used > 0 && len(s.Server.Buffered()) > 0 {
			continue
		}
		if err := s.hold(func() error { return nil }); err != nil {
			return err
		}
		before := len(s.Server.Buffered())
		left := s.Timeout
		if left > 0 {
			left = max(left-s.Waited, time.Millisecond)
		}
		if err := s.fill(left); s.endsWith(err) {
			s.Whole = true
			return nil
		} else if err != nil {
			return err
		}
		s.Raw += int64(len(s.Server.Buffered()) - before)
	}
}

// end notes that the answer has ended and tells the owner. Nobody interrupts the
// server's socket from then on: it may serve another request already.
func (s *Stream) end(err error) {
	sp := s.spool
	sp.mu.Lock()
	s.over, s.failed = true, err
	stopped := sp.stopped
	sp.mu.Unlock()
	if stopped {
		s.Server.Resume()
	}
	s.Owner.Ended(err)
}

// stopReading stops the goroutine that fills the spool, if there is one. What it has
// read is in the spool, or in the buffer of the server's socket.
func (s *Stream) stopReading() {
	if s.reading == nil {
		return
	}
	sp := s.spool
	sp.mu.Lock()
	if !s.over {
		sp.stopped = true
		s.Server.Interrupt()
		sp.change.Broadcast()
	}
	sp.mu.Unlock()
	<-s.reading
	s.reading = nil
	if !s.over {
		s.Server.Resume()
	}
	sp.stopped = false
}

// goesOn reports whether another process could go on with the answer: it has not ended
// too soon, and if it has not ended at all its server's socket can move.
func (s *Stream) goesOn() bool {
	s.spool.mu.Lock()
	defer s.spool.mu.Unlock()
	return s.failed == nil && (s.over || !s.stays() && s.Server.CanMove())
}

// unspool lets go of the spool.
func (s *Stream) unspool() {
	if s.spool != nil {
		s.stopReading()
		s.spool.drop()
		s.spool = nil
	}
}

// sendSpooled sends some of what is pending, or else of what is in the spool, and
// reports whether there was anything.
func (r *Request) sendSpooled(s *Stream) (bool, error) {
	o, c := &r.Out, r.c
	if len(c.out) > 0 {
		return true, r.sendPending(s)
	}
	c.stalled = false
	block, st := s.spool.next()
	switch {
	case block != nil:
		_, err := o.Write(block)
		bufpool.Put(block)
		return true, err
	case st.n == 0:
		return false, nil
	case o.chunked || o.encoder != nil || !o.sendsFiles():
		return true, o.copySpooled(s.spool, st)
	}
	return true, r.sendfileSpooled(s, st)
}

// sendPending writes some of what is pending. It can be interrupted, in order to
// move, where a move is possible.
func (r *Request) sendPending(s *Stream) error {
	if !r.outlastMovable(s) {
		return r.Out.push()
	}
	r.c.openWindow()
	defer r.c.closeWindow()
	if r.c.movable() {
		return nil
	}
	return r.Out.push()
}

// push writes some of what is pending, at the response's rate.
func (o *Response) push() error {
	c := o.r.c
	n, err := o.allowance(int64(len(c.out)))
	if err == netconn.ErrInterrupted {
		return nil
	}
	if err != nil {
		c.broken = err
		return err
	}
	before := c.Sent
	err = c.push(int(n), o.r.core().sendTimeout)
	o.paced += c.Sent - before
	if len(c.out) == 0 {
		c.stalled = false
		c.releaseOut()
	}
	if err == netconn.ErrInterrupted {
		return nil
	}
	return err
}

// copySpooled sends some of a stretch of the file through Write, which frames and
// encodes.
func (o *Response) copySpooled(sp *spool, st stretch) error {
	b := &o.body
	b.fd, b.off, b.left, b.multi = st.fd, st.off, st.n, false
	err := o.writeStretch()
	sp.sent(b.off - st.off)
	b.left = 0
	return err
}

// sendfileSpooled sends some of a stretch of the file as it is.
func (r *Request) sendfileSpooled(s *Stream, st stretch) error {
	r.c.openWindow()
	defer r.c.closeWindow()
	if r.c.movable() && r.outlastMovable(s) {
		return nil
	}
	b := &r.Out.body
	b.fd, b.off, b.left, b.multi = st.fd, st.off, st.n, false
	err := r.Out.sendfileOnce()
	s.spool.sent(b.off - st.off)
	b.left = 0
	return err
}
