// Package limitreq is nginx's ngx_http_limit_req_module: requests of one key, such as a
// client's address, are answered at a certain rate. What is above it waits, and what is
// above that is refused. All workers count in one shared zone, over a reload, an upgrade
// and a roll-back.
package limitreq

import (
	"log/slog"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/shm"
)

// kind is what nginx's messages call a zone of this module.
const kind = "limit_req"

// Module describes the module.
func Module() httpd.Module {
	in := conf.HTTPServerLocation
	return httpd.Module{
		Name: "ngx_http_limit_req_module",
		Directives: []conf.Spec{
			{Name: "limit_req_zone", In: conf.HTTP, Min: 3, Max: 3, Repeat: true, Check: checkZone},
			{Name: "limit_req", In: in, Min: 1, Max: 3, Repeat: true, Check: checkLimit},
			{Name: "limit_req_log_level", In: in, Min: 1, Max: 1, Check: conf.CheckEnum(levelNames()...)},
			{Name: "limit_req_status", In: in, Min: 1, Max: 1, Check: checkStatus},
			{Name: "limit_req_dry_run", In: in, Min: 1, Max: 1, Flag: true},
		},
		New: newInstance,
	}
}

// levels are those of limit_req_log_level, the least severe first. Delays are logged one
// level below refusals.
var levels = [...]struct {
	name         string
	refuse, wait slog.Level
}{
	{"info", errorlog.Info, errorlog.Info},
	{"notice", errorlog.Notice, errorlog.Info},
	{"warn", errorlog.Warn, errorlog.Notice},
	{"error", errorlog.Error, errorlog.Warn},
}

func levelNames() (names []string) {
	for _, l := range levels {
		names = append(names, l.name)
	}
	return names
}

// A zone is a shared zone of this module and what limit_req_zone says of it.
type zone struct {
	*httpd.Zone
	key   httpd.Template
	rate  uint64 // requests in 1,000 seconds; 0 as long as no limit_req_zone names it
	clock shm.Clock
}

// An instance is the zones of one configuration.
type instance struct {
	b     *httpd.Builder
	key   httpd.StateKey
	clock shm.Clock
	zones map[string]*zone
}

