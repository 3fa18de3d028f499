package accesslog

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// Module is ngx_http_log_module.
func Module() httpd.Module {
	return httpd.Module{
		Name: "ngx_http_log_module",
		Directives: []conf.Spec{
			{
				Name: "access_log", In: conf.HTTPServerLocation | conf.LocationIf | conf.LimitExcept,
				Min: 1, Max: conf.AnyArgs, Repeat: true,
				Note: "Without gzip=, syslog: and variables in the path. A format may be defined after its use.",
			},
			{Name: "log_format", In: conf.HTTP, Min: 2, Max: conf.AnyArgs, Repeat: true},
			{
				Name: "open_log_file_cache", In: conf.HTTPServerLocation, Min: 1, Max: 4,
				Effect: conf.NoEffect, Note: "It is about variables in the path of access_log, which are not supported.",
			},
		},
		New: newInstance,
	}
}

// An instance is all access logs of one configuration.
type instance struct {
	b       *httpd.Builder
	formats map[string]*format
	files   map[string]*file
	lines   sync.Pool // of *[]byte: the line that is being made
}

func newInstance(b *httpd.Builder) (httpd.Instance, error) {
	formats, err := readFormats(b)
	if err != nil {
		return nil, err
	}
	in := &instance{b: b, formats: formats, files: map[string]*file{}}
	in.lines.New = func() any { return new([]byte) }
	// The http block's own logs are checked also when every server has others.
	_, err = in.Location(b.HTTP)
	return in, err
}

// A target is one access_log directive.
type target struct {
	*format
	file *file
	path string
	when *httpd.Template // if=; nil: always
}

// Location reads the access logs of one location: its own ones, else those of the
// block around it, else the default log.
func (in *instance) Location(s *conf.Scope) (httpd.Part, error) {
	ds := s.All("access_log")
	var targets []target
	if len(ds) == 0 {
		path := in.b.Config.AccessLog
		targets = append(targets, target{format: in.formats["combined"], file: in.open(path), path: path})
	}
	off := false
	for _, d := range ds {
		if d.Arg(0) == "off" {
			if len(d.Args) > 1 {
				return httpd.Part{}, conf.Errorf(d, `invalid parameter "%s"`, d.Arg(1))
			}
			off = true
			continue
		}
		t, err := in.target(d)
		if err != nil {
			return httpd.Part{}, err
		}
		targets = append(targets, t)
	}
	if off {
		return httpd.Part{}, nil
	}
	return httpd.Part{Log: func(r *httpd.Request) { in.log(r, targets) }}, nil
}

func (in *instance) open(path string) *file {
	if in.files[path] == nil {
		in.files[path] = &file{out: in.b.Log(path)}
	}
	return in.files[path]
}

// target reads "access_log path [format [parameter …]]".
func (in *instance) target(d *conf.Directive) (target, error) {
	path := d.Arg(0)
	switch {
	case strings.HasPrefix(path, "syslog:"):
		return target{}, conf.Errorf(d, `"syslog:" in the "access_log" directive is not supported by baton`)
	case strings.Contains(path, "$"):
		return target{}, conf.Errorf(d, `variables in the path of the "access_log" directive are not supported by baton`)
	}
	name := "combined"
	if len(d.Args) > 1 {
		name = d.Arg(1)
	}
	t := target{format: in.formats[name], path: in.b.Config.Abs(path)}
	if t.format == nil {
		return t, conf.Errorf(d, `unknown log format "%s"`, name)
	}
	t.file = in.open(t.path)
	if len(d.Args) <= 2 {
		return t, nil
	}
	return t, in.parameters(d, &t)
}

// parameters reads what follows the format.
func (in *instance) parameters(d *conf.Directive, t *target) error {
	var size int64
	var flush time.Duration
	for _, arg := range d.Args[2:] {
		key, value, _ := strings.Cut(arg, "=")
		var err error
		switch {
		case key == "buffer" && len(arg) > len("buffer="):
			if size, err = conf.ParseSize(value); err != nil || size == 0 {
				return conf.Errorf(d, `invalid buffer size "%s"`, value)
			}
		case key == "flush" && len(arg) > len("flush="):
			if flush, err = conf.ParseTime(value); err != nil || flush == 0 {
				return conf.Errorf(d, `invalid flush time "%s"`, value)
			}
		case key == "if" && len(arg) > len("if="):
			when, err := in.b.Template(d, value)
			if err != nil {
				return err
			}
			t.when = &when
		case key == "gzip":
			return conf.Errorf(d, `"gzip" in the "access_log" directive is not supported by baton`)
		default:
			return conf.Errorf(d, `invalid parameter "%s"`, arg)
		}
	}
	if flush > 0 && size == 0 {
		return conf.Errorf(d, `no buffer is defined for access_log "%s"`, d.Arg(0))
	}
	if size == 0 {
		return nil
	}
	f := t.file
	if f.size > 0 && (f.size != int(size) || f.flush != flush) {
		return conf.Errorf(d, `access_log "%s" already defined with conflicting parameters`, d.Arg(0))
	}
	f.size, f.flush = int(size), flush
	return nil
}

// log writes r's lines.
func (in *instance) log(r *httpd.Request, targets []target) {
	line := in.lines.Get().(*[]byte)
	for i := range targets {
		t := &targets[i]
		buf := (*line)[:0]
		if t.when != nil {
			buf = t.when.Append(buf, r)
			if no := len(buf) == 0 || len(buf) == 1 && buf[0] == '0'; no {
				continue
			}
			buf = buf[:0]
		}
		buf = t.appendLine(buf, r)
		*line = buf
		if err := t.file.write(buf); err != nil {
			r.Log(levelAlert, `write() to "`+t.path+`" failed`, err)
		}
	}
	in.lines.Put(line)
}

// levelAlert is nginx's alert among slog's levels; package errorlog has them all.
const levelAlert = slog.Level(14)

// Flush writes what is buffered.
func (in *instance) Flush() {
	for _, f := range in.files {
		f.Flush()
	}
}
