// Package rewrite is nginx's ngx_http_rewrite_module: return, rewrite, set, break
// and if.
//
// The directives of a block are a script that runs from top to bottom; that of an
// "if" block is part of the script of the block around it. What else stands in an
// "if" is a location of its own, which serves the request when the condition held
// last: as in nginx.
package rewrite

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module.
func Module() httpd.Module {
	in := conf.Server | conf.ServerIf | conf.Location | conf.LocationIf
	return httpd.Module{
		Name: "ngx_http_rewrite_module",
		Directives: []conf.Spec{
			{Name: "return", In: in, Min: 1, Max: 2, Repeat: true},
			{Name: "rewrite", In: in, Min: 2, Max: 3, Repeat: true},
			{Name: "set", In: in, Min: 2, Max: 2, Repeat: true},
			{Name: "break", In: in, Repeat: true},
			{Name: "if", In: conf.Server, Min: 1, Max: conf.AnyArgs, Block: true, Inner: conf.ServerIf, Repeat: true},
			{Name: "if", In: conf.Location, Min: 1, Max: conf.AnyArgs, Block: true, Inner: conf.LocationIf, Repeat: true},
			{
				Name: "rewrite_log", In: conf.HTTP | in, Min: 1, Max: 1, Flag: true,
				Effect: conf.NoEffect, Note: "Rewrites are not logged.",
			},
			{
				Name: "uninitialized_variable_warn", In: conf.HTTP | in, Min: 1, Max: 1, Flag: true,
				Effect: conf.NoEffect, Note: "The warning is always logged.",
			},
		},
		New: newInstance,
	}
}

type instance struct{ b *httpd.Builder }

// newInstance makes the variables of all "set" before any text is compiled that
// uses them.
func newInstance(b *httpd.Builder) (httpd.Instance, error) {
	return instance{b}, declare(b, b.HTTP.Block)
}

func declare(b *httpd.Builder, block []*conf.Directive) error {
	for _, d := range block {
		if d.Name == "set" && !d.HasBlock {
			name := d.Arg(0)
			if len(name) < 2 || name[0] != '$' {
				return conf.Errorf(d, "invalid variable name \"%s\"", name)
			}
			if !b.Settable(name[1:]) {
				return conf.Errorf(d, "the duplicate \"%s\" variable", name[1:])
			}
		}
		if err := declare(b, d.Block); err != nil {
			return err
		}
	}
	return nil
}

// Location builds the script of a server or a location; that of an "if" is built
// with the block around it.
func (in instance) Location(s *conf.Scope) (httpd.Part, error) {
	if s.Context&(conf.Server|conf.Location) == 0 {
		return httpd.Part{}, nil
	}
	code, err := in.script(s)
	if err != nil || len(code) == 0 {
		return httpd.Part{}, err
	}
	return httpd.Part{Rewrite: code.run}, nil
}

// A script is the directives of a block, in order.
type script []step

// A step is one directive. It returns next to go on with the following one,
// ended to leave the whole script, or what the Rewrite part is to return.
type step interface {
	do(r *httpd.Request) int
}

const (
	next  = -2
	ended = -3
)

func (code script) run(r *httpd.Request) int {
	r.BeginScript()
	if status := code.do(r); status >= 0 {
		return status
	}
	return httpd.Declined
}

func (code script) do(r *httpd.Request) int {
	for _, s := range code {
		if result := s.do(r); result != next {
			return result
		}
	}
	return next
}

// script compiles a block.
func (in instance) script(s *conf.Scope) (script, error) {
	var code script
	for _, d := range s.Block {
		var st step
		var err error
		switch d.Name {
		case "return":
			st, err = in.newAnswer(d)
		case "rewrite":
			st, err = in.newChange(d)
		case "set":
			st, err = in.newAssignment(d)
		case "break":
			st = leave{}
		case "if":
			st, err = in.newBranch(s, d)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		code = append(code, st)
	}
	return code, nil
}

// An assignment is "set $name value".
type assignment struct {
	name  string
	value httpd.Template
}

func (in instance) newAssignment(d *conf.Directive) (step, error) {
	t, err := in.b.Template(d, d.Arg(1))
	return &assignment{d.Arg(0)[1:], t}, err
}

func (a *assignment) do(r *httpd.Request) int {
	r.SetVariable(a.name, a.value.AppendSet(nil, r))
	return next
}

// leave is "break".
type leave struct{}

func (leave) do(r *httpd.Request) int {
	r.CancelRewrite()
	return ended
}

// A branch is "if (condition) { … }".
type branch struct {
	holds func(r *httpd.Request) (bool, error)
	code  script
	loc   *httpd.Location // nil in a server block
}

func (in instance) newBranch(s *conf.Scope, d *conf.Directive) (step, error) {
	br := new(branch)
	var err error
	if br.holds, err = in.condition(d); err != nil {
		return nil, err
	}
	inner := s.In(conf.ServerIf, d)
	if s.Context == conf.Location {
		inner.Context = conf.LocationIf
		if br.loc, err = in.b.If(inner); err != nil {
			return nil, err
		}
	}
	br.code, err = in.script(inner)
	return br, err
}

func (br *branch) do(r *httpd.Request) int {
	ok, err := br.holds(r)
	switch {
	case err != nil:
		r.Log(errorlog.Alert, "regular expression took too long", err)
		return 500
	case !ok:
		return next
	}
	if br.loc != nil {
		r.UseLocation(br.loc)
	}
	return br.code.do(r)
}
