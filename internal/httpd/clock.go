package httpd

import (
	"net/http"
	"time"
)

// A second is one second of the clock in the forms in which responses and logs
// carry it. They are made once in a second, not once in a request.
type second struct {
	unix  int64
	date  []byte // whole "Date: …" line
	local []byte // $time_local
	iso   []byte // $time_iso8601
}

// second returns the forms of now. The caller must not change them.
func (s *Server) second(now time.Time) *second {
	sec := now.Unix()
	if d := s.clock.Load(); d != nil && d.unix == sec {
		return d
	}
	date := append([]byte("Date: "), now.UTC().AppendFormat(nil, http.TimeFormat)...)
	d := &second{
		unix:  sec,
		date:  append(date, "\r\n"...),
		local: now.AppendFormat(nil, "02/Jan/2006:15:04:05 -0700"),
		iso:   now.AppendFormat(nil, "2006-01-02T15:04:05-07:00"),
	}
	s.clock.Store(d)
	return d
}

// dateLine returns the Date field for now.
func (s *Server) dateLine(now time.Time) []byte { return s.second(now).date }

// Answered tells that nothing but the client is waited for any more, at the time now:
// what is left of the response is in memory or a small file. The zero time is none.
func (r *Request) Answered(now time.Time) { r.c.clock = now }

// now is the time. Once the request is Answered it stays the same until the client
// makes the response wait: reading the clock costs a small file more than asking for
// the file's size. nginx reads it once for everything between two waits.
func (r *Request) now() time.Time {
	if t := r.c.clock; !t.IsZero() {
		return t
	}
	return time.Now()
}
