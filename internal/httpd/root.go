package httpd

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"golang.org/x/sys/unix"
)

// A rootConf is where a location's files are.
type rootConf struct {
	path   Template // of root or alias
	alias  int      // how much of a URI the path stands for, by alias: aliasAll for all of it
	prefix string   // of the server, with a slash: what a relative path is below
}

// aliasAll is for an alias in a location with a regular expression.
const aliasAll = -1

// setRoot reads root and alias: whichever is nearer counts.
func (b *Builder) setRoot(s *conf.Scope, c *coreConf) error {
	root, err := b.Template(nil, b.Config.Abs("html"))
	if err != nil {
		return err
	}
	c.root = rootConf{path: root, prefix: strings.TrimSuffix(b.Config.Abs(""), "/") + "/"}
	for at := s; at != nil; at = at.Up {
		roots, aliases := at.Own("root"), at.Own("alias")
		if len(roots)+len(aliases) == 0 {
			continue
		}
		if len(roots) > 0 && len(aliases) > 0 {
			first, second := roots[0], aliases[0]
			if slices.Index(at.Block, second) < slices.Index(at.Block, first) {
				first, second = second, first
			}
			return conf.Errorf(second, "\"%s\" directive is duplicate, \"%s\" directive was specified earlier", second.Name, first.Name)
		}
		d := append(roots, aliases...)[0]
		if err := checkRoot(at, d); err != nil {
			return err
		}
		path := d.Arg(0)
		if !strings.HasPrefix(path, "$") {
			path = b.Config.Abs(path)
		}
		if len(roots) > 0 {
			path = strings.TrimSuffix(path, "/")
		}
		if len(aliases) > 0 {
			c.root.alias = aliasBytes(at.Self)
		}
		c.root.path, err = b.Template(d, path)
		return err
	}
	return nil
}

// aliasBytes is what an alias stands for in location d, and in the locations inside it
// that have no path of their own.
func aliasBytes(d *conf.Directive) int {
	mod, name := locationWords(d)
	if strings.HasPrefix(mod, "~") {
		return aliasAll
	}
	return len(name)
}

// checkRoot refuses a root or alias that is made of itself, and an alias in place of no
// part of a URI.
func checkRoot(at *conf.Scope, d *conf.Directive) error {
	if d.Name == "alias" && isNamed(at.Self) {
		return conf.Errorf(d, "the \"alias\" directive cannot be used inside the named location")
	}
	for _, name := range []string{"document_root", "realpath_root"} {
		if path := d.Arg(0); strings.Contains(path, "$"+name) || strings.Contains(path, "${"+name+"}") {
			return conf.Errorf(d, "the $%s variable cannot be used in the \"%s\" directive", name, d.Name)
		}
	}
	return nil
}

func isNamed(d *conf.Directive) bool {
	mod, name := locationWords(d)
	return mod == "" && strings.HasPrefix(name, "@")
}

// AppendPath appends the file that uri stands for: below root, or by alias.
func (r *Request) AppendPath(dst, uri []byte) []byte {
	dst = r.AppendRoot(dst)
	alias := r.loc.core.root.alias
	if alias == aliasAll {
		if r.aliasWithURI {
			dst = append(dst, uri...)
		}
		return dst
	}
	return append(dst, uri[min(alias, len(uri)):]...)
}

// AppendRoot appends $document_root.
func (r *Request) AppendRoot(dst []byte) []byte {
	root := &r.loc.core.root
	if text, ok := root.path.Static(); ok {
		return append(dst, text...)
	}
	if r.rooting {
		// A root of $request_filename. nginx goes round a hundred times or so.
		r.Log(levelError, "cycle while evaluating variable \"request_filename\"", nil)
		return dst
	}
	r.rooting = true
	n := len(dst)
	dst = root.path.Append(dst, r)
	r.rooting = false
	if n == len(dst) || dst[n] != '/' {
		dst = slices.Insert(dst, n, []byte(root.prefix)...)
	}
	return dst
}

// realpathVariable is $realpath_root: the root without symbolic links.
func realpathVariable(r *Request, _ string, dst []byte) ([]byte, bool) {
	root := string(r.AppendRoot(nil))
	path, err := filepath.EvalSymlinks(root)
	if err != nil {
		cause := error(unix.ELOOP) // what else it says has no number
		if fault, ok := errors.AsType[*fs.PathError](err); ok {
			cause = fault.Err
		}
		r.Log(levelCrit, "realpath() \""+root+"\" failed", cause)
		return dst, false
	}
	return append(dst, path...), true
}
