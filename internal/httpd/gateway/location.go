package gateway

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
	"golang.org/x/sys/unix"
)

// A Location is the settings that all protocols have where a *_pass stands. It is
// the location's handler.
type Location struct {
	// SetBody replaces the client's body; nil leaves it.
	SetBody *httpd.Template
	// StreamsAny says that a body whose length is not known can be passed on as it
	// comes; one whose length is known always can.
	StreamsAny bool

	ups      *upstream.Upstreams
	kind     *Kind
	protocol Protocol

	passFields  bool
	passBody    bool
	requestBuf  bool
	bodyTemp    httpd.TempPath
	bodyFile    string // client_body_in_file_only
	bufferSize  int
	buffering   bool
	limitRate   int64 // at which an answer is read, bytes a second; 0 for no limit
	spool       httpd.SpoolConf
	intercept   bool
	ignoreAbort bool
	forceRanges bool // ranges are cut out of answers here

	dial        upstream.DialOptions
	sendTimeout time.Duration
	readTimeout time.Duration
	next        Failure // which failures go to the next server
	nextTries   int
	nextTimeout time.Duration

	hidden  map[string]bool // answers' fields that are not passed on, lower-case
	ignored map[string]bool // answers' fields that have no meaning, lower-case
}

// PassFields reports whether the client's fields are passed on.
func (l *Location) PassFields() bool { return l.passFields }

// A reader reads typed values of one module's directives from a scope and keeps the
// first error.
type reader struct {
	b    *httpd.Builder
	s    *conf.Scope
	kind *Kind
	err  error
}

func (rd *reader) keep(err error) {
	if rd.err == nil {
		rd.err = err
	}
}

// name is a directive's whole name.
func (rd *reader) name(rest string) string { return rd.kind.Prefix + "_" + rest }

func (rd *reader) flag(name string, def bool) bool {
	v, err := rd.s.Flag(rd.name(name), def)
	rd.keep(err)
	return v
}

func (rd *reader) time(name string, def time.Duration) time.Duration {
	v, err := rd.s.Time(rd.name(name), def)
	rd.keep(err)
	return v
}

// NewLocation reads the settings of scope s, in which p is spoken with servers.
func NewLocation(k *Kind, ups *upstream.Upstreams, b *httpd.Builder, s *conf.Scope, p Protocol) (*Location, error) {
	rd := &reader{b: b, s: s, kind: k}
	l := &Location{
		ups: ups, kind: k, protocol: p,
		passFields:  rd.flag("pass_request_headers", true),
		passBody:    rd.flag("pass_request_body", true),
		requestBuf:  rd.flag("request_buffering", true),
		buffering:   rd.flag("buffering", true),
		intercept:   rd.flag("intercept_errors", false),
		ignoreAbort: rd.flag("ignore_client_abort", false),
		forceRanges: rd.flag("force_ranges", false),
		sendTimeout: rd.time("send_timeout", time.Minute),
		readTimeout: rd.time("read_timeout", time.Minute),
		nextTimeout: rd.time("next_upstream_timeout", 0),
	}
	l.dial.Timeout = rd.time("connect_timeout", time.Minute)
	l.dial.KeepAlive = rd.flag("socket_keepalive", false)
	for _, set := range []func(*Location){rd.sizes, rd.words, rd.hide, rd.bind} {
		set(l)
	}
	return l, rd.err
}

// words reads the directives whose values are words.
func (rd *reader) words(l *Location) {
	var err error
	l.next, err = rd.kind.nextUpstream(rd.s.One(rd.name("next_upstream")))
	rd.keep(err)
	l.ignored, err = ignoredFields(rd.s.One(rd.name("ignore_headers")))
	rd.keep(err)
}

func (rd *reader) sizes(l *Location) {
	size, err := rd.s.Size(rd.name("buffer_size"), bufpool.Page)
	rd.keep(err)
	l.bufferSize = max(int(size), minBuffer)
	l.limitRate, err = rd.s.Size(rd.name("limit_rate"), 0)
	rd.keep(err)
	l.nextTries, err = rd.s.Int(rd.name("next_upstream_tries"), 0)
	rd.keep(err)
	l.bodyTemp, err = rd.b.TempPath(rd.s, "client_body_temp_path", "client_body_temp")
	rd.keep(err)
	l.bodyFile, err = rd.s.Enum("client_body_in_file_only", "off", "off", "on", "clean")
	rd.keep(err)
	l.spool, err = rd.kind.spoolSizes(rd.s)
	rd.keep(err)
	l.spool.Temp, err = rd.b.TempPath(rd.s, rd.name("temp_path"), rd.name("temp"))
	rd.keep(err)
}

// nextUpstreamWord is what an argument of *_next_upstream stands for. Not all are
// words of every module.
func nextUpstreamWord(word string) (f Failure, common, ok bool) {
	switch word {
	case "error":
		return FailError, true, true
	case "timeout":
		return FailTimeout, true, true
	case "invalid_header":
		return FailHeader, true, true
	case "non_idempotent":
		return FailUnsafe, true, true
	case "http_500":
		return Fail500, true, true
	case "http_503":
		return Fail503, true, true
	case "http_403":
		return Fail403, true, true
	case "http_404":
		return Fail404, true, true
	case "http_429":
		return Fail429, true, true
	case "updating":
		return 0, true, true
	case "off":
		return FailOff, true, true
	case "http_502":
		return Fail502, false, true
	case "http_504":
		return Fail504, false, true
	}
	return 0, false, false
}

// nextUpstream reads *_next_upstream; nil is its absence.
func (k *Kind) nextUpstream(d *conf.Directive) (next Failure, err error) {
	if d == nil {
		return FailError | FailTimeout, nil
	}
	for _, word := range d.Args {
		f, common, ok := nextUpstreamWord(word)
		if !ok || !common && !slices.Contains(k.Next, word) {
			return 0, conf.Errorf(d, "invalid value \"%s\"", word)
		}
		next |= f
	}
	if next&FailOff != 0 {
		next = FailOff
	}
	return next, nil
}

func (rd *reader) hide(l *Location) {
	l.hidden = map[string]bool{}
	for _, name := range rd.kind.Hidden {
		l.hidden[name] = true
	}
	for _, d := range rd.s.All(rd.name("hide_header")) {
		l.hidden[strings.ToLower(d.Arg(0))] = true
	}
	for _, d := range rd.s.All(rd.name("pass_header")) {
		delete(l.hidden, strings.ToLower(d.Arg(0)))
	}
}

// ignoredFields reads *_ignore_headers; nil is its absence.
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

func (rd *reader) bind(l *Location) {
	d := rd.s.One(rd.name("bind"))
	if d == nil || d.Arg(0) == "off" {
		return
	}
	if len(d.Args) > 1 || strings.Contains(d.Arg(0), "$") {
		rd.keep(conf.Errorf(d, "\"%s\" with variables or \"transparent\" is not supported by baton", d.Name))
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
