package proxy

import (
	"errors"
	"log/slog"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// relay passes the answer's body on.
func (x *exchange) relay() int {
	a, s := &x.ans, &x.rest
	if b := x.conn.Buffered(); a.length >= 0 && a.length <= min(httpd.BufferPage, int64(len(b))) && x.r.Out.Rate() == 0 {
		return x.passWhole(b[:a.length])
	}
	if a.chunks || a.length < 0 || a.length > httpd.BufferPage {
		x.conn.SetBuffer(httpd.BufferLarge, httpd.BufferLarge)
	}
	buffers := x.buffers()
	*s = httpd.Stream{
		Server: x.conn.Socket, Left: a.length, Timeout: x.loc.readTimeout, Owner: x,
		AtOnce: !buffers, IgnoreAbort: x.loc.ignoreAbort, Pinned: x.sender != nil,
	}
	if a.chunks {
		x.chunks = httpd.Chunks{}
		s.Chunks = &x.chunks
	}
	if s.Pinned {
		s.Free = x.senderEnded
	}
	if buffers {
		s.Spool = &x.loc.spool
	}
	a.close = a.close || !a.chunks && a.length < 0
	lost, err := x.r.Relay(s)
	if errors.Is(err, httpd.ErrMoved) {
		if !x.ended {
			x.done(false)
		}
		return httpd.Done
	}
	if s.Whole && !x.ended {
		x.warnExcess()
	}
	return x.finish(lost, err, s.Whole)
}

// passWhole passes on a small body that is here already: it is not worth a stream.
func (x *exchange) passWhole(p []byte) int {
	_, err := x.r.Out.Write(p)
	x.rest.Content = int64(len(p))
	x.conn.Consume(len(p))
	if err == nil {
		x.warnExcess()
	}
	return x.finish(err, nil, true)
}

// buffers reports whether small pieces may wait for more, and the server must not
// wait for the client.
func (x *exchange) buffers() bool {
	switch v := x.control("x-accel-buffering"); {
	case isName(v, "no"):
		return false
	case isName(v, "yes"):
		return true
	}
	return x.loc.buffering
}

// warnExcess tells the log that the server sent more than it said it would.
func (x *exchange) warnExcess() {
	if len(x.conn.Buffered()) > 0 {
		x.log(levelWarn, "upstream sent more data than specified in its header while "+x.doing)
	}
}

// Settle implements [httpd.StreamOwner].
func (x *exchange) Settle() { x.finishTry(time.Now()) }

// Ended implements [httpd.StreamOwner]: the server is free before the client has
// everything.
func (x *exchange) Ended(err error) {
	if err == nil {
		x.warnExcess()
	}
	x.done(err == nil)
	x.ended = true
	if err != nil {
		x.logRead(err)
	}
}

// Report implements [httpd.StreamOwner].
func (x *exchange) Report(level slog.Level, msg string) { x.log(level, msg) }

// logRead logs what went wrong while the body was read.
func (x *exchange) logRead(err error) {
	if errors.Is(err, httpd.ErrChunks) {
		x.log(levelError, httpd.ErrChunks.Error()+" while "+x.doing)
		return
	}
	if x.readFailed(err) == failTimeout {
		x.logTimeout()
	}
}
