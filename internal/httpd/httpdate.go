package httpd

import "time"

const (
	dayNames   = "SunMonTueWedThuFriSat"
	monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// AppendDate appends a time in seconds since 1970 as HTTP has it:
// "Sun, 06 Nov 1994 08:49:37 GMT". As for nginx none is before 1970.
func AppendDate(dst []byte, unix int64) []byte {
	t := time.Unix(max(unix, 0), 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	weekday := int(t.Weekday())
	dst = append(dst, dayNames[3*weekday:3*weekday+3]...)
	dst = append(dst, ", "...)
	dst = append(appendTwo(dst, day), ' ')
	dst = append(dst, monthNames[3*int(month)-3:3*int(month)]...)
	dst = append(dst, ' ')
	dst = appendTwo(appendTwo(dst, year/100%100), year%100)
	dst = append(appendTwo(append(dst, ' '), hour), ':')
	dst = append(appendTwo(dst, minute), ':')
	return append(appendTwo(dst, second), " GMT"...)
}

func appendTwo(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

// ParseDate reads a time as HTTP writes it, in one of its three forms.
func ParseDate(b []byte) (unix int64, ok bool) { return parseHTTPDate(b) }

// parseHTTPDate reads the three forms of a date that HTTP has, as leniently as
// nginx: the name of the day and the zone are not looked at,
// and of the month only what tells it from others.
//
//	Sun, 06 Nov 1994 08:49:37 GMT    RFC 822
//	Sunday, 06-Nov-94 08:49:37 GMT   RFC 850
//	Sun Nov  6 08:49:37 1994         asctime()
func parseHTTPDate(b []byte) (unix int64, ok bool) {
	p := dateReader{b: b}
	for p.at < len(b) && b[p.at] != ',' && b[p.at] != ' ' {
		p.at++
	}
	comma := p.at < len(b) && b[p.at] == ','
	if comma {
		p.at++
	}
	for p.at < len(b) && b[p.at] == ' ' {
		p.at++
	}
	var day, month, year int
	asctime := !comma
	switch {
	case asctime:
		month = p.month()
		p.at++ // a blank, or whatever it is
		if p.at < len(b) && b[p.at] == ' ' {
			p.at++
			day = p.digits(1)
		} else {
			day = p.digits(2)
		}
	default:
		day = p.digits(2)
		dash := p.at < len(b) && b[p.at] == '-'
		p.separator(dash)
		month = p.month()
		p.separator(dash)
		if !dash {
			year = p.digits(4)
		} else if year = p.digits(2); year < 70 {
			year += 2000
		} else {
			year += 1900
		}
	}
	p.byte(' ')
	hour := p.digits(2)
	p.byte(':')
	minute := p.digits(2)
	p.byte(':')
	second := p.digits(2)
	if asctime {
		p.byte(' ')
		year = p.digits(4)
	}
	if p.bad || hour > 23 || minute > 59 || second > 59 || day < 1 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day { // there is no such day in that month
		return 0, false
	}
	return t.Unix(), true
}

// A dateReader reads a date from front to back; bad is set at the first byte that
// does not fit.
type dateReader struct {
	b   []byte
	at  int
	bad bool
}

func (p *dateReader) byte(c byte) {
	if p.at >= len(p.b) || p.b[p.at] != c {
		p.bad = true
		return
	}
	p.at++
}

func (p *dateReader) separator(dash bool) {
	if dash {
		p.byte('-')
	} else {
		p.byte(' ')
	}
}

func (p *dateReader) digits(n int) (v int) {
	for ; n > 0; n-- {
		if p.at >= len(p.b) || p.b[p.at] < '0' || p.b[p.at] > '9' {
			p.bad = true
			return 0
		}
		v = v*10 + int(p.b[p.at]-'0')
		p.at++
	}
	return v
}

// monthSigns are the letters that nginx tells the months apart by, each of those that the
// ones before it are not.
const monthSigns = "Ja.F..M.rAp.M..J.nJ..A..S..O..N..D.."

func (p *dateReader) month() int {
	if p.at+3 > len(p.b) {
		p.bad = true
		return 1
	}
	name := p.b[p.at : p.at+3]
	p.at += 3
	for m := 0; m < 12; m++ {
		if fits(name, monthSigns[3*m:3*m+3]) {
			return m + 1
		}
	}
	p.bad = true
	return 1
}

// fits reports whether name is signs but for the dots.
func fits(name []byte, signs string) bool {
	for i, c := range name {
		if signs[i] != '.' && signs[i] != c {
			return false
		}
	}
	return true
}
