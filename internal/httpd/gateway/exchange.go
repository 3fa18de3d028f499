package gateway

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
	"github.com/baton-deploy/baton/internal/netconn"
)

// Levels of the error log.
const (
	LevelInfo   = slog.LevelInfo
	LevelNotice = slog.Level(2)
	LevelWarn   = slog.LevelWarn
	LevelError  = slog.LevelError
	LevelCrit   = slog.Level(12)
	LevelAlert  = slog.Level(14)
)

// A Failure is why a try did not give an answer for the client, or, in a
// location's settings, which of them lead to the next server.
type Failure uint32

const (
	FailError Failure = 1 << iota
	FailTimeout
	FailHeader // an answer that is no HTTP
	Fail500
	Fail502
	Fail503
	Fail504
	Fail403
	Fail404
	Fail429
	FailUnsafe // the request may have had an effect already: POST, LOCK, PATCH
	FailOff
	FailGone // the client went away: nobody is asked any more
	FailBody // the client's body could not be read to its end
	FailHere // there is no socket to ask with: no other server would do better
)

// failureOf is the Failure that an answer's status is, or 0.
func failureOf(status int) Failure {
	switch status {
	case 500:
		return Fail500
	case 502:
		return Fail502
	case 503:
		return Fail503
	case 504:
		return Fail504
	case 403:
		return Fail403
	case 404:
		return Fail404
	case 429:
		return Fail429
	}
	return 0
}

// lostClient is nginx's status, for the log only, of a request whose client went
// away.
const lostClient = 499

// status is what the client is told when no other server is asked.
func (f Failure) status() int {
	switch f {
	case FailTimeout, Fail504:
		return 504
	case Fail500, FailHere:
		return 500
	case Fail503:
		return 503
	case Fail403:
		return 403
	case Fail404:
		return 404
	case Fail429:
		return 429
	case FailGone:
		return lostClient
	}
	return 502
}

// An Exchange is one request on its way through a location that passes requests on.
// It belongs to the connection's goroutine and lives until the request is logged.
type Exchange struct {
	R *httpd.Request
	// To and Group are where the request goes; see Protocol.Resolve.
	To    Place
	Group *upstream.Group
	// Secure makes connections to servers secure; nil for plain ones. Resolve sets it.
	Secure *Security
	// Body is what is sent behind the head; nil when there is none.
	Body *Body
	// URI is what the log says behind the server's address; it may be part of what
	// Compose has returned.
	URI []byte
	// IsHead says that no body follows the answer's head.
	IsHead bool
	// Composed says that the whole of Body is in what Compose returned. Only one that
	// [Body.InMemory] returns can be.
	Composed bool
	// Records is how the protocol cuts what is sent; nil when it does not. Compose sets
	// it.
	Records Records

	loc  *Location
	st   *upstream.State
	pick upstream.Pick
	read *Body // what was taken of the client's body; nil when nothing was

	conn   *upstream.Conn
	addr   string    // of the server that is tried
	began  time.Time // the first try
	tried  time.Time // the present one
	doing  string    // what the log says it does
	sent   bool      // some of the request was written in this try
	whole  bool      // all of it was
	client netconn.Socket
	out    sending
	sender chan Failure // of the goroutine that sends on; nil: there is none
	// watching is closed when the goroutine of watch has ended; nil: there is none.
	watching chan struct{}

	req     []byte // the request's head
	ans     answer
	chunks  httpd.Chunks
	rest    httpd.Stream // the answer's body, while it is passed on
	ended   bool         // the try has ended, ahead of the client
	raw     int64        // bytes received in this try, but for those of rest
	headLen int64        // those of them up to the end of the answer's head
	passed  bool         // the answer is passed on
	value   []byte       // of a parameter
	fields  []sentField  // the client's, while parameters are made of them
	name    [64]byte     // of a field, in lower case: on the stack it would be the heap's
}

var exchanges = sync.Pool{New: func() any { return new(Exchange) }}

// Release gives the exchange back when the request is over.
func (x *Exchange) Release() {
	if x.read != nil {
		x.read.close()
	}
	if x.Records != nil {
		x.Records.Release()
	}
	req, fields, raw := x.req[:0], x.ans.fields[:0], x.ans.raw[:0]
	pick, value := x.pick, x.value[:0]
	clear(x.fields)
	*x = Exchange{req: req, pick: pick, value: value, fields: x.fields[:0]}
	x.ans.fields, x.ans.raw = fields, raw
	exchanges.Put(x)
}

// Serve passes r to a server.
func (l *Location) Serve(r *httpd.Request) int {
	x := exchanges.Get().(*Exchange)
	x.R, x.loc, x.client = r, l, r.Client()
	x.st = l.ups.State(r)
	earlier, _ := x.st.Begin(x).(*Exchange)
	if status := x.takeBody(earlier); status != 0 {
		return status
	}
	if status := l.protocol.Resolve(x); status != 0 {
		return status
	}
	req, status := l.protocol.Compose(x, x.req[:0])
	if x.req = req; status != 0 {
		return status
	}
	return x.run()
}

// Of returns the exchange that serves r now, or nil when it is not passed on.
func Of(ups *upstream.Upstreams, r *httpd.Request) *Exchange {
	x, _ := ups.Serving(r).(*Exchange)
	return x
}

// KeepConn says whether the connection can be used again once the answer is complete.
func (x *Exchange) KeepConn(keep bool) { x.ans.close = !keep }

// Protocol is what the exchange speaks with its servers.
func (x *Exchange) Protocol() Protocol { return x.loc.protocol }

