package proxy

import (
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// What holds without the directives, as in nginx.
const (
	defaultBuffers  = 8
	defaultTempFile = 1 << 30
)

// spoolSizes reads how much of an answer may be kept, and checks that the sizes fit
// together as nginx wants it.
func spoolSizes(s *conf.Scope) (c httpd.SpoolConf, err error) {
	count, size, err := buffers(s.One("proxy_buffers"))
	if err != nil {
		return c, err
	}
	first, err := s.Size("proxy_buffer_size", httpd.BufferPage)
	if err != nil {
		return c, err
	}
	largest := max(first, size)
	busy, err := s.Size("proxy_busy_buffers_size", 2*largest)
	if err != nil {
		return c, err
	}
	write, err := s.Size("proxy_temp_file_write_size", 2*largest)
	if err != nil {
		return c, err
	}
	file, err := s.Size("proxy_max_temp_file_size", defaultTempFile)
	if err != nil {
		return c, err
	}
	const atLeast = "must be equal to or greater than the maximum of the value of \"proxy_buffer_size\" and one of the \"proxy_buffers\""
	fault := func(name, text string) error { return conf.Errorf(blamed(s, name), "%s", "\""+name+"\" "+text) }
	switch {
	case count < 2:
		return c, conf.Errorf(blamed(s, "proxy_buffers"), "there must be at least 2 \"proxy_buffers\"")
	case busy < largest:
		return c, fault("proxy_busy_buffers_size", atLeast)
	case busy > (count-1)*size:
		return c, fault("proxy_busy_buffers_size", "must be less than the size of all \"proxy_buffers\" minus one buffer")
	case write < largest:
		return c, fault("proxy_temp_file_write_size", atLeast)
	case file != 0 && file < largest:
		return c, fault("proxy_max_temp_file_size", "must be equal to zero to disable temporary files usage or "+atLeast)
	}
	return httpd.SpoolConf{Memory: count * size, File: file, Write: int(write)}, nil
}

// blamed is the directive of that name, or else one of those that it must fit.
func blamed(s *conf.Scope, name string) *conf.Directive {
	for _, n := range []string{name, "proxy_buffers", "proxy_buffer_size"} {
		if d := s.One(n); d != nil {
			return d
		}
	}
	return s.Self
}

// buffers reads proxy_buffers; nil is its absence.
func buffers(d *conf.Directive) (count, size int64, err error) {
	if d == nil {
		return defaultBuffers, httpd.BufferPage, nil
	}
	count, err = conf.ParseNumber(d.Arg(0))
	if err == nil {
		size, err = conf.ParseSize(d.Arg(1))
	}
	if err != nil || count == 0 || size == 0 || count > maxBuffers/size {
		return 0, 0, conf.Errorf(d, "\"%s\" directive invalid value", d.Name)
	}
	return count, size, nil
}

// maxBuffers bounds the memory for one answer: what is more is a slip of the pen.
const maxBuffers = 1 << 40

func checkBuffers(d *conf.Directive) error {
	_, _, err := buffers(d)
	return err
}
