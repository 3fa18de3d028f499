package conf

import "time"

// Functions for [Spec.Check] of directives whose first argument is a simple value.

// CheckSize wants a number of bytes, with k or m.
func CheckSize(d *Directive) error { return check(d, ParseSize) }

// CheckOffset wants a number of bytes, with k, m or g.
func CheckOffset(d *Directive) error { return check(d, ParseOffset) }

// CheckTime wants a time that nginx counts in milliseconds.
func CheckTime(d *Directive) error { return check(d, ParseTime) }

// CheckSeconds wants a time that nginx counts in seconds.
func CheckSeconds(d *Directive) error { return check(d, ParseSeconds) }

// CheckNumber wants a number without sign.
func CheckNumber(d *Directive) error { return check(d, ParseNumber) }

// CheckBuffers wants a number of buffers and their size, neither of them 0.
func CheckBuffers(d *Directive) error {
	n, err := ParseNumber(d.Arg(0))
	size, sizeErr := ParseSize(d.Arg(1))
	if err != nil || sizeErr != nil || n == 0 || size == 0 {
		return Errorf(d, `"%s" directive invalid value`, d.Name)
	}
	return nil
}

// CheckEnum returns a check that wants one of values, in any case of letters.
func CheckEnum(values ...string) func(d *Directive) error {
	return func(d *Directive) error {
		_, err := enum(d, values)
		return err
	}
}

// CheckTempPath wants a folder and up to three numbers of digits.
func CheckTempPath(d *Directive) error {
	for _, level := range d.Args[min(1, len(d.Args)):] {
		if n, err := ParseNumber(level); err != nil || n == 0 {
			return Errorf(d, `"%s" directive %s`, d.Name, errValue)
		}
	}
	return nil
}

// CheckListen wants what [ParseListen] reads.
func CheckListen(d *Directive) error {
	_, err := ParseListen(d)
	return err
}

func check[V int64 | time.Duration](d *Directive, parse func(string) (V, error)) error {
	_, err := slot(d, parse)
	return err
}
