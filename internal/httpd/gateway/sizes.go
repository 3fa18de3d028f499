package gateway

import (
	"github.com/baton-deploy/baton/internal/bufpool"
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
func (k *Kind) spoolSizes(s *conf.Scope) (c httpd.SpoolConf, err error) {
	name := func(rest string) string { return k.Prefix + "_" + rest }
	count, size, err := buffers(s.One(name("buffers")))
	if err != nil {
		return c, err
	}
	first, err := s.Size(name("buffer_size"), bufpool.Page)
	if err != nil {
		return c, err
	}
	largest := max(first, size)
	busy, err := s.Size(name("busy_buffers_size"), 2*largest)
	if err != nil {
		return c, err
	}
	write, err := s.Size(name("temp_file_write_size"), 2*largest)
	if err != nil {
		return c, err
	}
	file, err := s.Size(name("max_temp_file_size"), defaultTempFile)
	if err != nil {
		return c, err
	}
	atLeast := "must be equal to or greater than the maximum of the value of \"" + name("buffer_size") + "\" and one of the \"" + name("buffers") + "\""
	fault := func(rest, text string) error { return conf.Errorf(k.blamed(s, rest), "%s", "\""+name(rest)+"\" "+text) }
	switch {
	case count < 2:
		return c, conf.Errorf(k.blamed(s, "buffers"), "there must be at least 2 \"%s\"", name("buffers"))
	case busy < largest:
		return c, fault("busy_buffers_size", atLeast)
	case busy > (count-1)*size:
		return c, fault("busy_buffers_size", "must be less than the size of all \""+name("buffers")+"\" minus one buffer")
	case write < largest:
		return c, fault("temp_file_write_size", atLeast)
	case file != 0 && file < largest:
		return c, fault("max_temp_file_size", "must be equal to zero to disable temporary files usage or "+atLeast)
	}
	return httpd.SpoolConf{Memory: count * size, File: file, Write: int(write)}, nil
}

// blamed is the directive of that name, or else one of those that it must fit.
func (k *Kind) blamed(s *conf.Scope, rest string) *conf.Directive {
	for _, n := range []string{rest, "buffers", "buffer_size"} {
		if d := s.One(k.Prefix + "_" + n); d != nil {
			return d
		}
	}
	return s.Self
}

// buffers reads *_buffers; nil is its absence.
func buffers(d *conf.Directive) (count, size int64, err error) {
	if d == nil {
		return defaultBuffers, bufpool.Page, nil
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

// CheckSizes checks that the sizes of s fit together: nginx does so also where
// nothing is passed on.
func (k *Kind) CheckSizes(s *conf.Scope) error {
	_, err := k.spoolSizes(s)
	return err
}

func checkBuffers(d *conf.Directive) error {
	_, _, err := buffers(d)
	return err
}