// run tries servers until one has answered.
func (x *Exchange) run() int {
	x.pick.Begin(x.Group, x.R, x.loc.nextTries)
	x.began = time.Now()
	x.tried = x.began
	for {
		peer := x.pick.Next(x.tried)
		if peer == nil {
			x.addr = x.Group.Name
			x.st.Try(x.addr).Status = 502
			x.finishTry(x.tried)
			x.doing = "connecting to upstream"
			x.Log(LevelError, "no live upstreams while connecting to upstream")
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
			return x.R.Lost(lostClient)
		} else if status != 0 {
			return status
		}
	}
}

// now is the present try in the request's state.
func (x *Exchange) now() *upstream.Try { return &x.st.Tries[len(x.st.Tries)-1] }

// try asks one server: 0 when its answer's head has come.
func (x *Exchange) try(peer *upstream.Peer) Failure {
	x.sent, x.whole, x.raw = false, false, 0
	x.st.Head = nil // what an earlier try brought says nothing about this one
	if x.Records != nil {
		x.Records.Begin()
	}
	x.doing = "connecting to upstream"
	if x.conn = x.Group.Take(peer, x.kindOfConn(), x.loc, x.repeatable()); x.conn == nil {
		c, err := upstream.Dial(peer, &x.loc.dial)
		if err != nil {
			return x.connectFailed(err)
		}
		x.conn = c
		if f := x.secure(); f != 0 {
			return f
		}
		x.now().Connect = time.Since(x.tried) // one that is kept was there at once
	}
	x.conn.SetBuffer(min(bufpool.Page, x.loc.bufferSize), x.loc.bufferSize)
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

// ask sends a request that is composed whole, and waits a little for the answer: one turn
// of the poller where send and readHead take two. What it could not write is for
// send; waited is how long it waited in vain for an answer. stop is send's.
func (x *Exchange) ask() (f Failure, stop bool, waited time.Duration) {
	if x.Body != nil && !x.Composed {
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
	case errors.Is(err, netconn.ErrTimeout):
		waited = wait
	default:
		x.doing = "reading response header from upstream"
		f = x.readFailed(err)
	}
	return f, false, waited
}

// rejected is the Failure that the answer is taken for, when another server may
// be asked instead.
func (x *Exchange) rejected() Failure {
	if x.ans.status < 300 {
		return 0
	}
	f := failureOf(x.ans.status)
	if f == 0 || x.pick.Tries <= 1 || !x.allowed(f) {
		return 0
	}
	return f
}

// allowed reports whether Failure f may lead to the next server.
func (x *Exchange) allowed(f Failure) bool {
	if x.sent && x.unsafe() {
		f |= FailUnsafe
	}
	switch {
	case x.loc.next&f != f:
		return false
	case x.sent && x.Body != nil && x.Body.streams:
		return false
	case x.loc.nextTimeout > 0 && time.Since(x.began) >= x.loc.nextTimeout:
		return false
	}
	return true
}

// unsafe reports whether the client's method is one that changes something each
// time it is carried out.
func (x *Exchange) unsafe() bool {
	switch string(x.R.Head.Method()) {
	case "POST", "LOCK", "PATCH":
		return true
	}
	return false
}

// repeatable is when the try began if its request, without a body and of a method
// that changes nothing, can be sent to a server again; else the zero time.
func (x *Exchange) repeatable() time.Time {
	if x.Body != nil || x.unsafe() || x.loc.next&FailError == 0 {
		return time.Time{}
	}
	return x.tried
}

// next ends a try that failed. It returns the status for the client, or 0 when
// another server is to be asked.
func (x *Exchange) next(f Failure) int {
	reused := x.conn != nil && x.conn.Reused
	x.dropConn()
	if f == FailGone || f == FailBody || f == FailHere {
		// It is not the server that failed.
		now := time.Now()
		x.pick.Free(upstream.Worked, now)
		x.finishTry(now)
		if f == FailBody {
			return x.Body.status
		}
		return f.status()
	}
	outcome := upstream.Failed
	if f == Fail403 || f == Fail404 {
		outcome = upstream.Moved
	}
	now := time.Now()
	if x.pick.Free(outcome, now) {
		x.Log(LevelWarn, "upstream server temporarily disabled while "+x.doing)
	}
	if f == FailTimeout {
		x.logTimeout()
	}
	if reused && f == FailError {
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
func (x *Exchange) finishTry(now time.Time) {
	t := x.now()
	t.Response = now.Sub(x.tried)
	t.Length, t.Received = x.rest.Content, x.raw+x.rest.Raw
	if x.Records != nil && x.passed {
		t.Length = t.Received - x.headLen // as nginx counts it
	}
}

func (x *Exchange) dropConn() {
	if x.conn != nil {
		x.conn.Drop()
		x.conn = nil
	}
}

// done ends the last try, and tells when that was. reuse says that nothing is under way on the connection.
func (x *Exchange) done(reuse bool) (now time.Time) {
	x.joinSender()
	now = time.Now()
	x.finishTry(now)
	if c := x.conn; c != nil {
		x.conn = nil
		if reuse && x.whole && !x.ans.close {
			c.User = x.loc
			x.Group.Keep(c, now)
		} else {
			c.Drop()
		}
	}
	x.pick.Free(upstream.Worked, now)
	return now
}

// upstreamURL is what the log calls the server.
func (x *Exchange) upstreamURL() string {
	if x.addr == "" {
		return ""
	}
	between := ""
	if strings.HasPrefix(x.addr, "unix:") {
		between = ":"
	}
	scheme := x.loc.protocol.Scheme()
	if x.Secure != nil {
		scheme = x.Secure.Scheme
	}
	return scheme + x.addr + between + string(x.URI)
}

// Log writes to the error log of the request, with the server's URL.
func (x *Exchange) Log(level slog.Level, msg string) {
	x.R.LogUpstream(level, msg, x.upstreamURL())
}
