package proxy

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// Levels of the error log.
const (
	levelInfo  = slog.LevelInfo
	levelWarn  = slog.LevelWarn
	levelError = slog.LevelError
	levelCrit  = slog.Level(12)
	levelAlert = slog.Level(14)
)

// A failure is why a try did not give an answer for the client, or, in a
// location's settings, which of them lead to the next server.
type failure uint32

const (
	failError failure = 1 << iota
	failTimeout
	failHeader // an answer that is no HTTP
	fail500
	fail502
	fail503
	fail504
	fail403
	fail404
	fail429
	failUnsafe // the request may have had an effect already: POST, LOCK, PATCH
	failOff
	failGone // the client went away: nobody is asked any more
	failBody // the client's body could not be read to its end
	failHere // there is no socket to ask with: no other server would do better
)

// failureOf is the failure that an answer's status is, or 0.
func failureOf(status int) failure {
	switch status {
	case 500:
		return fail500
	case 502:
		return fail502
	case 503:
		return fail503
	case 504:
		return fail504
	case 403:
		return fail403
	case 404:
		return fail404
	case 429:
		return fail429
	}
	return 0
}

// lostClient is nginx's status, for the log only, of a request whose client went
// away.
const lostClient = 499

// status is what the client is told when no other server is asked.
func (f failure) status() int {
	switch f {
	case failTimeout, fail504:
		return 504
	case fail500, failHere:
		return 500
	case fail503:
		return 503
	case fail403:
		return 403
	case fail404:
		return 404
	case fail429:
		return 429
	case failGone:
		return lostClient
	}
	return 502
}

