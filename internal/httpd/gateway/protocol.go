package gateway

import "github.com/baton-deploy/baton/internal/httpd"

// A Protocol is what a location speaks with its servers. It is used by many
// goroutines at once; what it has to remember of a request is in the [Exchange].
type Protocol interface {
	// Scheme is what the log writes before a server's address: "http://".
	Scheme() string
	// Resolve finds out where the request goes and sets x.Group, and x.To if the
	// protocol has a use for it. A status
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
	URI string
}

// A HeadKind says what an answer's head begins with.
type HeadKind uint8

const (
	// HeadHTTP begins with a status line.
	HeadHTTP HeadKind = iota
	// HeadCGI has no status line; a field Status tells.
	HeadCGI
	// HeadEither is one or the other.
	HeadEither
)

// Records is how a protocol cuts what goes over a connection into records. It belongs
// to one exchange, whose Records it is. The answer's head comes through it too; until
// it is complete the end of the content is an error. Next's errors are [RecordError].
type Records interface {
	httpd.Records
	// Begin is called before each try.
	Begin()
	// Unread gives n bytes of content back, at most those of the last Next: they are
	// not the head's.
	Unread(n int)
	// BeginBody is called when the head is complete. length is that of the content, -1
	// when it is not known.
	BeginBody(length int64)
	// Frame appends to b what goes before n bytes of the client's body; without any it
	// is the body's end. n is at most [MaxFrame]; at most 8 bytes are appended.
	Frame(b []byte, n int) []byte
	// Behind appends what goes behind them, at most 7 bytes.
	Behind(b []byte, n int) []byte
	// Release is called when the request is over.
	Release()
}

// MaxFrame bounds what goes into one record of the client's body.
const MaxFrame = 32 << 10

// A RecordError is what is wrong with a server's records, as the log has it; "" when
// the log has it already.
type RecordError string

func (e RecordError) Error() string { return string(e) }

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
	// NUL says that a byte 0 ends a parameter: one that has such a byte in it is not
	// sent, or what is behind it would be parameters of the client's making.
	NUL bool
}
