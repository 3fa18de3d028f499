package httpd

import (
	"bytes"
	"math"
	"strconv"
)

// How far a response allows ranges.
const (
	rangesOff = iota
	rangesAllowed
	rangesApplied // the answer is 206
)

// A byteRange is the bytes from start up to end, exclusively.
type byteRange struct{ start, end int64 }

// A rangeVerdict is what a Range field comes to.
type rangeVerdict uint8

const (
	rangeIgnored       rangeVerdict = iota // the whole is sent
	rangeUnsatisfiable                     // 416
	rangeServed                            // 206
)

// parseRanges reads the value of a Range field behind "bytes=" for content of
// size bytes, at most limit ranges (negative: any number), and appends them to
// dst. It decides as nginx does, also about nonsense.
func parseRanges(dst []byteRange, spec []byte, size int64, limit int) ([]byteRange, rangeVerdict) {
	p := rangeReader{b: spec}
	var total int64
	for {
		var r byteRange
		p.blanks()
		if p.peek() == '-' {
			p.at++
			n, ok := p.number()
			if !ok {
				return dst, rangeUnsatisfiable
			}
			r = byteRange{max(size-n, 0), size}
		} else {
			var ok bool
			if r, ok = p.fromTo(size); !ok {
				return dst, rangeUnsatisfiable
			}
		}
		p.blanks()
		if c := p.peek(); c != ',' && c != 0 {
			return dst, rangeUnsatisfiable
		}
		switch {
		case r.start < r.end:
			if total > math.MaxInt64-(r.end-r.start) {
				return dst, rangeUnsatisfiable
			}
			if total += r.end - r.start; limit == 0 {
				return dst, rangeIgnored
			}
			limit--
			dst = append(dst, r)
		case r.start == 0:
			return dst, rangeIgnored
		}
		if p.peek() != ',' {
			break
		}
		p.at++
	}
	switch {
	case len(dst) == 0:
		return dst, rangeUnsatisfiable
	case total > size: // they overlap so much that the whole is less
		return dst, rangeIgnored
	}
	return dst, rangeServed
}

// A rangeReader reads a Range field; behind its end there are NULs.
type rangeReader struct {
	b  []byte
	at int
}

func (p *rangeReader) peek() byte {
	if p.at < len(p.b) {
		return p.b[p.at]
	}
	return 0
}

func (p *rangeReader) blanks() {
	for p.peek() == ' ' {
		p.at++
	}
}

// number reads digits, at least one, that fit in an int64.
func (p *rangeReader) number() (n int64, ok bool) {
	for ; p.peek() >= '0' && p.peek() <= '9'; p.at++ {
		d := int64(p.peek() - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n, ok = n*10+d, true
	}
	return n, ok
}

// fromTo reads "first-last" or "first-".
func (p *rangeReader) fromTo(size int64) (r byteRange, ok bool) {
	if r.start, ok = p.number(); !ok {
		return r, false
	}
	p.blanks()
	if p.peek() != '-' {
		return r, false
	}
	p.at++
	p.blanks()
	if c := p.peek(); c == ',' || c == 0 {
		r.end = size
		return r, true
	}
	if r.end, ok = p.number(); !ok {
		return r, false
	}
	if r.end >= size {
		r.end = size
	} else {
		r.end++
	}
	return r, true
}

// AllowRange lets a content that comes from elsewhere be cut to one range that the request
// asks for. SendHead then decides; [Response.Section] tells what it came to.
func (o *Response) AllowRange() { o.ranges, o.single = rangesAllowed, true }

// Section is what of the content the head has promised; nil for all of it.
func (o *Response) Section() *Section {
	if !o.single || o.ranges != rangesApplied {
		return nil
	}
	r := o.body.parts[0]
	return &Section{Skip: r.start, Length: r.end - r.start}
}

// applyRange turns a 200 into a 206 if the request wants parts. It returns 0 or
// 416.
func (o *Response) applyRange() int {
	r := o.r
	limit := r.core().maxRanges
	if o.single {
		limit = min(1, max(limit, -limit)) // 0 stays
	}
	if limit == 0 || o.Status != 200 || o.ContentLength < 0 {
		o.ranges = rangesOff
		return 0
	}
	if spec, ok := o.wantedRange(); ok {
		size := o.ContentLength
		parts, verdict := parseRanges(o.body.parts[:0], spec, size, limit)
		switch verdict {
		case rangeUnsatisfiable:
			o.Add("Content-Range", strconv.AppendInt([]byte("bytes */"), size, 10))
			return 416
		case rangeServed:
			o.Status, o.Reason, o.ranges = 206, "", rangesApplied
			o.body.split(o, parts, size)
			if o.single {
				o.body.left = 0 // it does not lie in a file
			}
			return 0
		}
	}
	o.Add("Accept-Ranges", bytesUnit)
	return 0
}

var bytesUnit = []byte("bytes")

// wantedRange returns what follows "bytes=" of a Range field that counts: the
// content must still be that of If-Range.
func (o *Response) wantedRange() ([]byte, bool) {
	if o.r.has&hasRange == 0 {
		return nil, false
	}
	h := &o.r.Head
	v := h.Peek("Range")
	if len(v) < 7 || !equalFold(v[:6], "bytes=") {
		return nil, false
	}
	if cond := h.Peek("If-Range"); cond != nil {
		if n := len(cond); n >= 2 && cond[n-1] == '"' {
			if !bytes.Equal(cond, o.tag()) {
				return nil, false
			}
		} else if t, ok := parseHTTPDate(cond); !ok || t != o.lastChange() {
			return nil, false
		}
	}
	return v[6:], true
}

// tag is the ETag, also that of a server behind us.
func (o *Response) tag() []byte {
	if o.single {
		return o.Get("ETag")
	}
	return o.ETag
}

// lastChange is when the content was modified, in seconds since 1970; -1 when that is not
// known.
func (o *Response) lastChange() int64 {
	if o.hasModified {
		return o.modified
	}
	if o.single {
		if t, ok := parseHTTPDate(o.Get("Last-Modified")); ok {
			return t
		}
	}
	return -1
}