func newInstance(b *httpd.Builder) (httpd.Instance, error) {
	in := &instance{b: b, clock: shm.NewClock(), zones: map[string]*zone{}}
	var err error
	if in.key, err = b.StateKey(); err != nil {
		return nil, err
	}
	b.CarryVariable("limit_req_status", in.variable)
	for _, d := range b.HTTP.Own("limit_req_zone") {
		if err := in.declare(d); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// declare reads a limit_req_zone.
func (in *instance) declare(d *conf.Directive) error {
	name, size, rate, err := readZone(d)
	if err != nil {
		return err
	}
	z, err := in.zone(d, name, size)
	if err != nil {
		return err
	}
	if z.rate != 0 {
		return conf.Errorf(d, "%s \"%s\" is already bound to key \"%s\"", d.Name, name, z.Key)
	}
	z.rate, z.Key = rate, d.Arg(0)
	z.key, err = in.b.Template(d, z.Key)
	return err
}

// zone returns the zone of a name.
func (in *instance) zone(d *conf.Directive, name string, size int64) (*zone, error) {
	hz, err := in.b.Zone(d, kind, name, size)
	if err != nil {
		return nil, err
	}
	if in.zones[name] == nil {
		in.zones[name] = &zone{Zone: hz, clock: in.clock}
	}
	return in.zones[name], nil
}

func checkZone(d *conf.Directive) error {
	_, _, _, err := readZone(d)
	return err
}

// minZone is the size of the smallest zone that nginx takes, eight pages.
const minZone = 8 * 4096

// readZone reads the parameters of limit_req_zone. rate is in requests in 1,000 seconds.
func readZone(d *conf.Directive) (name string, size int64, rate uint64, err error) {
	perSecond, scale := int64(1), uint64(1)
	for _, arg := range d.Args[1:] {
		if text, ok := strings.CutPrefix(arg, "zone="); ok {
			var bytes string
			if name, bytes, ok = strings.Cut(text, ":"); ok {
				size, err = conf.ParseSize(bytes)
			}
			switch {
			case !ok || err != nil:
				return "", 0, 0, conf.Errorf(d, "invalid zone size \"%s\"", arg)
			case size < minZone:
				return "", 0, 0, conf.Errorf(d, "zone \"%s\" is too small", arg)
			}
			continue
		}
		text, ok := strings.CutPrefix(arg, "rate=")
		if !ok {
			return "", 0, 0, conf.Errorf(d, "invalid parameter \"%s\"", arg)
		}
		if number, ok := strings.CutSuffix(text, "r/s"); ok {
			text, scale = number, 1
		} else if number, ok := strings.CutSuffix(text, "r/m"); ok {
			text, scale = number, 60
		}
		if perSecond, err = conf.ParseNumber(text); err != nil || perSecond == 0 {
			return "", 0, 0, conf.Errorf(d, "invalid rate \"%s\"", arg)
		}
	}
	if name == "" {
		return "", 0, 0, conf.Errorf(d, "\"%s\" must have \"zone\" parameter", d.Name)
	}
	// What does not fit 64 bits is no rate that anybody means, but must not become 0.
	return name, size, max(uint64(perSecond)*1000/scale, 1), nil
}

func checkStatus(d *conf.Directive) error {
	n, err := conf.ParseNumber(d.Arg(0))
	switch {
	case err != nil:
		return conf.Errorf(d, "\"%s\" directive invalid number", d.Name)
	case n < 400 || n > 599:
		return conf.Errorf(d, "value must be between 400 and 599")
	}
	return nil
}

func checkLimit(d *conf.Directive) error {
	_, _, err := readLimit(d)
	return err
}

// noDelay is a delay that no excess reaches.
const noDelay = (1<<63 - 1) / 1000

// readLimit reads a limit_req.
func readLimit(d *conf.Directive) (name string, l limit, err error) {
	named := false
	number := func(arg, what string) (uint64, error) {
		_, text, _ := strings.Cut(arg, "=")
		n, err := conf.ParseNumber(text)
		if err != nil || n == 0 {
			return 0, conf.Errorf(d, "invalid %s value \"%s\"", what, arg)
		}
		return uint64(n), nil
	}
	for _, arg := range d.Args {
		switch {
		case strings.HasPrefix(arg, "zone="):
			name, named = arg[len("zone="):], true
		case strings.HasPrefix(arg, "burst="):
			l.burst, err = number(arg, "burst")
		case strings.HasPrefix(arg, "delay="):
			l.delay, err = number(arg, "delay")
		case arg == "nodelay":
			l.delay = noDelay
		default:
			err = conf.Errorf(d, "invalid parameter \"%s\"", arg)
		}
		if err != nil {
			return "", l, err
		}
	}
	if !named {
		return "", l, conf.Errorf(d, "\"%s\" must have \"zone\" parameter", d.Name)
	}
	l.burst *= 1000
	l.delay *= 1000
	return name, l, nil
}

// Location takes the limits of the nearest block that has any.
func (in *instance) Location(s *conf.Scope) (httpd.Part, error) {
	ls := &limits{key: in.key}
	// A zone that no directive gives a size is found out when all is read, as in nginx.
	for _, d := range s.All("limit_req") {
		name, l, err := readLimit(d)
		if err != nil {
			return httpd.Part{}, err
		}
		if l.zone, err = in.zone(d, name, 0); err != nil {
			return httpd.Part{}, err
		}
		for _, other := range ls.list {
			if other.zone == l.zone {
				return httpd.Part{}, conf.Errorf(d, "\"%s\" directive is duplicate", d.Name)
			}
		}
		ls.list = append(ls.list, l)
	}
	if ls.list == nil {
		return httpd.Part{}, nil
	}
	if err := ls.read(s); err != nil {
		return httpd.Part{}, err
	}
	return httpd.Part{Preaccess: ls.serve}, nil
}

// read reads what says how limits are applied.
func (ls *limits) read(s *conf.Scope) (err error) {
	if ls.status, err = s.Int("limit_req_status", 503); err != nil {
		return err
	}
	if ls.dryRun, err = s.Flag("limit_req_dry_run", false); err != nil {
		return err
	}
	name, err := s.Enum("limit_req_log_level", "error", levelNames()...)
	for _, l := range levels {
		if l.name == name {
			ls.refuse, ls.wait = l.refuse, l.wait
		}
	}
	return err
}
