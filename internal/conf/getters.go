package conf

import (
	"slices"
	"strings"
	"time"
)

// The getters look a directive up along the scopes, as [Scope.One] does, and read
// its first argument. They return def when there is none, and an error in nginx's
// words, of type *[Error], when the value is wrong.

// Flag returns the value of an on/off directive.
func (s *Scope) Flag(name string, def bool) (bool, error) { return get(s, name, def, flagValue) }

// Size returns a number of bytes (k, m).
func (s *Scope) Size(name string, def int64) (int64, error) {
	return get(s, name, def, func(d *Directive) (int64, error) { return slot(d, ParseSize) })
}

// Offset returns a number of bytes (k, m, g).
func (s *Scope) Offset(name string, def int64) (int64, error) {
	return get(s, name, def, func(d *Directive) (int64, error) { return slot(d, ParseOffset) })
}

// Time returns a time of a directive that nginx counts in milliseconds.
func (s *Scope) Time(name string, def time.Duration) (time.Duration, error) {
	return get(s, name, def, func(d *Directive) (time.Duration, error) { return slot(d, ParseTime) })
}

// Seconds returns a time of a directive that nginx counts in seconds.
func (s *Scope) Seconds(name string, def time.Duration) (time.Duration, error) {
	return get(s, name, def, func(d *Directive) (time.Duration, error) { return slot(d, ParseSeconds) })
}

// Int returns a number without sign.
func (s *Scope) Int(name string, def int) (int, error) {
	return get(s, name, def, func(d *Directive) (int, error) {
		n, err := slot(d, ParseNumber)
		return int(n), err
	})
}

// String returns the first argument as it is.
func (s *Scope) String(name, def string) string {
	if d := s.One(name); d != nil {
		return d.Arg(0)
	}
	return def
}

// Enum returns the one of values that the argument is, in any case of letters.
func (s *Scope) Enum(name, def string, values ...string) (string, error) {
	return get(s, name, def, func(d *Directive) (string, error) { return enum(d, values) })
}

func enum(d *Directive, values []string) (string, error) {
	i := slices.IndexFunc(values, func(v string) bool { return strings.EqualFold(v, d.Arg(0)) })
	if i < 0 {
		return "", Errorf(d, `invalid value "%s"`, d.Arg(0))
	}
	return values[i], nil
}

func get[V any](s *Scope, name string, def V, value func(*Directive) (V, error)) (V, error) {
	d := s.One(name)
	if d == nil {
		return def, nil
	}
	return value(d)
}

// slot reads the first argument of d; a wrong one is reported as nginx reports it
// for simple directives: with the directive's name and not with the value.
func slot[V any](d *Directive, parse func(string) (V, error)) (V, error) {
	v, err := parse(d.Arg(0))
	if err != nil {
		return v, Errorf(d, `"%s" directive %s`, d.Name, err.Error())
	}
	return v, nil
}

func flagValue(d *Directive) (bool, error) {
	switch arg := d.Arg(0); {
	case strings.EqualFold(arg, "on"):
		return true, nil
	case strings.EqualFold(arg, "off"):
		return false, nil
	default:
		return false, Errorf(d, `invalid value "%s" in "%s" directive, it must be "on" or "off"`, arg, d.Name)
	}
}
