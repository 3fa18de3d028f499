package httpd

import (
	"slices"
	"strconv"
)

// A carriedVariable is one that another process could not find out again.
type carriedVariable struct {
	name  string
	value Variable
}

// carriedByCore are the core's: what they tell was read from a body that is gone.
var carriedByCore = []string{bodyVariable, bodyFileVariable, "content_length"}

// CarryVariable is AddVariable for a variable whose value moves with the request's
// connection: v finds it out where the request was read, and finds nothing elsewhere.
func (b *Builder) CarryVariable(name string, v Variable) {
	b.site.carried = append(b.site.carried, carriedVariable{name, v})
	b.vars.add(name, func(r *Request, name string, dst []byte) ([]byte, bool) {
		if with, ok := v(r, name, dst); ok {
			return with, true
		}
		return capturedVariable(r, name, dst)
	})
}

// variablesToCarry are the variables with a value of their own, and those with one
// that the request's next process could not find out. What came with a request from
// another process is among the former.
func (r *Request) variablesToCarry() (vs []Field) {
	for _, v := range r.names {
		vs = append(vs, Field{v.name, v.value})
	}
	for _, c := range r.c.srv.site.carried {
		if value, ok := c.value(r, c.name, nil); ok {
			vs = append(vs, Field{c.name, value})
		}
	}
	for n := 1; n < min(len(r.captures), maxCarriedGroups+1); n++ {
		vs = append(vs, Field{strconv.Itoa(n), r.captures[n]})
	}
	if r.askedMethod != nil {
		vs = append(vs, Field{methodVariable, r.Head.Method()})
	}
	return vs
}

// methodVariable tells of an error page that is fetched with another method than the
// client's.
const methodVariable = "request_method"

// restoreVariable takes what variablesToCarry has returned.
func (r *Request) restoreVariable(v Field) {
	switch n, err := strconv.Atoi(v.Name); {
	case v.Name == methodVariable && string(v.Value) == "GET":
		r.becomeGet()
	case err == nil && n > 0 && n <= maxCarriedGroups:
		if n == 1 { // of an expression that may have more groups
			r.captures = r.captures[:min(len(r.captures), 1)]
		}
		for len(r.captures) <= n {
			r.captures = append(r.captures, nil)
		}
		r.captures[n] = v.Value
	default:
		r.setNamed(v.Name, v.Value)
	}
}

// maxCarriedGroups is how many groups of an expression a text can name: $1 to $9.
const maxCarriedGroups = 9

// shed drops from a ticket that is too large what only a log would say, and reports
// whether there was any.
func (t *ticket) shed(carried []carriedVariable) bool {
	before := len(t.sets)
	t.sets = slices.DeleteFunc(t.sets, func(f Field) bool {
		return slices.ContainsFunc(carried, func(c carriedVariable) bool { return c.name == f.Name })
	})
	return len(t.sets) < before
}

// locateMoved finds the location of a request that moved: the one that the ticket
// names, or the one for the path by which it was chosen, and the "if" block of it.
func (r *Request) locateMoved(t *ticket) {
	uri := r.URI
	if len(t.chosenBy) > 0 {
		r.URI = t.chosenBy
	}
	if r.loc = r.Server.named[t.named]; r.loc == nil && r.locate() != Declined {
		r.loc, r.Out.Location = r.Server.root, nil
	}
	r.URI, r.chosenBy = uri, append(r.chosenBy[:0], t.chosenBy...)
	if n := t.block; n > 0 && n <= uint64(len(r.loc.blocks)) {
		r.loc = r.loc.blocks[n-1]
	}
}
