package httpd

import (
	"bytes"
	"net/netip"
	"strconv"
	"time"
)

// A Request is one request and the response to it. See the package's section on
// ownership.
type Request struct {
	// Head is the request line and the fields as the client sent them.
	Head Head
	// URI is the decoded, normalized path. An internal redirect changes it.
	URI []byte
	// Args is the query string, without the question mark.
	Args []byte
	// Host is the host that was asked for, lower-cased, without port; empty when
	// an HTTP/1.0 client named none.
	Host []byte
	// Server is the virtual server that was chosen.
	Server *VirtualServer
	// Out is the response.
	Out Response
	// GzipTested: one of gzip, gunzip and gzip_static has found out whether the client may
	// get what is compressed, GzipOK. As in nginx that holds up to an internal redirect.
	GzipTested, GzipOK bool

	c          *conn
	loc        *Location
	start      time.Time
	body       Body
	line       []byte   // the request line as sent, also one that is refused
	clean      []byte   // the head as it was parsed
	has        fieldSet // some of them
	target     []byte   // the request target as sent, without a host
	rawPath    []byte   // and its path
	targetHost []byte   // the host of a target that is a whole URI
	version    int      // 9, 10 or 11 for HTTP/0.9 to HTTP/1.1; 0: not known
	headSize   int64    // bytes of the head
	noted      int64    // bytes of it whose ignored fields are in the log
	sentBefore int64    // what had been sent on the connection before
	pipelined  bool     // it came before the answer to the one before
	headless   bool     // HTTP/0.9: the response has no head
	finishing  bool     // an error is being answered: the body is not wanted any more
	keepalive  bool     // as wanted by the client so far, then as answered
	internal   bool     // an internal redirect brought it here
	uriChanged bool     // URI or Args is no longer what the client asked for
	rewritten  bool     // a rewrite changed URI: a location is to be chosen again
	strayed    bool     // a rewrite changed URI and the location stayed
	chosenBy   []byte   // URI when loc was chosen, if a rewrite has changed it since
	// aliasWithURI: an alias is followed by the URI although the location is a pattern.
	aliasWithURI bool
	rooting      bool // its root is being made
	plainGroups  bool // see Template.AppendSet
	redirects    int
	errorPage    bool // error_page was applied where it is not applied to its own result
	captures     [][]byte
	names        []namedCapture
	// askedMethod is the client's method when an error page changed Head's.
	askedMethod []byte
	scratch     []byte
	page        []byte // of an error
	module      [maxModuleState]any
}

// maxModuleState is how many modules can keep state in a request.
const maxModuleState = 8

// A StateKey is a module's place for state in each request; see [Builder.StateKey].
type StateKey int

// State returns what SetState stored for this request, or nil.
func (r *Request) State(k StateKey) any { return r.module[k] }

// SetState keeps v until the request is complete.
func (r *Request) SetState(k StateKey, v any) { r.module[k] = v }

// begin prepares r for a request whose first byte has come.
func (r *Request) begin() {
	r.c.clock = time.Time{}
	r.start = time.Now().Add(-r.c.headWaited)
	r.c.headWaited = 0
	r.sentBefore = r.c.Sent
	r.Server = r.c.defaultServer()
	r.loc = r.Server.root
	r.Out.r = r
}

// reset clears r for the next request.
func (r *Request) reset() {
	r.Head = Head{}
	r.URI, r.Args, r.Host = r.URI[:0], r.Args[:0], r.Host[:0]
	r.Server, r.loc, r.c = nil, nil, nil
	r.Out.endEncoding(false) // of a response that was given up without its end
	r.Out.reset()
	r.body = Body{kept: r.body.kept[:0]}
	r.line, r.clean, r.target, r.targetHost = r.line[:0], r.clean[:0], r.target[:0], r.targetHost[:0]
	r.rawPath, r.chosenBy = nil, r.chosenBy[:0]
	r.version, r.headSize, r.noted, r.has = 0, 0, 0, 0
	r.pipelined, r.headless, r.finishing = false, false, false
	r.keepalive, r.internal, r.uriChanged, r.errorPage = false, false, false, false
	r.rewritten, r.strayed, r.aliasWithURI, r.redirects = false, false, false, 0
	r.GzipTested = false
	r.captures, r.names, r.askedMethod = r.captures[:0], r.names[:0], nil
	r.endStates()
	r.module = [maxModuleState]any{}
}

// Location is the location that serves the request now.
func (r *Request) Location() *Location { return r.loc }

// core is the core module's configuration that applies now.
func (r *Request) core() *coreConf { return &r.loc.core }

