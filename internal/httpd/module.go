package httpd

import (
	"time"

	"github.com/baton-deploy/baton/internal/conf"
)

// What [Handler.Serve] returns besides an HTTP status.
const (
	// Done: the response was sent, or sending it failed and the connection is
	// marked broken. There is nothing left to do.
	Done = 0
	// Declined: the handler has nothing for this request; the next one is asked.
	Declined = -1
)

// A Handler answers requests. It is built once for each location that it serves
// and is used by many goroutines at once.
type Handler interface {
	// Serve answers r and returns [Done], or returns [Declined], or returns an
	// HTTP status of 300 or more with nothing sent: then httpd sends what
	// error_page says, or nginx's page for that status.
	Serve(r *Request) int
}

// HandlerFunc is a function as a [Handler].
type HandlerFunc func(r *Request) int

// Serve calls f.
func (f HandlerFunc) Serve(r *Request) int { return f(r) }

// A Part is what one module does in one location. Nil fields do nothing.
type Part struct {
	// Rewrite runs first; on a server block's own scope it runs before a location
	// is chosen. It returns Declined to go on.
	Rewrite func(r *Request) int
	// Preaccess runs before it is asked who may have the content: limits of requests and
	// connections. It returns Declined to let the request pass, or a status.
	Preaccess func(r *Request) int
	// Access may refuse a request before any content is looked for: it returns
	// Declined to let it pass, or a status.
	Access func(r *Request) int
	// Precontent runs before Content; it may redirect inside the server
	// (try_files). It returns Declined to go on.
	Precontent func(r *Request) int
	// Content answers. At most one module may set it for a location.
	Content Handler
	// ContentIsProxy: as nginx's auto_redirect, "location /a/" answers a request
	// for /a with a redirect to /a/.
	ContentIsProxy bool
	// Default answers when no module set Content, or what was set declined, in the
	// order of the modules' list, until one does not decline (index, then static
	// files).
	Default Handler
	// Head is called just before a response's head is written, also for error
	// pages; it may change status and fields of r.Out.
	Head func(r *Request)
	// Log is called once when the response is complete or was given up.
	Log func(r *Request)
}

// A Module is one of nginx's modules.
type Module struct {
	// Name is nginx's: "ngx_http_proxy_module".
	Name string
	// Option is the configure option that nginx has for it, without dashes, e.g.
	// "with-http_stub_status_module"; "" for a module that is always there.
	Option string
	// Directives with their contexts and arguments.
	Directives []conf.Spec
	// Variables that the module adds, by name; a name ending in "_" is a prefix
	// ("upstream_http_").
	Variables map[string]Variable
	// New is called once for each configuration that is compiled and returns the
	// module's part in it. Nil: the module has directives and variables only.
	New func(b *Builder) (Instance, error)
}

// An Instance is a module's part in one compiled configuration.
type Instance interface {
	// Location builds the module's part for one location, or for the server block
	// itself, which serves where no location matches. s.Context tells.
	Location(s *conf.Scope) (Part, error)
}

// A Mover is an [Instance] whose state of a request moves with the request's
// connection, for the log.
type Mover interface {
	// Carry returns the state for another process, which may be of another release;
	// nil when there is none.
	Carry(r *Request) []byte
	// Restore brings back what Carry returned elsewhere. What it does not understand
	// it ignores.
	Restore(r *Request, state []byte)
	// Passed tells what went through a tunnel or an answer that was taken, since it was
	// restored or since the last call.
	Passed(r *Request, p Passage)
}

// A Passage is what happened between a request's server and its client in some time.
type Passage struct {
	Took time.Duration
	// Content counts the bytes of the answer's body, which a tunnel has none of, Received
	// all that came from the server, and Sent what went to it.
	Content, Received, Sent int64
}

// Closer is an [Instance] that holds something to be let go of when the
// configuration it belongs to has served its last request.
type Closer interface{ Close() }

// Flusher is an [Instance] that holds back lines of a log. Flush writes them; it is
// called when the log files are opened again and before the process ends, by any
// goroutine.
type Flusher interface{ Flush() }
