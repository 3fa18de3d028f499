// Package tryfiles is nginx's ngx_http_try_files_module.
package tryfiles

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module describes the module.
func Module() httpd.Module {
	return httpd.Module{
		Name: "ngx_http_try_files_module",
		Directives: []conf.Spec{
			{Name: "try_files", In: conf.Server | conf.Location, Min: 2, Max: conf.AnyArgs},
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) { return instance{b}, nil },
	}
}

type instance struct{ b *httpd.Builder }

// Location reads the directive of this very block: it is not inherited.
func (in instance) Location(s *conf.Scope) (httpd.Part, error) {
	ds := s.Own("try_files")
	if len(ds) == 0 {
		return httpd.Part{}, nil
	}
	d := ds[0]
	t := new(try)
	for i, a := range d.Args {
		last := i == len(d.Args)-1
		if code, ok := strings.CutPrefix(a, "="); ok && last {
			n, err := strconv.Atoi(code)
			if err != nil || n < 0 || n > 999 {
				return httpd.Part{}, conf.Errorf(d, "invalid code \"%s\"", a)
			}
			t.code, t.ends = n, true
			break
		}
		var c candidate
		if !last && strings.HasSuffix(a, "/") {
			a, c.folder = a[:len(a)-1], true
		}
		var err error
		if c.name, err = in.b.Template(d, a); err != nil {
			return httpd.Part{}, err
		}
		t.candidates = append(t.candidates, c)
	}
	return httpd.Part{Precontent: t.run}, nil
}

// A candidate is one argument.
type candidate struct {
	name   httpd.Template
	folder bool // only a folder will do; the slash is not part of name
}

// A try is one try_files. Without ends the last candidate is where the request is
// sent on to.
type try struct {
	candidates []candidate
	ends       bool
	code       int // answered when no file is there
}

func (t *try) run(r *httpd.Request) int {
	if r.Unmappable() {
		return 500
	}
	for i := range t.candidates {
		c := &t.candidates[i]
		name := c.append(r.Scratch(), r)
		r.KeepScratch(name)
		if !t.ends && i == len(t.candidates)-1 {
			return redirect(r, name)
		}
		if c.exists(r, name) {
			return httpd.Declined
		}
	}
	return t.code
}

// append appends the candidate's name. With alias what that stands for is not
// part of it, if variables brought it in ($uri), not even in the last argument.
func (c *candidate) append(dst []byte, r *httpd.Request) []byte {
	if text, ok := c.name.Static(); ok {
		return append(dst, text...)
	}
	at := len(dst)
	dst = c.name.Append(dst, r)
	if n := r.Location().Alias(); n > 0 && n <= len(r.URI) && bytes.HasPrefix(dst[at:], r.URI[:n]) {
		dst = append(dst[:at], dst[at+n:]...)
	}
	return dst
}

// exists looks for the file and, when it is there, makes it the request's.
func (c *candidate) exists(r *httpd.Request, name []byte) bool {
	n := len(name)
	buf := append(append(r.AppendRoot(name), name...), 0)
	r.KeepScratch(buf)
	name, path := buf[:n], buf[n:]
	f, fault := r.TestFile(path)
	if fault.Errno != 0 {
		if fault.Status() == 500 {
			r.LogFault(fault, path[:len(path)-1])
		}
		return false
	}
	if f.Dir != c.folder {
		return false
	}
	switch n := r.Location().Alias(); {
	case n == 0:
		r.URI = append(r.URI[:0], name...)
	case n > 0:
		r.URI = append(r.URI[:min(n, len(r.URI))], name...)
	case !c.folder:
		r.URI = append(r.URI[:0], name...)
		r.AddURIToAlias()
	}
	return true
}

// redirect sends the request on to the last argument.
func redirect(r *httpd.Request, target []byte) int {
	if len(target) > 0 && target[0] == '@' {
		return r.NamedLocation(string(target))
	}
	uri, args, _ := bytes.Cut(target, []byte("?"))
	return r.InternalRedirect(uri, args)
}
