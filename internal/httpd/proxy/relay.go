package proxy

import (
	"errors"
	"io"

	"github.com/baton-deploy/baton/internal/httpd"
)

var errChunked = errors.New("upstream sent invalid chunked response")

// relay passes the answer's body on.
func (x *exchange) relay() int {
	a := &x.ans
	gather, grown := x.gathers(), false
	if a.chunks || a.length < 0 || a.length > httpd.BufferPage {
		x.conn.SetBuffer(httpd.BufferLarge, httpd.BufferLarge)
	}
	x.chunks = httpd.Chunks{}
	x.relays = true
	defer func() { x.relays = false }()
	var lost error // the client is gone, and the answer is read to its end
	for {
		p, used, end, err := x.piece(x.conn.Buffered())
		if err != nil {
			return x.finish(lost, err, false)
		}
		if len(p) > 0 && lost == nil {
			if lost = x.pass(p, gather); lost != nil && !x.loc.ignoreAbort {
				return x.finish(lost, nil, false)
			}
		}
		x.count += int64(len(p))
		x.conn.Consume(used)
		switch {
		case end:
			if len(x.conn.Buffered()) > 0 {
				x.log(levelWarn, "upstream sent more data than specified in its header while "+x.doing)
			}
			return x.finish(lost, nil, true)
		case used > 0 && len(x.conn.Buffered()) > 0:
			continue
		}
		if !grown {
			x.conn.Release() // the small buffer of the head
			grown = true
		}
		if err := x.more(lost == nil); err != nil {
			if err == httpd.ErrMoved {
				x.done(false)
				return httpd.Done
			}
			if err == io.EOF && !a.chunks && a.length < 0 {
				a.close = true
				return x.finish(lost, nil, true)
			}
			return x.finish(lost, err, false)
		}
	}
}

// gathers reports whether small pieces may wait for more.
func (x *exchange) gathers() bool {
	switch v := x.control("x-accel-buffering"); {
	case isName(v, "no"):
		return false
	case isName(v, "yes"):
		return true
	}
	return x.loc.buffering
}

// pass sends p to the client.
func (x *exchange) pass(p []byte, gather bool) error {
	if _, err := x.r.Out.Write(p); err != nil {
		return err
	}
	if gather {
		return nil
	}
	return x.r.Out.Flush()
}

// piece takes the next piece of the body from b: p is the content, used how many
// bytes of b are done with, end that the body ends here.
func (x *exchange) piece(b []byte) (p []byte, used int, end bool, err error) {
	switch {
	case x.ans.chunks:
		return x.chunk(b)
	case x.ans.length < 0:
		return b, len(b), false, nil
	}
	left := x.ans.length - x.count
	if int64(len(b)) >= left {
		return b[:left], int(left), true, nil
	}
	return b, len(b), false, nil
}

// chunk is piece of a body in chunks.
func (x *exchange) chunk(b []byte) (p []byte, used int, end bool, err error) {
	p, used, ok := x.chunks.Next(b)
	if !ok {
		return nil, used, false, errChunked
	}
	return p, used, x.chunks.Done(), nil
}

// more waits for more of the body. What the client is owed goes out first.
func (x *exchange) more(flush bool) error {
	before := len(x.conn.Buffered())
	err := x.conn.FillNow()
	if errors.Is(err, httpd.ErrWouldBlock) {
		if flush {
			if err := x.r.Out.Flush(); err != nil && !x.loc.ignoreAbort {
				return errGone
			}
		}
		err = x.fill()
	}
	if err == nil {
		x.raw += int64(len(x.conn.Buffered()) - before)
	}
	return err
}

// logRead logs what went wrong while the body was read.
func (x *exchange) logRead(err error) {
	if errors.Is(err, errChunked) {
		x.log(levelError, errChunked.Error()+" while "+x.doing)
		return
	}
	if x.readFailed(err) == failTimeout {
		x.logTimeout()
	}
}
