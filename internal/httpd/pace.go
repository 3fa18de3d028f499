package httpd

import (
	"time"

	"github.com/baton-deploy/baton/internal/conf"
)

// SetRate makes the response go out at no more than n bytes a second from now on;
// 0 lifts the limit.
func (o *Response) SetRate(n int64) { o.rate, o.rateSet = max(n, 0), true }

// Rate is the response's limit in bytes a second, 0 for none.
func (o *Response) Rate() int64 {
	if !o.rateSet {
		core := o.r.core()
		o.rate = rateOf(&core.limitRate, o.r)
		o.rateSet = true
	}
	return o.rate
}

// startPace finds out the limits when the response begins.
func (o *Response) startPace() {
	if o.Rate() > 0 {
		o.rateAfter = rateOf(&o.r.core().limitRateAfter, o.r)
	}
}

// rateOf is a size with variables in it; one that is none is 0, no limit.
func rateOf(t *Template, r *Request) int64 {
	text, static := t.Static()
	if !static {
		text = t.String(r)
	}
	if text == "" {
		return 0
	}
	n, err := conf.ParseSize(text)
	if err != nil {
		return 0
	}
	return n
}

// allowance returns how many of n bytes may be sent now, at least one. It waits
// while the limit allows none. As in nginx the first second's worth goes out at
// once.
func (o *Response) allowance(n int64) (int64, error) {
	if o.rate <= 0 {
		return n, nil
	}
	for {
		allowed, missing := o.allowed(n)
		if missing <= 0 {
			return allowed, nil
		}
		wait := time.Duration(float64(missing) / float64(o.rate) * float64(time.Second))
		if err := o.r.c.Pause(min(max(wait, time.Millisecond), maxPause)); err != nil {
			return 0, err
		}
	}
}

// allowed returns how many of n bytes may be sent now, and how many bytes must be
// earned before anything may.
func (o *Response) allowed(n int64) (now, missing int64) {
	quantum := min(n, max(o.rate/pacePieces, 1))
	now = o.rateAfter - o.paced + o.earned(time.Since(o.r.start)+time.Second)
	return min(n, now), quantum - now
}

// earned is what the rate allows in d.
func (o *Response) earned(d time.Duration) int64 {
	return int64(float64(o.rate) * d.Seconds())
}

const (
	// pacePieces is how many pieces a second's worth is sent in.
	pacePieces = 10
	maxPause   = time.Hour
)

// putPaced is put at the response's rate.
func (o *Response) putPaced(p []byte) error {
	c := o.r.c
	for len(p) > 0 {
		if c.patient {
			if _, missing := o.allowed(int64(len(p))); c.stalled || missing > 0 {
				c.stalled = true
				c.hold(p)
				return nil
			}
		}
		n, err := o.allowance(int64(len(p)))
		if err != nil {
			c.broken = err
			return err
		}
		if err := c.send(p[:n], o.r.core().sendTimeout); err != nil {
			return err
		}
		o.paced += max(n-c.unsent(), 0)
		p = p[n:]
	}
	return nil
}
