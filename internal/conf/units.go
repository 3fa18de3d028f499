package conf

import (
	"errors"
	"math"
	"strings"
	"time"
)

// What the unit parsers refuse. Callers word their own message, as nginx does; the
// value itself is in it already.
var (
	errNumber = errors.New("invalid number")
	errValue  = errors.New("invalid value")
)

// ParseNumber reads a decimal number without sign, at most 2^63-1.
func ParseNumber(s string) (int64, error) {
	if s == "" {
		return 0, errNumber
	}
	var n int64
	for i := range len(s) {
		d := int64(s[i]) - '0'
		if d < 0 || d > 9 || n > (math.MaxInt64-d)/10 {
			return 0, errNumber
		}
		n = n*10 + d
	}
	return n, nil
}

// ParseSize reads a number of bytes with an optional k or m, in either case.
func ParseSize(s string) (int64, error) { return parseBytes(s, "km") }

// ParseOffset is [ParseSize] that knows g too.
func ParseOffset(s string) (int64, error) { return parseBytes(s, "kmg") }

func parseBytes(s, units string) (int64, error) {
	scale := int64(1)
	if s != "" {
		if i := strings.IndexByte(units, s[len(s)-1]|0x20); i >= 0 {
			scale = 1 << (10 * (i + 1))
			s = s[:len(s)-1]
		}
	}
	n, err := ParseNumber(s)
	if err != nil || n > math.MaxInt64/scale {
		return 0, errValue
	}
	return n * scale, nil
}

// A timeUnit is a unit of a time; they may follow each other in the order of
// timeUnits only, each once.
type timeUnit struct {
	name  string
	scale time.Duration
}

const day = 24 * time.Hour

var timeUnits = [...]timeUnit{
	{"y", 365 * day}, {"M", 30 * day}, {"w", 7 * day}, {"d", day},
	{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond},
}

// ParseTime reads a time as nginx does where it counts in milliseconds: "500ms",
// "30s", "1h30m", "1h 30m", "10" (seconds); w, d, h, m, s and ms are known. A time
// longer than time.Duration can hold (292 years) is that longest one.
func ParseTime(s string) (time.Duration, error) {
	return parseTime(s, 2, len(timeUnits), time.Millisecond)
}

// ParseSeconds reads a time as nginx does where it counts in seconds: y and M are
// known, ms is not.
func ParseSeconds(s string) (time.Duration, error) {
	return parseTime(s, 0, len(timeUnits)-1, time.Second)
}

// parseTime reads s with the units from first up to last, exclusively, and counts in
// base: like nginx it refuses what does not fit 63 bits then.
func parseTime(s string, first, last int, base time.Duration) (time.Duration, error) {
	seconds := len(timeUnits) - 2
	var total int64
	valid := false
	for s != "" {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		valid = valid || digits > 0
		// nginx lets a unit stand without a number, for 0 of it, as long as there is
		// a digit somewhere.
		var n int64
		if digits > 0 {
			var err error
			if n, err = ParseNumber(s[:digits]); err != nil {
				return 0, errValue
			}
		}
		s = s[digits:]
		unit, width := seconds, 0
		switch {
		case s == "":
		case s[0] == ' ': // a number before a space is in seconds, and the last one
			if unit < first {
				return 0, errValue
			}
			first = len(timeUnits)
		default:
			if unit, width = unitOf(s); unit < first || unit >= last {
				return 0, errValue
			}
			first = unit + 1
		}
		s = strings.TrimLeft(s[width:], " ")
		scale := int64(timeUnits[unit].scale / base)
		if n > (math.MaxInt64-total)/scale {
			return 0, errValue
		}
		total += n * scale
	}
	if !valid {
		return 0, errValue
	}
	return time.Duration(min(total, math.MaxInt64/int64(base))) * base, nil
}

// unitOf returns which unit s starts with, -1 for none, and how long its name is.
func unitOf(s string) (unit, width int) {
	if strings.HasPrefix(s, "ms") {
		return len(timeUnits) - 1, 2
	}
	for i, u := range timeUnits {
		if s[0] == u.name[0] {
			return i, 1
		}
	}
	return -1, 0
}
