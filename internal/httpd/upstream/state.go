package upstream

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// A Try is what one server had to do with a request. Times are counted from its
// beginning; negative means that it never came to that.
type Try struct {
	Addr     string // the server's, or the group's name when none was alive
	Status   int    // 0: it never came to one
	Connect  time.Duration
	Header   time.Duration
	Response time.Duration
	Length   int64 // of the response's body
	Received int64
	Sent     int64

	Again bool // the first try after an internal redirect
}

// A State is what $upstream_… tell about a request: all tries, over internal
// redirects too, and the last response head.
type State struct {
	Tries []Try
	// Head calls f for each field of the last response's head.
	Head interface {
		EachField(f func(name, value []byte))
	}

	again bool
	owned []Releaser
}

// A Releaser is told when the request is over: what a protocol kept for it can
// be used again. (Not [httpd.Ender]: a protocol may store it in the request too.)
type Releaser interface{ Release() }

var states = sync.Pool{New: func() any { return new(State) }}

// State returns r's state, made when it has none.
func (u *Upstreams) State(r *httpd.Request) *State {
	if s, ok := r.State(u.key).(*State); ok {
		return s
	}
	s := states.Get().(*State)
	r.SetState(u.key, s)
	return s
}

// Begin is called when a protocol begins to serve the request. e is told when the
// request is over. What it returns is who served the request before, or nil.
func (s *State) Begin(e Releaser) (earlier Releaser) {
	earlier = s.serving()
	s.again = len(s.Tries) > 0
	s.Head = nil
	s.owned = append(s.owned, e)
	return earlier
}

func (s *State) serving() Releaser {
	if len(s.owned) == 0 {
		return nil
	}
	return s.owned[len(s.owned)-1]
}

// Serving returns what was last given to Begin of r's state, or nil.
func (u *Upstreams) Serving(r *httpd.Request) Releaser {
	if s, ok := r.State(u.key).(*State); ok {
		return s.serving()
	}
	return nil
}

// Try adds a try. The result is valid until the next call.
func (s *State) Try(addr string) *Try {
	s.Tries = append(s.Tries, Try{Addr: addr, Connect: -1, Header: -1, Response: -1, Again: s.again})
	s.again = false
	return &s.Tries[len(s.Tries)-1]
}

// End is called when the request is over.
func (s *State) End() {
	for _, e := range s.owned {
		e.Release()
	}
	clear(s.owned)
	*s = State{Tries: s.Tries[:0], owned: s.owned[:0]}
	states.Put(s)
}

// carried is the form in which the state of a request moves to another process. A
// release that knows more fields or fewer reads the ones it knows.
type carried struct {
	Tries []Try `json:"tries"`
	Head  head  `json:"head,omitempty"`
}

// head is the fields of a response head, each its name and its value.
type head [][2][]byte

func (h head) EachField(f func(name, value []byte)) {
	for _, field := range h {
		f(field[0], field[1])
	}
}

// Carry returns what the log will say about the upstream.
func (u *Upstreams) Carry(r *httpd.Request) []byte {
	s, ok := r.State(u.key).(*State)
	if !ok || len(s.Tries) == 0 {
		return nil
	}
	c := carried{Tries: s.Tries}
	if s.Head != nil {
		s.Head.EachField(func(name, value []byte) { c.Head = append(c.Head, [2][]byte{name, value}) })
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil // numbers and text: it does not
	}
	return b
}

// Restore brings the tries and the head back.
func (u *Upstreams) Restore(r *httpd.Request, state []byte) {
	var c carried
	if json.Unmarshal(state, &c) != nil {
		return
	}
	s := u.State(r)
	s.Tries, s.Head = c.Tries, c.Head
}

// Passed accounts what went through here to the last try.
func (u *Upstreams) Passed(r *httpd.Request, p httpd.Passage) {
	s, ok := r.State(u.key).(*State)
	if !ok || len(s.Tries) == 0 {
		return
	}
	t := &s.Tries[len(s.Tries)-1]
	t.Response += p.Took
	t.Length += p.Content
	t.Received += p.Received
	t.Sent += p.Sent
}

