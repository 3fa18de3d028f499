package rewrite

import (
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"golang.org/x/sys/unix"
)

type predicate = func(r *httpd.Request) (bool, error)

// condition compiles what stands between "if" and its block.
func (in instance) condition(d *conf.Directive) (predicate, error) {
	args, wrong := inParentheses(d.Args)
	if args == nil {
		return nil, conf.Errorf(d, "invalid condition \"%s\"", wrong)
	}
	first := args[0]
	switch {
	case len(first) > 1 && first[0] == '$':
		return in.comparison(d, args)
	case len(args) == 2 && isFileTest(first):
		return in.fileTest(d, first, args[1])
	}
	return nil, conf.Errorf(d, "invalid condition \"%s\"", first)
}

// inParentheses takes the parentheses off a condition's words. When it cannot, or
// when nothing is left, it returns nil and the word that nginx names then.
func inParentheses(args []string) (words []string, wrong string) {
	if !strings.HasPrefix(args[0], "(") {
		return nil, args[0]
	}
	args = append([]string(nil), args...)
	if args[0] = args[0][1:]; args[0] == "" && len(args) > 1 {
		args = args[1:]
	}
	wrong = args[0]
	last := len(args) - 1
	if !strings.HasSuffix(args[last], ")") {
		return nil, wrong
	}
	if args[last] = strings.TrimSuffix(args[last], ")"); args[last] == "" {
		args = args[:last]
	}
	if len(args) == 0 {
		return nil, wrong
	}
	return args, ""
}

// comparison compiles "$variable" and "$variable operator value".
func (in instance) comparison(d *conf.Directive, args []string) (predicate, error) {
	left, err := in.b.Template(d, "${"+args[0][1:]+"}")
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		return func(r *httpd.Request) (bool, error) {
			v := left.Append(r.Scratch(), r)
			r.KeepScratch(v)
			return len(v) > 0 && string(v) != "0", nil
		}, nil
	}
	if len(args) != 3 {
		return nil, conf.Errorf(d, "invalid condition \"%s\"", args[0])
	}
	op, negative := strings.CutPrefix(args[1], "!")
	switch op {
	case "=":
		right, err := in.b.Template(d, args[2])
		return func(r *httpd.Request) (bool, error) {
			v := left.Append(r.Scratch(), r)
			n := len(v)
			v = right.AppendSet(v, r)
			r.KeepScratch(v)
			return string(v[:n]) == string(v[n:]) != negative, nil
		}, err
	case "~", "~*":
		p, err := in.b.Pattern(d, args[2], op == "~*")
		return func(r *httpd.Request) (bool, error) {
			ok, err := r.Match(p, left.Append(nil, r))
			return ok != negative, err
		}, err
	}
	return nil, conf.Errorf(d, "unexpected \"%s\" in condition", args[1])
}

func isFileTest(op string) bool {
	switch strings.TrimPrefix(op, "!") {
	case "-f", "-d", "-e", "-x":
		return true
	}
	return false
}

// fileTest compiles "-f path" and its like.
func (in instance) fileTest(d *conf.Directive, op, path string) (predicate, error) {
	t, err := in.b.Template(d, path)
	if err != nil {
		return nil, err
	}
	kind, negative := strings.CutPrefix(op, "!")
	return func(r *httpd.Request) (bool, error) {
		name := append(t.AppendSet(r.Scratch(), r), 0)
		r.KeepScratch(name)
		f, fault := r.TestFile(name)
		if fault.Errno != 0 {
			if !fault.Missing() {
				r.LogFault(fault, name[:len(name)-1])
			}
			return negative, nil
		}
		holds := true
		switch kind {
		case "-f":
			holds = f.Regular
		case "-d":
			holds = f.Dir
		case "-x":
			holds = f.Mode&unix.S_IXUSR != 0
		}
		return holds != negative, nil
	}, nil
}