// Start is when the first byte of the request was read.
func (r *Request) Start() time.Time { return r.start }

// Body is the request's body.
func (r *Request) Body() *Body { return &r.body }

// RawPath is the path as the client sent it, without arguments.
func (r *Request) RawPath() []byte { return r.rawPath }

// Internal reports whether an internal redirect brought the request here.
func (r *Request) Internal() bool { return r.internal }

// URIChanged reports whether URI or Args is no longer what the client asked for.
func (r *Request) URIChanged() bool { return r.uriChanged }

// Method is the client's method; Head.Method may be that of an error page.
func (r *Request) Method() []byte {
	if r.askedMethod != nil {
		return r.askedMethod
	}
	return r.Head.Method()
}

// method is $request_method, as in nginx that of an error page; nil when the request
// line was not understood.
func (r *Request) method() []byte {
	if r.version == 0 {
		return nil
	}
	return r.Head.Method()
}

// protocol is the end of the request line, "HTTP/1.1".
func (r *Request) protocol() []byte {
	if r.version < 10 {
		return nil
	}
	return r.line[bytes.LastIndex(r.line, []byte(" HTTP/"))+1:]
}

// A namedCapture is a group of a regular expression that has a name.
type namedCapture struct {
	name  string
	value []byte
}

func (r *Request) setNamed(name string, value []byte) {
	for i := range r.names {
		if r.names[i].name == name {
			r.names[i].value = value
			return
		}
	}
	r.names = append(r.names, namedCapture{name, value})
}

// capturedVariable is the variable of a named group.
func capturedVariable(r *Request, name string, dst []byte) ([]byte, bool) {
	for i := range r.names {
		if r.names[i].name == name {
			return append(dst, r.names[i].value...), true
		}
	}
	return dst, false
}

// Field returns a request header field by its canonical name
// ("If-Modified-Since"), or nil. Of several fields it is the first.
func (r *Request) Field(name string) []byte {
	return r.Head.Peek(name)
}

// EachField calls f for each header field in the order and the spelling in which
// the client sent them.
func (r *Request) EachField(f func(name, value []byte)) {
	for fs := fieldsOf(r.Head.fields); fs.next(); {
		f(fs.name, fs.value)
	}
}

// RemoteAddr is the client's address without port; "unix:" for a unix socket.
func (r *Request) RemoteAddr() string { return r.c.peer.Text() }

// RemoteIP is the client's address; false for a unix socket.
func (r *Request) RemoteIP() (netip.Addr, bool) {
	return r.c.peer.AddrPort.Addr(), r.c.peer.AddrPort.IsValid()
}

// RemotePort is the client's port, "" for a unix socket.
func (r *Request) RemotePort() string { return r.c.peer.Port() }

// LocalAddr is the address and port of the server's end.
func (r *Request) LocalAddr() (addr, port string) {
	p := r.c.local()
	return p.Text(), p.Port()
}

// ConnNumber is $connection.
func (r *Request) ConnNumber() uint64 { return r.c.number }

// ConnRequests is $connection_requests, this request included.
func (r *Request) ConnRequests() int { return r.c.served }

// Shared is the memory with the counters of all workers; see [Sum].
func (r *Request) Shared() []byte { return r.c.srv.shared }

// Capture returns group n of the regular expression that chose the location or
// the server name, or nil.
func (r *Request) Capture(n int) []byte { return r.capture(n) }

func (r *Request) capture(n int) []byte {
	if n >= len(r.captures) {
		return nil
	}
	return r.captures[n]
}

// Scratch returns an empty slice that is free until the next call of Scratch.
func (r *Request) Scratch() []byte { return r.scratch[:0] }

// KeepScratch stores b, which grew from Scratch, to be used again.
func (r *Request) KeepScratch(b []byte) { r.scratch = b }

// mayKeepAlive reports whether the location lets the connection serve on after this
// request.
func (r *Request) mayKeepAlive() bool {
	core, c := r.core(), r.c
	switch {
	case core.keepaliveTimeout == 0 || c.served >= core.keepaliveRequests:
		return false
	case c.stream == nil && r.start.Sub(c.since) > core.keepaliveTime:
		return false
	case core.noKeepalive != 0 && core.noKeepalive.names(r):
		return false
	}
	return true
}

func (r *Request) keepaliveTimeout() time.Duration { return r.core().keepaliveTimeout }

// serve chooses a location for a checked request and runs it.
func (r *Request) serve() {
	r.body.r = r
	r.body.left = max(r.body.length, 0)
	if status := r.run(); status != Done {
		r.finish(status)
	}
}

