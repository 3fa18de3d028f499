package httpd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
)

// serverConf is what applies before a location is known.
type serverConf struct {
	clientHeaderTimeout time.Duration
	firstBufferSize     int
	largeBuffers        int
	largeBufferSize     int
	maxFields           int // max_headers
	mergeSlashes        bool
	names               nameRules
	http2               http2Conf
}

// When a connection lingers after its last response.
const (
	lingerOff = iota
	lingerOn
	lingerAlways
)

// endConf is how a connection ends.
type endConf struct {
	linger        int
	time, timeout time.Duration // of lingering
	reset         bool          // one that timed out is reset
}

// coreConf is the core module's configuration of one location.
type coreConf struct {
	root                 rootConf
	errorPages           []errorPage
	recursiveErrorPages  bool
	types                map[string][]byte
	defaultType          []byte
	etag                 bool
	absoluteRedirect     bool
	portInRedirect       bool
	serverNameInRedirect bool
	msiePadding          bool
	chunked              bool
	http2Chunk           int
	sendfile             bool
	maxBody              int64
	maxRanges            int
	bodyBuffer           int64
	clientBodyTimeout    time.Duration
	sendTimeout          time.Duration
	keepaliveTimeout     time.Duration
	keepaliveRequests    int
	keepaliveTime        time.Duration
	noKeepalive          browsers
	ending               endConf
	limitRate            Template
	limitRateAfter       Template
	ifModifiedSince      int
	files                fileSettings

	serverLine    []byte // whole "Server: …" line
	serverToken   string
	keepaliveLine []byte // whole "Keep-Alive: …" line or nil
}

// A settings reads typed values from a scope and keeps the first error.
type settings struct {
	s   *conf.Scope
	err error
}

func (g *settings) keep(err error) {
	if g.err == nil {
		g.err = err
	}
}

func (g *settings) flag(name string, def bool) bool {
	v, err := g.s.Flag(name, def)
	g.keep(err)
	return v
}

func (g *settings) size(name string, def int64) int64 {
	v, err := g.s.Size(name, def)
	g.keep(err)
	return v
}

func (g *settings) time(name string, def time.Duration) time.Duration {
	v, err := g.s.Time(name, def)
	g.keep(err)
	return v
}

func (g *settings) seconds(name string, def time.Duration) time.Duration {
	v, err := g.s.Seconds(name, def)
	g.keep(err)
	return v
}

func (g *settings) int(name string, def int) int {
	v, err := g.s.Int(name, def)
	g.keep(err)
	return v
}

// newServerConf reads a server block.
func newServerConf(s *conf.Scope) (serverConf, error) {
	g := settings{s: s}
	c := serverConf{
		clientHeaderTimeout: g.time("client_header_timeout", 60*time.Second),
		mergeSlashes:        g.flag("merge_slashes", true),
		largeBuffers:        4,
		largeBufferSize:     8 << 10,
		maxFields:           g.int("max_headers", 1000),
		names: nameRules{
			underscores: g.flag("underscores_in_headers", false),
			any:         !g.flag("ignore_invalid_headers", true),
		},
		http2: newHTTP2Conf(&g),
	}
	first := g.size("client_header_buffer_size", 1<<10)
	if d := s.One("large_client_header_buffers"); d != nil {
		n, err := strconv.Atoi(d.Arg(0))
		pool := g.size("connection_pool_size", 512) // without effect but for this rule of nginx's
		size, err2 := conf.ParseSize(d.Arg(1))
		if err != nil || n <= 0 || err2 != nil || size <= 0 {
			return c, conf.Errorf(d, "\"large_client_header_buffers\" directive invalid value")
		}
		if size < pool {
			return c, conf.Errorf(d, "the \"large_client_header_buffers\" size must be equal to or greater than \"connection_pool_size\"")
		}
		c.largeBuffers, c.largeBufferSize = n, int(size)
	}
	c.http2.fieldSize, c.http2.headSize = c.largeBufferSize, c.largeBuffers*c.largeBufferSize
	c.firstBufferSize = int(first)
	c.largeBufferSize = max(c.largeBufferSize, int(first))
	return c, g.err
}

