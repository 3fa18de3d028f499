package gateway

import "github.com/baton-deploy/baton/internal/httpd"

// A Protocol is what a location speaks with its servers. It is used by many
// goroutines at once; what it has to remember of a request is in the [Exchange].
type Protocol interface {
	// Scheme is what the log writes before a server's address: "http://".
	Scheme() string
	// Resolve finds out where the request goes and sets x.To and x.Group. A status
	// other than 0 is the answer.
	Resolve(x *Exchange) (status int)
	// Compose appends to b the request as it is sent to every server that is tried,
	// without x.Body, and sets x.URI and x.IsHead. A status other than 0 is the answer.
	Compose(x *Exchange, b []byte) (req []byte, status int)
	// Rewrite returns the value with which a field of the answer is passed on, and
	// whether it still is to be: the protocol may have dealt with it. lower is the
	// field's name in lower case.
	Rewrite(r *httpd.Request, lower, value []byte) (v []byte, pass bool)
}

// A Place is where a request goes, as the protocol's directive has it.
type Place struct {
	Host, Port string
	// URI is what the request's own is replaced with; "" when it is passed on.
	URI    string
	IsUnix bool
}

// A HeadKind says what an answer's head begins with.
type HeadKind uint8

const (
	// HeadHTTP begins with a status line.
	HeadHTTP HeadKind = iota
)

// A Kind is what one of the modules that pass requests on has of its own.
type Kind struct {
	// Prefix begins the names of its directives, and of its folder for temporary
	// files: "proxy".
	Prefix string
	// Next are the words of its *_next_upstream besides those that all have.
	Next []string
	// Hidden are the answers' fields, in lower case, that are not passed on.
	Hidden []string
	// Head is how its answers begin.
	Head HeadKind
}
