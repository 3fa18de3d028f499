package httpd

import "time"

// start notes when the body began, by which its rate is measured.
func (s *Stream) start() {
	if s.Rate > 0 {
		s.began = time.Now()
	}
}

// early is how long it is until the rate allows more to be read. As in nginx the first
// second's worth is read at once.
func (s *Stream) early() time.Duration {
	if s.Rate <= 0 || s.pinned() {
		return 0
	}
	ahead := float64(s.Raw)/float64(s.Rate) - (time.Since(s.began) + time.Second).Seconds()
	return time.Duration(max(ahead, 0) * float64(time.Second))
}

// hold waits until the rate allows more to be read, or returns [ErrInterrupted]. Between
// two of its waits it asks whether to go on.
func (s *Stream) hold(goOn func() error) error {
	for {
		wait := s.early()
		if wait <= 0 {
			return nil
		}
		// Nothing is written to the server meanwhile: else the stream is pinned.
		if err := s.Server.Pause(min(wait, lastLook)); err != nil {
			return err
		}
		if err := goOn(); err != nil {
			return err
		}
	}
}

// holdStream is hold as long as the client is there. What it is owed goes out first.
func (r *Request) holdStream(s *Stream, flush bool) error {
	if flush {
		if err := r.Out.Flush(); err != nil && !s.IgnoreAbort {
			return ErrGone
		}
		if r.c.stalled {
			return nil
		}
	}
	client := r.Client()
	return s.hold(func() error {
		if client.HungUp() && (!s.IgnoreAbort || client.Closed()) {
			return ErrGone
		}
		return nil
	})
}
