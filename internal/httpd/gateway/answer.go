package gateway

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"time"
	"unsafe"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
)

// answer passes the answer, whose head has come, on to the client. It returns
// what Serve returns.
func (x *Exchange) answer() int {
	l, r, a := x.loc, x.R, &x.ans
	if rate := x.control("x-accel-limit-rate"); len(rate) > 0 { // also when others answer
		if n, err := conf.ParseNumber(string(rate)); err == nil { // bytes: there is no "k" here
			r.Out.SetRate(n)
		}
	}
	if charset := x.control("x-accel-charset"); len(charset) > 0 { // likewise
		r.Out.Type.Charset = bytes.Clone(charset)
	}
	if l.intercept && a.status >= 300 && r.HasErrorPage(a.status) {
		x.keepChallenge()
		x.done(x.empty())
		return a.status
	}
	if to := x.control("x-accel-redirect"); to != nil {
		return x.accelRedirect(to)
	}
	x.copyHead()
	x.passed = !x.IsHead
	if a.status == 101 && x.Records == nil {
		return x.tunnel()
	}
	r.Out.ContentLength = -1
	if !a.chunks {
		r.Out.ContentLength = a.length
	}
	if l.forceRanges {
		r.Out.AllowRange()
	}
	x.doing = "reading upstream"
	tries := len(x.st.Tries)
	err := r.Out.SendHead()
	switch {
	case errors.Is(err, httpd.ErrReplaced):
		return x.replaced(tries)
	case x.bodiless():
		return x.finish(err, nil, true)
	case err != nil && !l.ignoreAbort:
		return x.finish(err, nil, false)
	}
	if !x.whole && a.status < 300 {
		x.sendOn()
	}
	return x.relay()
}

// replaced ends an exchange whose client has got another answer, for which other servers
// may have been asked behind the first tries.
func (x *Exchange) replaced(tries int) int {
	if len(x.st.Tries) == tries {
		x.done(x.empty())
		return httpd.Done
	}
	x.dropConn()
	x.pick.Free(upstream.Worked, time.Now())
	return httpd.Done
}

// bodiless reports whether no body follows the head.
func (x *Exchange) bodiless() bool {
	a := &x.ans
	return x.IsHead || a.status == 204 || a.status == 304 || a.status < 200
}

// empty reports whether nothing of the answer is still to come: its connection can
// be used again.
func (x *Exchange) empty() bool {
	return x.bodiless() && x.ans.status >= 200 || x.ans.length == 0
}

// control returns the value of the last of the fields by which a server gives us
// an order, or nil.
func (x *Exchange) control(lower string) []byte {
	if x.loc.ignored[lower] {
		return nil
	}
	for i := len(x.ans.fields) - 1; i >= 0; i-- {
		if f := &x.ans.fields[i]; IsName(f.name, lower) {
			return f.value
		}
	}
	return nil
}

// keepChallenge keeps what a browser needs to answer 401 when our own page is
// shown.
func (x *Exchange) keepChallenge() {
	if x.ans.status != 401 {
		return
	}
	for _, f := range x.ans.fields {
		if IsName(f.name, "www-authenticate") {
			x.R.Out.Add("WWW-Authenticate", f.value)
		}
	}
}

// accelRedirect serves another of our own URIs in place of the answer, with some
// of the answer's fields.
func (x *Exchange) accelRedirect(to []byte) int {
	r := x.R
	for _, f := range x.ans.fields {
		name := Lower(&x.name, f.name)
		if x.loc.hidden[string(name)] {
			continue
		}
		switch string(name) {
		case "content-type":
			if len(f.value) > 0 { // else the type is that of what is served instead
				r.Out.ContentType, r.Out.Type.Foreign = f.value, true
			}
		case "set-cookie":
			if value, ok := x.loc.protocol.Rewrite(r, name, f.value); ok {
				r.Out.Add("Set-Cookie", value)
			}
		case "content-disposition", "cache-control", "expires", "accept-ranges":
			r.Out.Add(fieldName(f.name), f.value)
		}
	}
	x.done(x.empty())
	if bytes.HasPrefix(to, []byte("@")) {
		return r.NamedLocation(string(to))
	}
	path, args, _ := bytes.Cut(to, []byte("?"))
	uri, ok := unescape(path)
	if !ok {
		x.LogWhile(LevelError, "unsafe URI \""+string(to)+"\" was detected")
		return 404
	}
	r.FetchAsGet()
	return r.InternalRedirect(uri, append([]byte(nil), args...))
}

// unescape decodes a path and refuses one that leaves the root.
func unescape(path []byte) ([]byte, bool) {
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			n, err := strconv.ParseUint(string(path[i+1:i+3]), 16, 8)
			if err == nil {
				c = byte(n)
				i += 2
			}
		}
		if c == 0 {
			return nil, false
		}
		out = append(out, c)
	}
	for _, seg := range bytes.Split(out, []byte("/")) {
		if string(seg) == ".." {
			return nil, false
		}
	}
	return out, len(out) > 0 && out[0] == '/'
}

// fieldName is name as a string that shares its memory, so that no field costs an
// allocation. The memory is the exchange's copy of the head: it is not written
// to until the request is logged and the response's fields are gone.
func fieldName(name []byte) string {
	if len(name) == 0 {
		return ""
	}
	return unsafe.String(&name[0], len(name))
}

// copyHead copies the answer's head into the response.
func (x *Exchange) copyHead() {
	out, a := &x.R.Out, &x.ans
	out.Status, out.Reason, out.Passed = a.status, reasonText(a.status, a.reason), true
	x.ownServerAndDate()
	for i := range a.fields {
		x.copyField(&a.fields[i])
	}
}

// ownServerAndDate says who tells the server's name and the date. An HTTP server whose
// own are passed on may also have none.
func (x *Exchange) ownServerAndDate() {
	if x.loc.kind.Head != HeadHTTP {
		return
	}
	out := &x.R.Out
	if !x.loc.hidden["server"] {
		out.Server = []byte{}
	}
	if !x.loc.hidden["date"] {
		out.Date = []byte{}
	}
}

// reasonText is reason as a string without an allocation where that can be had.
func reasonText(status int, reason []byte) string {
	if usual := http.StatusText(status); usual == string(reason) {
		return usual
	}
	return string(reason)
}

// copyField copies one field unless it is hidden or about the connection.
func (x *Exchange) copyField(f *field) {
	l, r := x.loc, x.R
	out := &r.Out
	name := Lower(&x.name, f.name)
	if l.hidden[string(name)] {
		return
	}
	switch string(name) {
	case "content-length", "transfer-encoding", "connection", "keep-alive":
		return
	case "content-type":
		out.ContentType, out.Type.Foreign = f.value, true
		return
	case "accept-ranges":
		if l.forceRanges {
			return
		}
	case "server":
		out.Server = []byte{} // in place of our own
	case "date":
		out.Date = []byte{}
	}
	if value, ok := l.protocol.Rewrite(r, name, f.value); ok {
		out.Add(fieldName(f.name), value)
	}
}

// finish ends an exchange whose answer was begun. client and server are what went
// wrong on either side; whole says that the answer came to its end.
func (x *Exchange) finish(client, server error, whole bool) int {
	ended := x.ended
	if !ended {
		now := x.done(whole && server == nil)
		if whole {
			x.R.Answered(now)
		}
	}
	switch {
	case server != nil && !errors.Is(server, httpd.ErrGone):
		if !ended {
			x.logRead(server)
		}
		x.R.Out.Abort()
	case server != nil || client != nil:
		return x.R.Lost(lostClient)
	}
	return httpd.Done
}