// newCoreConf reads one location, or a server block as the location where no
// other matches.
func (b *Builder) newCoreConf(s *conf.Scope) (coreConf, error) {
	g := settings{s: s}
	c := coreConf{
		recursiveErrorPages:  g.flag("recursive_error_pages", false),
		defaultType:          []byte("text/plain"),
		etag:                 g.flag("etag", true),
		absoluteRedirect:     g.flag("absolute_redirect", true),
		portInRedirect:       g.flag("port_in_redirect", true),
		serverNameInRedirect: g.flag("server_name_in_redirect", false),
		msiePadding:          g.flag("msie_padding", true),
		chunked:              g.flag("chunked_transfer_encoding", true),
		http2Chunk:           int(g.size("http2_chunk_size", 8<<10)),
		sendfile:             g.flag("sendfile", false),
		maxBody:              1 << 20,
		maxRanges:            g.int("max_ranges", -1),
		bodyBuffer:           g.size("client_body_buffer_size", 16<<10),
		clientBodyTimeout:    g.time("client_body_timeout", 60*time.Second),
		sendTimeout:          g.time("send_timeout", 60*time.Second),
		keepaliveRequests:    g.int("keepalive_requests", 1000),
		keepaliveTime:        g.time("keepalive_time", time.Hour),
		noKeepalive:          browsersOf(s.One("keepalive_disable")),
		ending: endConf{
			time:    g.time("lingering_time", 30*time.Second),
			timeout: g.time("lingering_timeout", 5*time.Second),
			reset:   g.flag("reset_timedout_connection", false),
		},
	}
	if v, err := s.Offset("client_max_body_size", 1<<20); err != nil {
		return c, err
	} else {
		c.maxBody = v
	}
	if d := s.One("default_type"); d != nil {
		c.defaultType = []byte(d.Arg(0))
	}
	c.ending.linger = lingerOn
	switch v := s.One("lingering_close"); v.Arg(0) {
	case "off":
		c.ending.linger = lingerOff
	case "always":
		c.ending.linger = lingerAlways
	}
	for _, set := range []func(*conf.Scope, *coreConf) error{
		b.setRoot, b.setTokens, b.setKeepalive, b.setErrorPages, b.setTypes, b.setRates,
		b.setFiles, b.setConditions,
	} {
		if err := set(s, &c); err != nil {
			return c, err
		}
	}
	return c, g.err
}

func (b *Builder) setTokens(s *conf.Scope, c *coreConf) error {
	c.serverToken = b.Product
	switch d := s.One("server_tokens"); d.Arg(0) {
	case "", "on":
	case "off":
		c.serverToken, _, _ = strings.Cut(b.Product, "/")
	case "build":
	default:
		return conf.Errorf(d, "invalid value \"%s\"", d.Arg(0))
	}
	c.serverLine = []byte("Server: " + c.serverToken + "\r\n")
	return nil
}

func (b *Builder) setKeepalive(s *conf.Scope, c *coreConf) error {
	c.keepaliveTimeout = 75 * time.Second
	d := s.One("keepalive_timeout")
	if d == nil {
		return nil
	}
	t, err := conf.ParseTime(d.Arg(0))
	if err != nil {
		return conf.Errorf(d, "\"keepalive_timeout\" directive invalid value")
	}
	c.keepaliveTimeout = t
	if len(d.Args) > 1 {
		h, err := conf.ParseTime(d.Arg(1))
		if err != nil {
			return conf.Errorf(d, "\"keepalive_timeout\" directive invalid value")
		}
		c.keepaliveLine = []byte("Keep-Alive: timeout=" + strconv.Itoa(int(h/time.Second)) + "\r\n")
	}
	return nil
}

func (b *Builder) setErrorPages(s *conf.Scope, c *coreConf) error {
	for _, d := range s.All("error_page") {
		page, err := b.errorPage(d)
		if err != nil {
			return err
		}
		c.errorPages = append(c.errorPages, page)
	}
	return nil
}

