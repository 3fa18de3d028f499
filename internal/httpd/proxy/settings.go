package proxy

import (
	"net/netip"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
	"golang.org/x/sys/unix"
)

// A location is the module's settings where proxy_pass stands.
type location struct {
	m      *module
	target target

	method      *httpd.Template // nil: the client's
	http11      bool
	sets        []setField
	replaced    map[string]bool // client's fields that are not passed on, lower-case
	passFields  bool
	passBody    bool
	setBody     *httpd.Template
	requestBuf  bool
	bodyTemp    httpd.TempPath
	bufferSize  int
	buffering   bool
	spool       httpd.SpoolConf
	intercept   bool
	ignoreAbort bool

	dial        upstream.DialOptions
	sendTimeout time.Duration
	readTimeout time.Duration
	next        failure // which failures go to the next server
	nextTries   int
	nextTimeout time.Duration

	hidden        map[string]bool // answers' fields that are not passed on, lower-case
	ignored       map[string]bool // answers' fields that have no meaning, lower-case
	redirects     []redirect
	cookieDomains []cookieRule
	cookiePaths   []cookieRule
}

// hiddenByDefault are nginx's.
var hiddenByDefault = [...]string{
	"date", "server", "x-pad", "x-accel-expires", "x-accel-redirect",
	"x-accel-limit-rate", "x-accel-buffering", "x-accel-charset",
}

// A reader reads typed values from a scope and keeps the first error.
type reader struct {
	b   *httpd.Builder
	s   *conf.Scope
	err error
}

func (rd *reader) keep(err error) {
	if rd.err == nil {
		rd.err = err
	}
}

func (rd *reader) flag(name string, def bool) bool {
	v, err := rd.s.Flag(name, def)
	rd.keep(err)
	return v
}

func (rd *reader) time(name string, def time.Duration) time.Duration {
	v, err := rd.s.Time(name, def)
	rd.keep(err)
	return v
}

// template returns the value of a directive with variables, nil when it is absent.
func (rd *reader) template(name string) *httpd.Template {
	d := rd.s.One(name)
	if d == nil {
		return nil
	}
	t, err := rd.b.Template(d, d.Arg(0))
	rd.keep(err)
	return &t
}

// newLocation compiles the scope in which proxy_pass d stands.
func newLocation(m *module, b *httpd.Builder, s *conf.Scope, d *conf.Directive) (*location, error) {
	rd := &reader{b: b, s: s}
	l := &location{
		m:           m,
		method:      rd.template("proxy_method"),
		setBody:     rd.template("proxy_set_body"),
		passFields:  rd.flag("proxy_pass_request_headers", true),
		passBody:    rd.flag("proxy_pass_request_body", true),
		requestBuf:  rd.flag("proxy_request_buffering", true),
		buffering:   rd.flag("proxy_buffering", true),
		intercept:   rd.flag("proxy_intercept_errors", false),
		ignoreAbort: rd.flag("proxy_ignore_client_abort", false),
		sendTimeout: rd.time("proxy_send_timeout", time.Minute),
		readTimeout: rd.time("proxy_read_timeout", time.Minute),
		nextTimeout: rd.time("proxy_next_upstream_timeout", 0),
	}
	l.dial.Timeout = rd.time("proxy_connect_timeout", time.Minute)
	l.dial.KeepAlive = rd.flag("proxy_socket_keepalive", false)
	for _, set := range []func(*location){
		rd.sizes, rd.words, rd.hide, rd.bind, rd.setFields, rd.cookies,
	} {
		set(l)
	}
	if rd.err != nil {
		return nil, rd.err
	}
	var err error
	if l.target, err = newTarget(m, b, s, d); err != nil {
		return nil, err
	}
	l.redirects, err = newRedirects(b, s, &l.target)
	return l, err
}

// words reads the directives whose values are words.
func (rd *reader) words(l *location) {
	l.http11 = rd.s.String("proxy_http_version", "1.0") == "1.1"
	var err error
	l.next, err = nextUpstream(rd.s.One("proxy_next_upstream"))
	rd.keep(err)
	l.ignored, err = ignoredFields(rd.s.One("proxy_ignore_headers"))
	rd.keep(err)
}

func (rd *reader) sizes(l *location) {
	size, err := rd.s.Size("proxy_buffer_size", httpd.BufferPage)
	rd.keep(err)
	l.bufferSize = max(int(size), 256)
	l.nextTries, err = rd.s.Int("proxy_next_upstream_tries", 0)
	rd.keep(err)
	l.bodyTemp, err = rd.b.TempPath(rd.s, "client_body_temp_path", "client_body_temp")
	rd.keep(err)
	l.spool, err = spoolSizes(rd.s)
	rd.keep(err)
	l.spool.Temp, err = rd.b.TempPath(rd.s, "proxy_temp_path", "proxy_temp")
	rd.keep(err)
}

