package conf

import "strings"

// A Context is a set of places in which a directive may stand.
type Context uint32

// The contexts of nginx.conf.
const (
	Main Context = 1 << iota
	Events
	HTTP
	Upstream
	Server
	Location
	ServerIf
	LocationIf
	LimitExcept
	Types // entries of types { }
	Map   // entries of map { }, geo { } and the like
)

// contextNames are the contexts as documentation names them, in the order of their
// bits.
var contextNames = [...]string{
	"main", "events", "http", "upstream", "server", "location",
	"if in server", "if in location", "limit_except", "types", "map",
}

// String returns the names of all contexts in c: "http, server, location".
func (c Context) String() string {
	var names []string
	for i, name := range contextNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// HTTPServerLocation is where most directives of the HTTP modules may stand.
const HTTPServerLocation = HTTP | Server | Location

// An Effect says what Baton does with a directive.
type Effect uint8

const (
	// Supported: it does what nginx's documentation says, or Note says where not.
	Supported Effect = iota
	// NoEffect: it is accepted and checked, and has no meaning here. Note says why.
	NoEffect
)

// AnyArgs as Spec.Max means that there is no upper limit.
const AnyArgs = -1

// A Spec describes one directive: where it may stand and what it takes.
type Spec struct {
	Name string
	In   Context
	// Min and Max bound the number of arguments, both inclusive.
	Min, Max int
	// Block: the directive opens a block, whose content is Inner.
	Block bool
	Inner Context
	// Free: the entries of the block are not directives but data (types, map):
	// names are not looked up in the table.
	Free bool
	// Flag: the one argument is "on" or "off".
	Flag bool
	// Repeat: may stand more than once in the same block. Without it a second one
	// is the error `"x" directive is duplicate`.
	Repeat bool
	// Check, if not nil, checks the values as soon as the directive is read, so that
	// the first fault in the text is the one reported, as nginx does. Whoever uses
	// the directive reads the values again and may rely on the check.
	Check func(d *Directive) error
	// Reads: the first argument names a file, which is read where the directive stands,
	// be it used or not: whoever writes to a FIFO is not left waiting.
	Reads  bool
	Effect Effect
	// Note is one sentence for docs/directives.md: a difference from nginx, or why
	// it has no effect. "" for none.
	Note string
}

// A Group is the directives that one module brings.
type Group struct {
	// Module is nginx's name of the module, e.g. "ngx_http_proxy_module".
	Module string
	Specs  []Spec
}
