// Package gzip is nginx's ngx_http_gzip_module and ngx_http_gzip_static_module:
// it compresses content on its way to the client, or sends a file that was
// compressed beforehand.
package gzip

import (
	"strings"
	"sync"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/klauspost/compress/gzip"
)

// Module describes the module that compresses.
func Module() httpd.Module {
	const hsl = conf.HTTPServerLocation
	none := func(name string, lo, hi int, note string) conf.Spec {
		return conf.Spec{Name: name, In: hsl, Min: lo, Max: hi, Effect: conf.NoEffect, Note: note}
	}
	buffers := func(s conf.Spec) conf.Spec {
		s.Check = conf.CheckBuffers
		return s
	}
	size := func(s conf.Spec, check func(*conf.Directive) error) conf.Spec {
		s.Check = check
		return s
	}
	flag := func(s conf.Spec) conf.Spec {
		s.Flag = true
		return s
	}
	const memory = "The memory for one response is fixed."
	return httpd.Module{
		Name: "ngx_http_gzip_module",
		Directives: []conf.Spec{
			{Name: "gzip", In: hsl | conf.LocationIf, Min: 1, Max: 1, Flag: true},
			{Name: "gzip_types", In: hsl, Min: 1, Max: conf.AnyArgs, Repeat: true},
			{Name: "gzip_comp_level", In: hsl, Min: 1, Max: 1},
			{Name: "gzip_min_length", In: hsl, Min: 1, Max: 1},
			{Name: "gzip_vary", In: hsl, Min: 1, Max: 1, Flag: true},
			{Name: "gzip_http_version", In: hsl, Min: 1, Max: 1},
			{Name: "gzip_proxied", In: hsl, Min: 1, Max: conf.AnyArgs, Repeat: true},
			{Name: "gzip_disable", In: hsl, Min: 1, Max: conf.AnyArgs, Repeat: true},
			buffers(none("gzip_buffers", 2, 2, memory)),
			size(none("gzip_window", 1, 1, memory), checkPower(32<<10, "512, 1k, 2k, 4k, 8k, 16k, or 32k")),
			size(none("gzip_hash", 1, 1, memory), checkPower(128<<10, "512, 1k, 2k, 4k, 8k, 16k, 32k, 64k, or 128k")),
			flag(none("gzip_no_buffer", 1, 1, "Output waits for no more than 8 KB or the end.")),
			size(none("postpone_gzipping", 1, 1, "Output waits for no more than 8 KB or the end."), conf.CheckSize),
		},
		New: func(b *httpd.Builder) (httpd.Instance, error) {
			in := &instance{b: b, types: map[*conf.Directive]map[string]bool{}, warned: map[*conf.Directive]bool{}}
			var err error
			in.key, err = b.StateKey()
			b.AddVariable("gzip_ratio", in.ratioVariable)
			return in, err
		},
	}
}

// An instance keeps compressors by level for all responses.
type instance struct {
	b      *httpd.Builder
	key    httpd.StateKey                      // of *sizes
	types  map[*conf.Directive]map[string]bool // by the first directive
	warned map[*conf.Directive]bool            // of gzip_proxied, likewise
	pools  [10]sync.Pool
}

func (in *instance) Location(s *conf.Scope) (httpd.Part, error) {
	on, err := s.Flag("gzip", false)
	if err != nil {
		return httpd.Part{}, err
	}
	rule, err := newRule(in.b, s)
	if err != nil {
		return httpd.Part{}, err
	}
	r := &compression{rule: rule, key: in.key, pools: &in.pools}
	if r.level, err = level(s); err != nil {
		return httpd.Part{}, err
	}
	in.warnProxied(s)
	if r.minLength, err = s.Size("gzip_min_length", 20); err != nil {
		return httpd.Part{}, err
	}
	r.types = in.typesOf(s)
	if !on {
		return httpd.Part{}, nil
	}
	return httpd.Part{Head: r.apply}, nil
}

func level(s *conf.Scope) (int, error) {
	n, err := s.Int("gzip_comp_level", 1)
	if err == nil && (n < 1 || n > 9) {
		err = conf.Errorf(s.One("gzip_comp_level"), "value must be between 1 and 9")
	}
	return n, err
}

// checkPower returns a check that wants a power of two from 512 up to most.
func checkPower(most int64, words string) func(*conf.Directive) error {
	return func(d *conf.Directive) error {
		if err := conf.CheckSize(d); err != nil {
			return err
		}
		n, _ := conf.ParseSize(d.Arg(0)) // it was checked
		if n < 512 || n > most || n&(n-1) != 0 {
			return conf.Errorf(d, "\"%s\" directive must be %s", d.Name, words)
		}
		return nil
	}
}

