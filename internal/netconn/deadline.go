package netconn

import (
	"errors"
	"os"
	"time"
)

// left is how much of a wait with this time-out is still to come.
func (s *direction) left() time.Duration {
	if !s.armed || s.timeout <= 0 {
		return s.timeout
	}
	return max(time.Until(s.want), time.Millisecond)
}

// ReadLeft is how much of the present wait for input is still to come; the wait's whole
// time-out when it has not begun, 0 for one without end.
func (t *Conn) ReadLeft() time.Duration { return t.read.left() }

// WriteWaited reports whether the last write had to wait for room.
func (t *Conn) WriteWaited() bool { return t.write.armed }

// BeginWaitAt tells what the time is when the next wait for input begins, for one who
// has just looked; the zero time is not known.
func (t *Conn) BeginWaitAt(now time.Time) { t.read.clock = now }

// Reset forgets waits, interruption and what was sent, for an endpoint that is used again.
func (t *Conn) Reset() {
	t.read, t.write, t.Sent = direction{}, direction{}, 0
	t.stopped.Store(false)
}

// Pause waits for d; it ends early, with an error, when the connection is closed,
// and with [ErrInterrupted]. The write side's deadline is the timer.
func (t *Conn) Pause(d time.Duration) error {
	until := time.Now().Add(d)
	t.write.set = until
	if err := t.file.SetWriteDeadline(until); err != nil {
		return err
	}
	t.keepStopped(t.file.SetWriteDeadline)
	err := t.Raw.Write(func(uintptr) bool { return !time.Now().Before(until) })
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case t.stopped.Load():
		return ErrInterrupted
	}
	return nil
}

// delayLook is how often a delay looks whether the client is still there.
const delayLook = 100 * time.Millisecond

// Delay waits for d. It returns false, at once, when the peer closed at least its sending
// side or the socket was closed here.
func (s *Socket) Delay(d time.Duration) bool {
	for until := time.Now().Add(d); d > 0; d = time.Until(until) {
		if s.HungUp() || s.Pause(min(d, delayLook)) != nil {
			return false
		}
	}
	return true
}