// An exchange is one request on its way through a proxy location. It belongs to
// the connection's goroutine and lives until the request is logged.
type exchange struct {
	r     *httpd.Request
	loc   *location
	st    *upstream.State
	pick  upstream.Pick
	group *upstream.Group
	to    place
	body  *body

	conn   *upstream.Conn
	addr   string    // of the server that is tried
	began  time.Time // the first try
	tried  time.Time // the present one
	doing  string    // what the log says it does
	sent   bool      // some of the request was written in this try
	whole  bool      // all of it was
	client httpd.Socket
	out    sending
	sender chan failure // of the goroutine that sends on; nil: there is none
	// watching is closed when the goroutine of watch has ended; nil: there is none.
	watching chan struct{}

	req    []byte // the request's head
	uri    []byte // its target, part of req
	isHead bool   // no body follows the answer's head
	ans    answer
	chunks httpd.Chunks
	rest   httpd.Stream // the answer's body, while it is passed on
	ended  bool         // the try has ended, ahead of the client
	raw    int64        // bytes received in this try, but for those of rest
	count  int64        // bytes of a tunnel
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// Release gives the exchange back when the request is over.
func (x *exchange) Release() {
	if x.body != nil {
		x.body.close()
	}
	req, fields, raw := x.req[:0], x.ans.fields[:0], x.ans.raw[:0]
	pick := x.pick
	*x = exchange{req: req, pick: pick}
	x.ans.fields, x.ans.raw = fields, raw
	exchanges.Put(x)
}

// Serve passes r to a server.
func (l *location) Serve(r *httpd.Request) int {
	x := exchanges.Get().(*exchange)
	earlier, _ := r.State(l.m.key).(*exchange)
	x.r, x.loc, x.client = r, l, r.Client()
	x.st = l.m.ups.State(r)
	x.st.Begin(x)
	r.SetState(l.m.key, x)
	if status := x.takeBody(earlier); status != 0 {
		return status
	}
	if status := x.resolve(); status != 0 {
		return status
	}
	x.compose()
	return x.run()
}

// run tries servers until one has answered.
func (x *exchange) run() int {
	x.pick.Begin(x.group, x.r, x.loc.nextTries)
	x.began = time.Now()
	x.tried = x.began
	for {
		peer := x.pick.Next(x.tried)
		if peer == nil {
			x.addr = x.group.Name
			x.st.Try(x.addr).Status = 502
			x.finishTry(x.tried)
			x.doing = "connecting to upstream"
			x.log(levelError, "no live upstreams while connecting to upstream")
			return 502
		}
		x.addr = peer.Name()
		x.st.Try(x.addr)
		f := x.try(peer)
		if f == 0 {
			f = x.rejected()
		}
		if f == 0 {
			return x.answer()
		}
		if status := x.next(f); status == lostClient {
			return x.r.Lost(lostClient)
		} else if status != 0 {
			return status
		}
	}
}

// now is the present try in the request's state.
func (x *exchange) now() *upstream.Try { return &x.st.Tries[len(x.st.Tries)-1] }

// try asks one server: 0 when its answer's head has come.
func (x *exchange) try(peer *upstream.Peer) failure {
	x.sent, x.whole, x.raw, x.count = false, false, 0, 0
	x.doing = "connecting to upstream"
	if x.conn = x.group.Take(peer, x.repeatable()); x.conn == nil {
		c, err := upstream.Dial(peer, &x.loc.dial)
		if err != nil {
			return x.connectFailed(err)
		}
		x.conn = c
		x.now().Connect = time.Since(x.tried) // one that is kept was there at once
	}
	x.conn.SetBuffer(min(httpd.BufferPage, x.loc.bufferSize), x.loc.bufferSize)
	x.conn.Used()
	x.doing = "sending request to upstream"
	x.sent = true
	x.out = sending{left: x.req, buf: x.out.buf}
	f, stop, waited := x.ask()
	if f == 0 && !stop && !x.whole {
		f, stop = x.send()
		x.whole = !stop
	}
	if f != 0 {
		return f
	}
	x.doing = "reading response header from upstream"
	return x.readHead(waited)
}

// ask sends a request that has no body, and waits a little for the answer: one turn
// of the poller where send and readHead take two. What it could not write is for
// send; waited is how long it waited in vain for an answer. stop is send's.
func (x *exchange) ask() (f failure, stop bool, waited time.Duration) {
	if x.body != nil {
		return 0, false, 0
	}
	wait := min(firstTick, x.loc.readTimeout)
	n, err := x.conn.Ask(x.req, wait)
	x.now().Sent += int64(n)
	if x.out.left = x.req[n:]; n < len(x.req) {
		idle := time.Duration(0)
		f, stop = x.pushed(err, &idle, 0)
		return f, stop, 0
	}
	x.out.stage, x.whole = sendDone, true
	switch {
	case err == nil:
		x.raw = int64(len(x.conn.Buffered()))
	case errors.Is(err, httpd.ErrTimeout):
		waited = wait
	default:
		x.doing = "reading response header from upstream"
		f = x.readFailed(err)
	}
	return f, false, waited
}

// rejected is the failure that the answer is taken for, when another server may
// be asked instead.
func (x *exchange) rejected() failure {
	if x.ans.status < 300 {
		return 0
	}
	f := failureOf(x.ans.status)
	if f == 0 || x.pick.Tries <= 1 || !x.allowed(f) {
		return 0
	}
	return f
}

// allowed reports whether failure f may lead to the next server.
func (x *exchange) allowed(f failure) bool {
	if x.sent && x.unsafe() {
		f |= failUnsafe
	}
	switch {
	case x.loc.next&f != f:
		return false
	case x.sent && x.body != nil && x.body.streams:
		return false
	case x.loc.nextTimeout > 0 && time.Since(x.began) >= x.loc.nextTimeout:
		return false
	}
	return true
}

// unsafe reports whether the client's method is one that changes something each
// time it is carried out.
func (x *exchange) unsafe() bool {
	switch string(x.r.Head.Method()) {
	case "POST", "LOCK", "PATCH":
		return true
	}
	return false
}

// repeatable is when the try began if its request, without a body and of a method
// that changes nothing, can be sent to a server again; else the zero time.
func (x *exchange) repeatable() time.Time {
	if x.body != nil || x.unsafe() || x.loc.next&failError == 0 {
		return time.Time{}
	}
	return x.tried
}

// next ends a try that failed. It returns the status for the client, or 0 when
// another server is to be asked.
func (x *exchange) next(f failure) int {
	reused := x.conn != nil && x.conn.Reused
	x.dropConn()
	if f == failGone || f == failBody || f == failHere {
		// It is not the server that failed.
		now := time.Now()
		x.pick.Free(upstream.Worked, now)
		x.finishTry(now)
		if f == failBody {
			return x.body.status
		}
		return f.status()
	}
	outcome := upstream.Failed
	if f == fail403 || f == fail404 {
		outcome = upstream.Moved
	}
	now := time.Now()
	if x.pick.Free(outcome, now) {
		x.log(levelWarn, "upstream server temporarily disabled while "+x.doing)
	}
	if f == failTimeout {
		x.logTimeout()
	}
	if reused && f == failError {
		// The server closed the idle connection: that says nothing about it.
		x.pick.Tries++
	}
	status := f.status()
	x.now().Status = status
	x.finishTry(now)
	if x.pick.Tries == 0 || !x.allowed(f) {
		return status
	}
	x.tried = now
	return 0
}

// finishTry writes down what the try came to at the time now.
func (x *exchange) finishTry(now time.Time) {
	t := x.now()
	t.Response = now.Sub(x.tried)
	t.Length, t.Received = x.count+x.rest.Content, x.raw+x.rest.Raw
}

func (x *exchange) dropConn() {
	if x.conn != nil {
		x.conn.Drop()
		x.conn = nil
	}
}

// done ends the last try, and tells when that was. reuse says that nothing is under way on the connection.
func (x *exchange) done(reuse bool) (now time.Time) {
	x.joinSender()
	now = time.Now()
	x.finishTry(now)
	if c := x.conn; c != nil {
		x.conn = nil
		if reuse && x.whole && !x.ans.close {
			x.group.Keep(c, now)
		} else {
			c.Drop()
		}
	}
	x.pick.Free(upstream.Worked, now)
	return now
}

// upstreamURL is what the log calls the server.
func (x *exchange) upstreamURL() string {
	if x.addr == "" {
		return ""
	}
	between := ""
	if x.to.isUnix {
		between = ":"
	}
	return "http://" + x.addr + between + string(x.uri)
}

func (x *exchange) log(level slog.Level, msg string) {
	x.r.LogUpstream(level, msg, x.upstreamURL())
}