// run is nginx's phases: rewrite of the server, location, rewrite of the location,
// preaccess, access, precontent, content.
func (r *Request) run() int {
	r.loc = r.Server.root
	r.strayed, r.aliasWithURI = false, false
	r.GzipTested, r.Out.VaryEncoding = false, false
	if rw := r.loc.rewrite; rw != nil {
		if status := rw(r); status != Declined {
			return status
		}
	}
	if status := r.locate(); status != Declined {
		return status
	}
	return r.runLocation()
}

// runLocation runs the phases of the location that was chosen, and of others as
// long as a rewrite leads to them.
func (r *Request) runLocation() int {
	for {
		r.rewritten = false
		if status := r.phases(); status != Declined || !r.rewritten {
			return status
		}
		if r.redirects++; r.redirects > maxRedirects {
			return r.cycle("processing")
		}
		if status := r.locate(); status != Declined {
			return status
		}
	}
}

// phases runs the location's phases up to one that ends the request or rewrites
// the URI.
func (r *Request) phases() int {
	loc := r.loc
	if loc.internalOnly && !r.internal {
		return 404
	}
	core := &loc.core
	if !r.mayKeepAlive() {
		r.keepalive = false // also where it goes on elsewhere
	}
	if core.maxBody > 0 && r.body.length > core.maxBody && !r.finishing {
		r.Log(levelError, "client intended to send too large body: "+strconv.FormatInt(r.body.length, 10)+" bytes", nil)
		r.keepalive = false
		return 413
	}
	r.body.limit, r.body.timeout = core.maxBody, core.clientBodyTimeout
	if r.c.srv.site.keepBodies {
		r.body.keep = core.bodyBuffer
	}
	if loc.rewrite != nil && loc != r.Server.root {
		if status := loc.rewrite(r); status != Declined {
			return status
		}
		if r.rewritten {
			return Declined
		}
		loc = r.loc // of an "if" that was true
	}
	for _, preaccess := range loc.preaccess {
		if status := preaccess(r); status != Declined {
			return status
		}
	}
	for _, access := range loc.access {
		if status := access(r); status != Declined {
			return status
		}
	}
	for _, pre := range loc.precontent {
		if status := pre(r); status != Declined {
			return status
		}
	}
	for _, h := range loc.content {
		if status := h.Serve(r); status != Declined {
			return status
		}
	}
	if n := len(r.URI); n > 0 && r.URI[n-1] == '/' {
		r.Log(levelError, "directory index of \""+string(r.AppendPath(nil, r.URI))+"\" is forbidden", nil)
		return 403
	}
	return 404
}

// maxRedirects is how often a request may be sent on inside the server.
const maxRedirects = 10

// InternalRedirect serves uri, a normalized path, with args in place of the
// request's own, through the choice of a location again. What it returns is what
// the handler is to return.
func (r *Request) InternalRedirect(uri, args []byte) int {
	if !r.redirected() {
		return r.cycle("internally redirecting to")
	}
	r.uriChanged = true
	r.URI = append(r.URI[:0], uri...)
	r.Args = append(r.Args[:0], args...)
	return r.run()
}

// NamedLocation serves the request by location @name of its server, URI unchanged.
func (r *Request) NamedLocation(name string) int {
	if !r.redirected() {
		return r.cycle("redirect to named location")
	}
	loc := r.Server.named[name]
	if loc == nil {
		r.Log(levelError, "could not find named location \""+name+"\"", nil)
		return 500
	}
	r.loc = loc
	return r.runLocation()
}

func (r *Request) redirected() bool {
	r.internal = true
	r.redirects++
	return r.redirects <= maxRedirects
}

// cycle ends a request that was sent on too often.
func (r *Request) cycle(doing string) int {
	r.Log(levelError, "rewrite or internal redirection cycle while "+doing+" \""+string(r.URI)+"\"", nil)
	return 500
}

// complete ends the request: the rest of the response is flushed, a body that
// nobody wanted is dropped, and it is logged.
func (r *Request) complete() {
	c := r.c
	r.Out.end()
	if err := c.flush(r.core().sendTimeout); err != nil {
		r.keepalive = false
	}
	r.runLog()
	if r.keepalive && !r.discardBody() {
		r.keepalive = false
	}
	c.releaseOut()
}

// runLog counts the answer and lets the modules of the location log the request.
func (r *Request) runLog() {
	r.c.srv.stats.answered(r.shownStatus())
	for _, log := range r.loc.log {
		log(r)
	}
}
