package httpd

import (
	"bytes"
	"slices"

	"github.com/baton-deploy/baton/internal/conf"
)

// What the rewrite module needs of the core: it changes the request's URI and
// location in the middle of the phases, and makes variables of its own.

// Rewrite gives the request another URI and other arguments. With again a location
// is chosen for them as soon as the Rewrite part that called this returns
// [Declined]; else the present one goes on with them.
func (r *Request) Rewrite(uri, args []byte, again bool) {
	if len(r.chosenBy) == 0 {
		r.chosenBy = append(r.chosenBy, r.URI...)
	}
	r.URI = append(r.URI[:0], uri...)
	r.Args = append(r.Args[:0], args...)
	// As for nginx, a location with "internal" is open to what was rewritten.
	r.uriChanged, r.internal = true, true
	r.rewritten = again
	r.strayed = r.strayed || !again
	r.plainGroups = true
}

// BeginScript is called before the first directive of a script of the rewrite module.
func (r *Request) BeginScript() { r.plainGroups = false }

// CancelRewrite undoes the again of an earlier Rewrite: the URI stays, the present
// location goes on with it.
func (r *Request) CancelRewrite() {
	r.strayed = r.strayed || r.rewritten
	r.rewritten = false
}

// UseLocation makes loc, an "if" block of the present location, serve the request.
func (r *Request) UseLocation(loc *Location) { r.loc = loc }

// Match matches text with p. When it does match, its groups become $1 to $9, those
// with a name variables; an error means that it took too long.
func (r *Request) Match(p *Pattern, text []byte) (bool, error) {
	groups, ok, err := p.Match(text, nil)
	if ok {
		r.setCaptures(p, groups)
	} else {
		r.captures = r.captures[:0]
	}
	return ok, err
}

// Names are the names of the expression's groups, "" for one that has none; the
// first is the whole match.
func (p *Pattern) Names() []string { return p.names }

// A place is the location that is being built, and its server.
type place struct {
	vs  *VirtualServer
	loc *Location
}

// Building is the location that is being built, by which a variable finds the
// settings that its module has there: it is the one of [Request.Location]. It is for
// use within [Instance.Location] only.
func (b *Builder) Building() *Location { return b.building.loc }

// If builds the location that an "if" block makes of the one that is being built:
// the same, but for what s, the block's scope, says. It is for use within
// [Instance.Location] only.
func (b *Builder) If(s *conf.Scope) (*Location, error) {
	at := b.building
	loc := &Location{Name: at.loc.Name, kind: at.loc.kind, pattern: at.loc.pattern}
	at.loc.blocks = append(at.loc.blocks, loc)
	loc.block = len(at.loc.blocks)
	return b.location(at.vs, s, loc)
}

// Settable makes a variable that [Request.SetVariable] sets. It reports false when
// there is one of that name which the configuration cannot set.
func (b *Builder) Settable(name string) bool {
	if b.settable[name] {
		return true
	}
	if _, taken := b.vars.exact[name]; taken && !b.groups[name] && !slices.Contains(setByCore, name) {
		return false
	}
	if b.settable == nil {
		b.settable = map[string]bool{}
	}
	b.settable[name] = true
	b.vars.add(name, settableVariable)
	return true
}

// setByCore are core variables that "set" may change, which changes the request.
var setByCore = []string{"args", "limit_rate"}

// SetVariable sets a variable that was made with [Builder.Settable]. value is the
// request's from then on.
func (r *Request) SetVariable(name string, value []byte) {
	switch name {
	case "args":
		r.Args = append(r.Args[:0], value...)
		r.uriChanged = true
	case "limit_rate":
		n, err := conf.ParseSize(string(value))
		if err != nil {
			r.Log(levelError, "invalid $limit_rate \""+string(value)+"\"", nil)
			return
		}
		r.Out.SetRate(n)
	default:
		r.setNamed(name, value)
	}
}

// settableVariable is the value that was set, or a warning.
func settableVariable(r *Request, name string, dst []byte) ([]byte, bool) {
	dst, ok := capturedVariable(r, name, dst)
	if !ok {
		r.Log(levelWarn, "using uninitialized \""+name+"\" variable", nil)
		r.setNamed(name, nil)
	}
	return dst, true
}

// AddURIToAlias makes AppendPath append the URI to an alias in a location with a
// regular expression, where the alias alone is the path otherwise.
func (r *Request) AddURIToAlias() { r.aliasWithURI = true }

// Unmappable reports whether no file can be found for the URI, and logs why: an
// alias stands for the location's name, which a rewrite took away.
func (r *Request) Unmappable() bool {
	if r.loc.core.root.alias == 0 || !r.strayed {
		return false
	}
	r.Log(levelAlert, "\"alias\" cannot be used in location \""+r.loc.Name+"\" where URI was rewritten", nil)
	return true
}

// escapeArgument appends p with those bytes escaped that mean something in
// arguments.
func escapeArgument(dst, p []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range p {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte("#%&+;?"), c) >= 0 {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