// warnProxied warns of gzip_proxied, once for all locations that have it in common.
func (in *instance) warnProxied(s *conf.Scope) {
	ds := s.All("gzip_proxied")
	if len(ds) == 0 || in.warned[ds[0]] {
		return
	}
	in.warned[ds[0]] = true
	_, _ = proxied(ds, in.b.Warn) // it was read without an error
}

// typesOf are the MIME types to compress, in lower case; nil means all.
func (in *instance) typesOf(s *conf.Scope) map[string]bool {
	ds := s.All("gzip_types")
	if len(ds) == 0 {
		return map[string]bool{"text/html": true}
	}
	if m, ok := in.types[ds[0]]; ok {
		return m
	}
	m := map[string]bool{"text/html": true}
	in.types[ds[0]] = nil
	for _, d := range ds {
		for _, a := range d.Args {
			if a == "*" {
				return nil
			}
			if a = strings.ToLower(a); m[a] {
				in.b.Warn(d, "duplicate MIME type \""+a+"\"")
			}
			m[a] = true
		}
	}
	in.types[ds[0]] = m
	return m
}

// A compression is what one location compresses.
type compression struct {
	*rule
	key       httpd.StateKey
	level     int
	minLength int64
	types     map[string]bool
	pools     *[10]sync.Pool
}

// apply decides about one response, just before its head is written.
func (c *compression) apply(r *httpd.Request) {
	o := &r.Out
	switch o.Status {
	case 200, 403, 404:
	default:
		return
	}
	if o.Upgraded || o.Coding() != nil || o.ContentLength >= 0 && o.ContentLength < c.minLength || !c.rightType(o) {
		return
	}
	o.VaryEncoding = c.vary
	if !c.allows(r) {
		return
	}
	e, _ := c.pools[c.level].Get().(*encoder)
	if e == nil {
		e = newEncoder(c.level)
	}
	e.begin(o, &c.pools[c.level])
	r.SetState(c.key, e.sizes)
	o.Encode("gzip", e)
}

// rightType looks the type up.
func (c *compression) rightType(o *httpd.Response) bool {
	if c.types == nil {
		return true
	}
	t := o.TypeAlone()
	return c.types[string(t)] || c.types[strings.ToLower(string(t))]
}

// An encoder compresses one response at a time. Its output is gathered, so that
// the client gets few large chunks.
type encoder struct {
	out  *httpd.Response
	pool *sync.Pool
	zip  *gzip.Writer
	buf  []byte

	*sizes // of this response; they outlive the encoder's work for it
}

// bufferSize is how much output is gathered.
const bufferSize = 8 << 10

func newEncoder(level int) *encoder {
	e := &encoder{buf: make([]byte, 0, bufferSize)}
	e.zip, _ = gzip.NewWriterLevel(nil, level) // the level was checked
	return e
}

func (e *encoder) begin(o *httpd.Response, pool *sync.Pool) {
	e.out, e.pool, e.buf, e.sizes = o, pool, e.buf[:0], &sizes{}
	e.zip.Reset((*gathered)(e))
}

// gathered is the encoder as what the compressor writes to.
type gathered encoder

func (g *gathered) Write(p []byte) (int, error) {
	g.packed += int64(len(p))
	if len(g.buf)+len(p) > cap(g.buf) {
		if err := (*encoder)(g).send(); err != nil {
			return 0, err
		}
		if len(p) > cap(g.buf) {
			if err := g.out.WriteEncoded(p); err != nil {
				return 0, err
			}
			return len(p), nil
		}
	}
	g.buf = append(g.buf, p...)
	return len(p), nil
}

func (e *encoder) send() error {
	if len(e.buf) == 0 {
		return nil
	}
	err := e.out.WriteEncoded(e.buf)
	e.buf = e.buf[:0]
	return err
}

// Write compresses some of the content.
func (e *encoder) Write(p []byte) error {
	e.plain += int64(len(p))
	_, err := e.zip.Write(p)
	return err
}

// Flush sends on everything that was written.
func (e *encoder) Flush() error {
	if err := e.zip.Flush(); err != nil {
		return err
	}
	return e.send()
}

// Close ends the content and makes the encoder free for another response.
func (e *encoder) Close(cut bool) error {
	var err error
	if !cut {
		if err = e.zip.Close(); err == nil {
			err = e.send()
		}
		e.whole = true
	}
	pool := e.pool
	e.out, e.pool, e.sizes = nil, nil, nil
	pool.Put(e)
	return err
}