// addVariables adds $upstream_… to the configuration that b compiles.
func (u *Upstreams) addVariables(b *httpd.Builder) {
	list := func(name string, value func(t *Try, dst []byte) []byte) {
		b.AddVariable(name, func(r *httpd.Request, _ string, dst []byte) ([]byte, bool) {
			s, ok := r.State(u.key).(*State)
			if !ok || len(s.Tries) == 0 {
				return dst, false
			}
			return s.list(dst, value), true
		})
	}
	list("upstream_addr", func(t *Try, dst []byte) []byte { return append(dst, t.Addr...) })
	list("upstream_status", func(t *Try, dst []byte) []byte {
		if t.Status == 0 {
			return append(dst, '-')
		}
		return strconv.AppendInt(dst, int64(t.Status), 10)
	})
	list("upstream_connect_time", func(t *Try, dst []byte) []byte { return appendSeconds(dst, t.Connect) })
	list("upstream_header_time", func(t *Try, dst []byte) []byte { return appendSeconds(dst, t.Header) })
	list("upstream_response_time", func(t *Try, dst []byte) []byte { return appendSeconds(dst, t.Response) })
	list("upstream_response_length", func(t *Try, dst []byte) []byte { return strconv.AppendInt(dst, t.Length, 10) })
	list("upstream_bytes_received", func(t *Try, dst []byte) []byte { return strconv.AppendInt(dst, t.Received, 10) })
	list("upstream_bytes_sent", func(t *Try, dst []byte) []byte { return strconv.AppendInt(dst, t.Sent, 10) })
	none := func(_ *httpd.Request, _ string, dst []byte) ([]byte, bool) { return dst, false }
	b.AddVariable("upstream_cache_status", none)
	b.AddVariable("upstream_trailer_", none) // trailers are read and dropped
	b.AddVariable("upstream_http_", u.headVariable)
	b.AddVariable("upstream_cookie_", u.cookieVariable)
}

// list appends a value for each try: "a, b : c".
func (s *State) list(dst []byte, value func(t *Try, dst []byte) []byte) []byte {
	for i := range s.Tries {
		t := &s.Tries[i]
		switch {
		case i == 0:
		case t.Again:
			dst = append(dst, " : "...)
		default:
			dst = append(dst, ", "...)
		}
		dst = value(t, dst)
	}
	return dst
}

// appendSeconds appends d as nginx has times: "0.005", or "-".
func appendSeconds(dst []byte, d time.Duration) []byte {
	if d < 0 {
		return append(dst, '-')
	}
	ms := int64(d / time.Millisecond)
	dst = strconv.AppendInt(dst, ms/1000, 10)
	frac := ms % 1000
	return append(dst, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
}

// headVariable is $upstream_http_NAME: the first field of that name.
func (u *Upstreams) headVariable(r *httpd.Request, name string, dst []byte) ([]byte, bool) {
	s, ok := r.State(u.key).(*State)
	if !ok || s.Head == nil {
		return dst, false
	}
	want := strings.TrimPrefix(name, "upstream_http_")
	found := false
	s.Head.EachField(func(field, value []byte) {
		if !found && namesField(want, field) {
			dst, found = append(dst, value...), true
		}
	})
	return dst, found
}

// namesField reports whether a variable's name, "cache_control", means field.
func namesField(want string, field []byte) bool {
	if len(want) != len(field) {
		return false
	}
	for i, c := range field {
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '-':
			c = '_'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// cookieVariable is $upstream_cookie_NAME: the value of a cookie that the server
// sets, without its attributes.
func (u *Upstreams) cookieVariable(r *httpd.Request, name string, dst []byte) ([]byte, bool) {
	s, ok := r.State(u.key).(*State)
	if !ok || s.Head == nil {
		return dst, false
	}
	want := strings.TrimPrefix(name, "upstream_cookie_")
	found := false
	s.Head.EachField(func(field, value []byte) {
		if found || !namesField("set_cookie", field) {
			return
		}
		cookie, _, _ := bytes.Cut(value, []byte(";"))
		key, val, ok := bytes.Cut(cookie, []byte("="))
		if ok && strings.EqualFold(string(bytes.TrimRight(key, " ")), want) {
			dst, found = append(dst, bytes.TrimLeft(val, " ")...), true // blanks are spaces only
		}
	})
	return dst, found
}