// errorPage reads "error_page code … [=[status]] target".
func (b *Builder) errorPage(d *conf.Directive) (errorPage, error) {
	var p errorPage
	args := d.Args[:len(d.Args)-1]
	if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "=") {
		if text := args[n-1][1:]; text == "" {
			p.status = -1
		} else {
			v, err := strconv.Atoi(text)
			if err != nil {
				return p, conf.Errorf(d, "invalid value \"%s\"", args[n-1])
			}
			p.status = v
		}
		args = args[:n-1]
	}
	if len(args) == 0 {
		return p, conf.Errorf(d, "invalid value \"%s\"", d.Args[0])
	}
	for _, a := range args {
		code, err := strconv.Atoi(a)
		if err != nil {
			return p, conf.Errorf(d, "invalid value \"%s\"", a)
		}
		if code == 499 { // nginx's own, for the log
			return p, conf.Errorf(d, "invalid value \"%s\"", a)
		}
		if code < 300 || code > 599 {
			return p, conf.Errorf(d, "value \"%s\" must be between 300 and 599", a)
		}
		p.codes = append(p.codes, code)
	}
	var err error
	p.target, err = b.Template(d, d.Args[len(d.Args)-1])
	return p, err
}

// setTypes reads types { }; without any nginx knows three.
func (b *Builder) setTypes(s *conf.Scope, c *coreConf) error {
	blocks := s.All("types")
	if len(blocks) == 0 {
		c.types = defaultTypes
		return nil
	}
	if have := b.types[blocks[0]]; have != nil {
		c.types = have
		return nil
	}
	c.types = map[string][]byte{}
	for _, block := range blocks {
		for _, entry := range block.Block {
			for _, ext := range entry.Args {
				ext = strings.ToLower(ext)
				if was, ok := c.types[ext]; ok {
					b.Warn(entry, fmt.Sprintf("duplicate extension \"%s\", content type: \"%s\", previous content type: \"%s\"", ext, entry.Name, was))
				}
				c.types[ext] = []byte(entry.Name)
			}
		}
	}
	b.types[blocks[0]] = c.types
	return nil
}

var defaultTypes = map[string][]byte{
	"html": []byte("text/html"), "gif": []byte("image/gif"), "jpg": []byte("image/jpeg"),
}

func (b *Builder) setRates(s *conf.Scope, c *coreConf) error {
	for _, x := range []struct {
		name string
		to   *Template
	}{{"limit_rate", &c.limitRate}, {"limit_rate_after", &c.limitRateAfter}} {
		d := s.One(x.name)
		if d == nil {
			continue
		}
		t, err := b.Template(d, d.Arg(0))
		if err != nil {
			return err
		}
		if text, ok := t.Static(); ok {
			if _, err := conf.ParseSize(text); err != nil {
				return conf.Errorf(d, "\"%s\" directive invalid value", x.name)
			}
		}
		*x.to = t
	}
	return nil
}

// MimeType is the type for a file name by its extension.
func (l *Location) MimeType(name []byte) []byte {
	for i := len(name) - 1; i >= 0 && name[i] != '/'; i-- {
		if name[i] != '.' {
			continue
		}
		ext := name[i+1:]
		if t, ok := l.core.types[string(ext)]; ok {
			return t
		}
		if t, ok := l.core.types[strings.ToLower(string(ext))]; ok {
			return t
		}
		break
	}
	return l.core.defaultType
}

// ETags reports whether static files get an ETag.
func (l *Location) ETags() bool { return l.core.etag }

// MaxRanges is max_ranges; negative means no limit.
func (l *Location) MaxRanges() int { return l.core.maxRanges }

// BodyBuffer is client_body_buffer_size in bytes.
func (l *Location) BodyBuffer() int64 { return l.core.bodyBuffer }

// SendTimeout is send_timeout.
func (l *Location) SendTimeout() time.Duration { return l.core.sendTimeout }

// Alias is how many bytes of its URIs an alias stands for, 0 for no alias, negative for
// all of them.
func (l *Location) Alias() int { return l.core.root.alias }
