package httpd

import "github.com/baton-deploy/baton/internal/netconn"

// Client is the client's connection as a socket: to see whether the client is
// still there, and to be one end of a tunnel after a response with Out.Upgraded,
// whose head was flushed. What the client sent behind its request is in its
// buffer. httpd closes it when Serve returned.
func (r *Request) Client() netconn.Socket { return netconn.SocketOf(r.c.Conn, &r.c.in) }

// ReadApart allows another goroutine to read the rest of the body while this one
// answers; the response's head must be sent before. Nobody may do anything else
// with the request until [Body.Join].
func (b *Body) ReadApart() { b.apart = true }

// Join ends ReadApart. The other goroutine has stopped reading.
func (b *Body) Join() {
	b.apart = false
	if c := b.r.c; b.lost != nil && c.broken == nil {
		c.broken = b.lost
	}
}

// Lost ends a request whose client went away before it was answered: status, by
// nginx's convention 499, is for the log only. It returns what Serve is to return.
func (r *Request) Lost(status int) int {
	if !r.Out.head {
		r.Out.Status = status
	}
	r.keepalive = false
	r.Out.ended = true
	if r.c.broken == nil {
		r.c.broken = errAborted
	}
	return Done
}

// CountTunnel counts n bytes that went to the client through a tunnel.
func (o *Response) CountTunnel(n int64) {
	o.bodyLen += n
	o.wireLen += n
}

// KeepsAlive reports whether the connection will serve another request, as far as
// is known.
func (r *Request) KeepsAlive() bool { return r.keepalive }

// CloseAfter makes this the last request of its connection.
func (r *Request) CloseAfter() { r.keepalive = false }

// HasErrorPage reports whether error_page names status.
func (r *Request) HasErrorPage(status int) bool { return r.core().pageFor(status) != nil }

// RedirectWithin sets Location to a path of this server, completed as
// absolute_redirect and its kin say. It reports whether it did: a path that is to
// stay one is a field like others, for the caller to add.
func (r *Request) RedirectWithin(path []byte) bool {
	to := r.absoluteLocation(path)
	if len(to) == len(path) {
		return false
	}
	r.Out.Location, r.Out.completed = to, true
	return true
}

// Strayed reports whether a rewrite changed URI while the location stayed, so that
// the location's name says nothing about it.
func (r *Request) Strayed() bool { return r.strayed }

// MimeType is the type for what answers the request: the one that is set already,
// by a server that redirected to here, or else that of URI's extension.
func (r *Request) MimeType() []byte {
	if r.Out.ContentType != nil {
		return r.Out.ContentType
	}
	return r.loc.MimeType(r.URI)
}

// FetchAsGet makes what is served after an internal redirect be fetched with GET,
// or HEAD, whatever the client asked with.
func (r *Request) FetchAsGet() { r.becomeGet() }

// An Ender is state of a request (see [Request.SetState]) that is told when the
// request is complete and logged.
type Ender interface{ End() }

// endStates tells the modules' states that the request is over.
func (r *Request) endStates() {
	for _, s := range &r.module {
		if e, ok := s.(Ender); ok {
			e.End()
		}
	}
}

// Instance returns what a module's own part in the configuration is, to another
// module that comes after it in the list, or nil.
func (b *Builder) Instance(module string) Instance { return b.named[module] }

// Substitute matches value with p and returns to's text with p's groups in $1 to
// $9 and by name; false when p does not match. The groups of the location stay.
func (r *Request) Substitute(p *Pattern, to *Template, value []byte) ([]byte, bool) {
	groups, ok, err := p.Match(value, nil)
	if err != nil || !ok {
		return nil, false
	}
	kept := r.captures
	r.setCaptures(p, groups)
	text := to.Append(nil, r)
	r.captures = kept
	return text, true
}
