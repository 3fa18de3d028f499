package rewrite

import (
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
)

// A change is "rewrite regex replacement [flag]".
type change struct {
	pattern  *httpd.Pattern
	path     httpd.Template // replacement up to its first question mark; all of it for a redirect
	args     httpd.Template // and what is behind that
	hasArgs  bool           // there is a question mark
	addArgs  bool           // the request's own arguments are kept
	redirect int            // status of a redirect, 0 for none
	stays    bool           // flag "break": the location stays
	last     bool           // the script ends
}

func (in instance) newChange(d *conf.Directive) (step, error) {
	c := &change{addArgs: true}
	to := d.Arg(1)
	if isRedirect(to) {
		c.redirect, c.last = 302, true
	}
	switch flag := d.Arg(2); {
	case len(d.Args) < 3:
	case flag == "last":
		c.last = true
	case flag == "break":
		c.last, c.stays = true, true
	case flag == "redirect":
		c.redirect, c.last = 302, true
	case flag == "permanent":
		c.redirect, c.last = 301, true
	default:
		return nil, conf.Errorf(d, "invalid parameter \"%s\"", flag)
	}
	var err error
	if c.pattern, err = in.b.Pattern(d, d.Arg(0), false); err != nil {
		return nil, err
	}
	// A question mark at the end drops the request's arguments.
	if rest, ok := strings.CutSuffix(to, "?"); ok {
		to, c.addArgs = rest, false
	}
	path, args, found := strings.Cut(to, "?")
	c.hasArgs = found
	if c.redirect != 0 {
		path = to
	}
	if c.path, err = in.b.Template(d, path); err != nil {
		return nil, err
	}
	c.args, err = in.b.Template(d, args)
	return c, err
}

func (c *change) do(r *httpd.Request) int {
	switch ok, err := r.Match(c.pattern, r.URI); {
	case err != nil:
		r.Log(errorlog.Alert, "regular expression took too long", err)
		return 500
	case !ok:
		return next
	}
	if c.redirect != 0 {
		r.Out.Location = c.target(r)
		return c.redirect
	}
	uri := c.path.Append(nil, r)
	var args []byte
	if c.hasArgs {
		args = c.args.AppendArgument(nil, r)
		if c.addArgs && len(r.Args) > 0 {
			args = append(append(args, '&'), r.Args...)
		}
	} else if c.addArgs {
		args = r.Args
	}
	if len(uri) == 0 {
		r.Log(errorlog.Error, "the rewritten URI has a zero length", nil)
		return 500
	}
	r.Rewrite(uri, args, !c.stays)
	if c.last {
		return ended
	}
	return next
}

// target is where a redirect leads.
func (c *change) target(r *httpd.Request) []byte {
	raw := c.path.AppendRedirect(nil, r)
	to := unescapeRedirect(raw[:0:0], raw)
	if c.addArgs && len(r.Args) > 0 {
		mark := byte('?')
		if c.hasArgs {
			mark = '&'
		}
		to = append(append(to, mark), r.Args...)
	}
	return to
}

// unescapeRedirect decodes, as nginx does, those escapes that need not be in a
// Location field, up to a question mark, even one that was escaped.
func unescapeRedirect(dst, src []byte) []byte {
	for i := 0; i < len(src); i++ {
		c := src[i]
		if c == '?' {
			return append(dst, src[i:]...)
		}
		if c != '%' {
			dst = append(dst, c)
			continue
		}
		if i+2 < len(src) {
			hi, lo := unhex(src[i+1]), unhex(src[i+2])
			if v := hi<<4 | lo; hi >= 0 && lo >= 0 && v > '%' && v < 0x7f {
				dst = append(dst, byte(v))
				i += 2
				if v == '?' {
					return append(dst, src[i+1:]...)
				}
				continue
			}
		}
		dst = append(dst, c)
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
