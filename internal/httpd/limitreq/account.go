package limitreq

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/shm"
)

// The numbers of an entry of a zone. The excess is in thousandths of a request.
const (
	wordLast   = iota // when the excess was found, by the clock of the zone
	wordExcess        // how much was asked for above the rate
)

// A verdict is what a zone says of a request.
type verdict uint8

const (
	pass   verdict = iota // it was counted
	ask                   // it passes here and is counted when it passes all zones
	refuse                // the excess is above the burst
	noRoom                // there is no room for its key
)

// An outcome is the value of $limit_req_status.
type outcome uint8

const (
	passed outcome = iota
	delayed
	rejected
	delayedDryRun
	rejectedDryRun
)

var outcomes = [...]string{"PASSED", "DELAYED", "REJECTED", "DELAYED_DRY_RUN", "REJECTED_DRY_RUN"}

// A limit is one limit_req: burst and delay in thousandths of a request.
type limit struct {
	zone         *zone
	burst, delay uint64
}

// limits are those of one location.
type limits struct {
	list         []limit
	key          httpd.StateKey
	refuse, wait slog.Level
	status       int
	dryRun       bool
}

// maxKey is the longest key that nginx counts.
const maxKey = 65535

// serve asks the zones one by one whether the request may pass, counts it in all of them
// when it may, and lets it wait as long as the one wants that wants it longest.
func (ls *limits) serve(r *httpd.Request) int {
	if r.State(ls.key) != nil {
		return httpd.Declined // it was counted where it came from
	}
	last := len(ls.list) - 1
	v, at, excess := noRoom, 0, uint64(0)
	asked := false
	for i := range ls.list {
		l := &ls.list[i]
		key := l.zone.key.Append(r.Scratch(), r)
		r.KeepScratch(key)
		if len(key) == 0 {
			continue
		}
		if len(key) > maxKey {
			r.Log(slog.LevelError, fmt.Sprintf("the value of the \"%s\" key is more than 65535 bytes: \"%s\"", l.zone.Key, key), nil)
			continue
		}
		asked, at = true, i
		if v, excess = l.zone.look(key, l.burst, i == last); v != ask {
			break
		}
	}
	switch {
	case !asked:
		return httpd.Declined
	case v == refuse || v == noRoom:
		return ls.reject(r, &ls.list[at], v, excess)
	}
	return ls.count(r, v, at, excess)
}

// reject ends a request that a zone refuses.
func (ls *limits) reject(r *httpd.Request, l *limit, v verdict, excess uint64) int {
	if v == noRoom {
		r.Log(errorlog.Alert, "could not allocate node in limit_req zone \""+l.zone.Name+"\"", nil)
	} else {
		r.Log(ls.refuse, fmt.Sprintf("limiting requests%s, excess: %d.%03d by zone \"%s\"", ls.how(), excess/1000, excess%1000, l.zone.Name), nil)
	}
	if ls.dryRun {
		r.SetState(ls.key, rejectedDryRun)
		return httpd.Declined
	}
	r.SetState(ls.key, rejected)
	return ls.status
}

// how is a part of messages.
func (ls *limits) how() string {
	if ls.dryRun {
		return ", dry run"
	}
	return ""
}

// count counts a request in the zones that were only asked, all up to number at but for
// that one if it has counted, and lets the request wait.
func (ls *limits) count(r *httpd.Request, v verdict, at int, excess uint64) int {
	var longest uint64
	strictest := &ls.list[at]
	if v == pass {
		longest = strictest.milliseconds(excess)
	} else {
		excess, at = 0, at+1
	}
	for at--; at >= 0; at-- {
		l := &ls.list[at]
		key := l.zone.key.Append(r.Scratch(), r)
		r.KeepScratch(key)
		if len(key) == 0 || len(key) > maxKey {
			continue
		}
		e := l.zone.count(key)
		if d := l.milliseconds(e); d > longest {
			longest, excess, strictest = d, e, l
		}
	}
	if longest == 0 {
		r.SetState(ls.key, passed)
		return httpd.Declined
	}
	r.Log(ls.wait, fmt.Sprintf("delaying request%s, excess: %d.%03d, by zone \"%s\"", ls.how(), excess/1000, excess%1000, strictest.zone.Name), nil)
	if ls.dryRun {
		r.SetState(ls.key, delayedDryRun)
		return httpd.Declined
	}
	r.SetState(ls.key, delayed)
	if client := r.Client(); !client.Delay(time.Duration(min(longest, maxDelay)) * time.Millisecond) {
		r.Log(slog.LevelInfo, "client prematurely closed connection", nil)
		return r.Lost(statusClientClosed)
	}
	return httpd.Declined
}