// nextUpstreamWords are the arguments of proxy_next_upstream.
var nextUpstreamWords = map[string]failure{
	"error": failError, "timeout": failTimeout, "invalid_header": failHeader,
	"non_idempotent": failUnsafe, "http_500": fail500, "http_502": fail502,
	"http_503": fail503, "http_504": fail504, "http_403": fail403,
	"http_404": fail404, "http_429": fail429, "updating": 0, "off": failOff,
}

// nextUpstream reads proxy_next_upstream; nil is its absence.
func nextUpstream(d *conf.Directive) (next failure, err error) {
	if d == nil {
		return failError | failTimeout, nil
	}
	for _, word := range d.Args {
		f, ok := nextUpstreamWords[word]
		if !ok {
			return 0, conf.Errorf(d, "invalid value \"%s\"", word)
		}
		next |= f
	}
	if next&failOff != 0 {
		next = failOff
	}
	return next, nil
}

func (rd *reader) hide(l *location) {
	l.hidden = map[string]bool{}
	for _, name := range hiddenByDefault {
		l.hidden[name] = true
	}
	for _, d := range rd.s.All("proxy_hide_header") {
		l.hidden[strings.ToLower(d.Arg(0))] = true
	}
	for _, d := range rd.s.All("proxy_pass_header") {
		delete(l.hidden, strings.ToLower(d.Arg(0)))
	}
}

// ignoredFields reads proxy_ignore_headers; nil is its absence.
func ignoredFields(d *conf.Directive) (map[string]bool, error) {
	if d == nil {
		return nil, nil
	}
	ignored := map[string]bool{}
	for _, name := range d.Args {
		switch lower := strings.ToLower(name); lower {
		case "x-accel-redirect", "x-accel-expires", "x-accel-limit-rate", "x-accel-buffering",
			"x-accel-charset", "expires", "cache-control", "set-cookie", "vary":
			ignored[lower] = true
		default:
			return nil, conf.Errorf(d, "invalid value \"%s\"", name)
		}
	}
	return ignored, nil
}

func (rd *reader) bind(l *location) {
	d := rd.s.One("proxy_bind")
	if d == nil || d.Arg(0) == "off" {
		return
	}
	if len(d.Args) > 1 || strings.Contains(d.Arg(0), "$") {
		rd.keep(conf.Errorf(d, "\"proxy_bind\" with variables or \"transparent\" is not supported by baton"))
		return
	}
	ap, err := netip.ParseAddrPort(d.Arg(0))
	if err != nil {
		a, err := netip.ParseAddr(d.Arg(0))
		if err != nil {
			rd.keep(conf.Errorf(d, "invalid address \"%s\"", d.Arg(0)))
			return
		}
		ap = netip.AddrPortFrom(a, 0)
	}
	l.dial.BindName = d.Arg(0)
	if ap.Addr().Is4() {
		l.dial.Bind = &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}
		return
	}
	l.dial.Bind = &unix.SockaddrInet6{Addr: ap.Addr().As16(), Port: int(ap.Port())}
}

// A setField is a field of the request to the server.
type setField struct {
	name  []byte // with ": "
	value httpd.Template
	kind  setKind
}

type setKind uint8

const (
	setText   setKind = iota
	setHost           // $proxy_host
	setLength         // of the body that is sent, when its length is known
	setCoding         // "chunked" when it is not
)

// setFields merges proxy_set_header with what is set without it.
func (rd *reader) setFields(l *location) {
	l.replaced = map[string]bool{}
	add := func(f setField, name string, keep bool) {
		l.replaced[strings.ToLower(name)] = true
		if keep {
			f.name = []byte(name + ": ")
			l.sets = append(l.sets, f)
		}
	}
	for _, d := range rd.s.All("proxy_set_header") {
		value, err := rd.b.Template(d, httpd.Unfold(d.Arg(1)))
		rd.keep(err)
		add(setField{value: value}, d.Arg(0), d.Arg(1) != "")
	}
	connection, err := rd.b.Template(nil, "close")
	rd.keep(err)
	for _, def := range []struct {
		name string
		f    setField
		keep bool
	}{
		{"Host", setField{kind: setHost}, true},
		{"Connection", setField{value: connection}, true},
		{"Content-Length", setField{kind: setLength}, true},
		{"Transfer-Encoding", setField{kind: setCoding}, true},
		{"TE", setField{}, false},
		{"Keep-Alive", setField{}, false},
		{"Expect", setField{}, false},
		{"Upgrade", setField{}, false},
	} {
		if !l.replaced[strings.ToLower(def.name)] {
			add(def.f, def.name, def.keep)
		}
	}
}
