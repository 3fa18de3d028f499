package gateway

import (
	"errors"
	"log/slog"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/httpd"
)

// minBuffer is the least that is read at once.
const minBuffer = 256

// ratePieces is how many pieces a second's worth of *_limit_rate is read in at least.
const ratePieces = 10

// relay passes the answer's body on.
func (x *Exchange) relay() int {
	a, s := &x.ans, &x.rest
	if b := x.conn.Buffered(); x.Records == nil && a.length >= 0 && a.length <= min(bufpool.Page, int64(len(b))) && x.R.Out.Rate() == 0 {
		return x.passWhole(b[:a.length])
	}
	if a.chunks || a.length < 0 || a.length > bufpool.Page {
		x.conn.SetBuffer(bufpool.Large, bufpool.Large)
	}
	buffers := x.buffers()
	*s = httpd.Stream{
		Server: x.conn.Socket, Left: a.length, Timeout: x.loc.readTimeout, Owner: x,
		AtOnce: !buffers, IgnoreAbort: x.loc.ignoreAbort, Pinned: x.sender != nil, Section: x.R.Out.Section(),
	}
	switch {
	case x.Records != nil:
		x.Records.BeginBody(a.length)
		s.Records, s.Left = x.Records, -1
	case a.chunks:
		x.chunks = httpd.Chunks{}
		s.Chunks = &x.chunks
	}
	if s.Pinned {
		s.Free = x.senderEnded
	}
	if buffers {
		s.Spool, s.Rate = &x.loc.spool, x.loc.limitRate
	}
	if s.Rate > 0 && s.Rate < ratePieces*bufpool.Large {
		piece := int(max(min(s.Rate/ratePieces, bufpool.Page), minBuffer))
		x.conn.SetBuffer(piece, piece)
	}
	a.close = a.close || !a.chunks && a.length < 0 && x.Records == nil
	lost, err := x.R.Relay(s)
	if errors.Is(err, httpd.ErrMoved) {
		if !x.ended {
			x.done(false)
		}
		return httpd.Done
	}
	if s.Whole && !x.ended {
		x.warnExcess()
	}
	a.close = a.close || s.Short
	return x.finish(lost, err, s.Whole)
}

// passWhole passes on a small body that is here already: it is not worth a stream.
func (x *Exchange) passWhole(p []byte) int {
	wanted := p
	if section := x.R.Out.Section(); section != nil {
		wanted, _ = section.Of(p)
	}
	_, err := x.R.Out.Write(wanted)
	x.rest.Content = int64(len(p))
	x.conn.Consume(len(p))
	if err == nil {
		x.warnExcess()
	}
	return x.finish(err, nil, true)
}

// buffers reports whether small pieces may wait for more, and the server must not
// wait for the client.
func (x *Exchange) buffers() bool {
	switch v := x.control("x-accel-buffering"); {
	case IsName(v, "no"):
		return false
	case IsName(v, "yes"):
		return true
	}
	return x.loc.buffering
}

// warnExcess tells the log that the server sent more than it said it would.
func (x *Exchange) warnExcess() {
	if len(x.conn.Buffered()) > 0 && x.Records == nil && !x.rest.Short {
		x.Log(LevelWarn, "upstream sent more data than specified in \"Content-Length\" header while "+x.doing)
	}
}

// Settle implements [httpd.StreamOwner].
func (x *Exchange) Settle() { x.finishTry(time.Now()) }

// Ended implements [httpd.StreamOwner]: the server is free before the client has
// everything.
func (x *Exchange) Ended(err error) {
	if err == nil {
		x.warnExcess()
	}
	x.ans.close = x.ans.close || x.rest.Short
	x.done(err == nil)
	x.ended = true
	if err != nil {
		x.logRead(err)
	}
}

// Report implements [httpd.StreamOwner].
func (x *Exchange) Report(level slog.Level, msg string) { x.Log(level, msg) }

// logRead logs what went wrong while the body was read.
func (x *Exchange) logRead(err error) {
	switch {
	case errors.Is(err, httpd.ErrChunks):
		x.Log(LevelError, httpd.ErrChunks.Error()+" while "+x.doing)
		return
	case x.logFault(err):
		return
	}
	if x.readFailed(err) == FailTimeout {
		x.logTimeout()
	}
}