const (
	// statusClientClosed is nginx's for the log.
	statusClientClosed = 499
	// maxDelay is more than any client waits, in milliseconds.
	maxDelay = 1 << 40
)

// milliseconds is how long a request waits with this excess. Two requests at once may
// both pass, so it may be one above the burst; more is not believed.
func (l *limit) milliseconds(excess uint64) uint64 {
	excess = min(excess, l.burst+1000)
	if excess <= l.delay {
		return 0
	}
	return (excess - l.delay) * 1000 / l.zone.rate
}

// look says what the zone says of a request with this key, and the excess that it has with
// it. With account it is counted if it passes.
func (z *zone) look(key []byte, burst uint64, account bool) (verdict, uint64) {
	s, now := z.Store(), z.clock.Milliseconds()
	s.Lock()
	defer s.Unlock()
	e := s.Find(key)
	if e == 0 {
		if e = z.add(s, key, now); e == 0 {
			return noRoom, 0
		}
		if !account {
			return ask, 0
		}
		s.SetWord(e, wordLast, now)
		return pass, 0
	}
	excess, ms := z.excess(s, e, now)
	switch {
	case excess > burst:
		return refuse, excess
	case !account:
		return ask, excess
	}
	s.SetWord(e, wordExcess, excess)
	if ms != 0 {
		s.SetWord(e, wordLast, now)
	}
	return pass, excess
}

// count counts a request that passed all zones, and returns the excess with it.
func (z *zone) count(key []byte) uint64 {
	s, now := z.Store(), z.clock.Milliseconds()
	s.Lock()
	defer s.Unlock()
	e := s.Find(key)
	if e == 0 { // it was given up in between
		if e = z.add(s, key, now); e == 0 {
			return 0
		}
	}
	excess, ms := z.excess(s, e, now)
	if ms != 0 {
		s.SetWord(e, wordLast, now)
	}
	s.SetWord(e, wordExcess, excess)
	return excess
}

// excess is that of an entry with one more request, and the milliseconds since the last.
func (z *zone) excess(s *shm.Store, e shm.Entry, now uint64) (excess, ms uint64) {
	switch since := int64(now - s.Word(e, wordLast)); {
	case since < -60000:
		ms = 1
	case since > 0:
		ms = uint64(since)
	}
	return uint64(max(int64(s.Word(e, wordExcess)-z.rate*ms/1000+1000), 0)), ms
}

// add makes an entry for a key, and room for it.
func (z *zone) add(s *shm.Store, key []byte, now uint64) shm.Entry {
	z.expire(s, now, false)
	e := s.Add(key)
	if e == 0 {
		z.expire(s, now, true)
		e = s.Add(key)
	}
	return e
}

// expire removes the oldest entry, with force, and one or two more, or two without it,
// that have had no excess for a minute.
func (z *zone) expire(s *shm.Store, now uint64, force bool) {
	for n := range 3 {
		e := s.Oldest()
		if e == 0 || n == 2 && !force {
			return
		}
		if !force || n > 0 {
			ms := int64(now - s.Word(e, wordLast))
			if ms = max(ms, -ms); ms < 60000 || int64(s.Word(e, wordExcess)-z.rate*uint64(ms)/1000) > 0 {
				return
			}
		}
		s.Remove(e)
	}
}

// variable is $limit_req_status.
func (in *instance) variable(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
	o, ok := r.State(in.key).(outcome)
	if !ok {
		return dst, false
	}
	return append(dst, outcomes[o]...), true
}
