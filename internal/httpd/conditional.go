package httpd

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/baton-deploy/baton/internal/conf"
)

// ErrReplaced is returned by SendHead: the response was answered by another one, an error
// page.
var ErrReplaced = errors.New("response was replaced")

// SetValidators tells when the content was last modified, in seconds since 1970,
// and makes Last-Modified of it; with etag on for the location also the ETag that
// nginx makes of time and size. It makes the response conditional: a request that
// has If-Modified-Since and the like is answered with 304 or 412 where they say so.
func (o *Response) SetValidators(modified, size int64) {
	o.Conditional, o.hasModified, o.modified = true, true, modified
	stamp := AppendDate(o.stamp[:0], modified)
	o.LastModified = stamp
	if !o.r.core().etag {
		return
	}
	n := len(stamp)
	stamp = append(stamp, '"')
	stamp = strconv.AppendInt(stamp, modified, 16)
	stamp = append(stamp, '-')
	stamp = strconv.AppendInt(stamp, size, 16)
	stamp = append(stamp, '"')
	o.ETag, o.tagAt = stamp[n:], len(o.Fields)
}

// How if_modified_since compares.
const (
	modifiedExact = iota
	modifiedBefore
	modifiedOff
)

// condition applies the request's If- fields. It returns 0, 304 or 412.
func (o *Response) condition() int {
	if o.r.has&hasCondition == 0 {
		return 0
	}
	h := &o.r.Head
	if v := h.Peek("If-Unmodified-Since"); v != nil {
		if t, ok := parseHTTPDate(v); !ok || !o.hasModified || t < o.modified {
			return 412
		}
	}
	if v := h.Peek("If-Match"); v != nil && !matchesETag(v, o.ETag, false) {
		return 412
	}
	since, none := h.Peek("If-Modified-Since"), h.Peek("If-None-Match")
	switch {
	case since == nil && none == nil,
		since != nil && o.modifiedSince(since),
		none != nil && !matchesETag(none, o.ETag, true):
		return 0
	}
	return 304
}

// modifiedSince reports whether the content changed since the client got it.
func (o *Response) modifiedSince(since []byte) bool {
	rule := o.r.core().ifModifiedSince
	if !o.hasModified || rule == modifiedOff {
		return true
	}
	if bytes.Equal(since, o.LastModified) {
		return false
	}
	t, ok := parseHTTPDate(since)
	return !ok || rule == modifiedExact && t != o.modified || t < o.modified
}

// matchesETag reports whether etag is in list, the value of If-Match or
// If-None-Match; weak ignores that either is marked as weak.
func matchesETag(list, etag []byte, weak bool) bool {
	if len(list) == 1 && list[0] == '*' {
		return true
	}
	if len(etag) == 0 {
		return false
	}
	if weak {
		etag = bytes.TrimPrefix(etag, weakMark)
	}
	for len(list) > 0 {
		if weak {
			list = bytes.TrimPrefix(list, weakMark)
		}
		if rest, ok := bytes.CutPrefix(list, etag); ok {
			if rest = bytes.TrimLeft(rest, " \t"); len(rest) == 0 || rest[0] == ',' {
				return true
			}
		}
		i := bytes.IndexByte(list, ',')
		if i < 0 {
			return false
		}
		list = bytes.TrimLeft(list[i:], ", \t")
	}
	return false
}

var weakMark = []byte("W/")

// notModified makes the response a 304 without content.
func (o *Response) notModified() {
	o.Status, o.Reason = 304, ""
	o.ContentType, o.ContentLength = nil, -1
	o.ranges = rangesOff
	o.drop("Content-Encoding")
}

// drop removes all fields of that name.
func (o *Response) drop(name string) {
	for i := range o.Fields {
		if equalFold([]byte(o.Fields[i].Name), name) {
			o.Fields[i].Value = nil
		}
	}
}

// replace answers with the page for status instead of what was about to be sent.
func (o *Response) replace(status int) error {
	o.Conditional, o.ranges = false, rangesOff
	o.LastModified, o.ETag = nil, nil
	o.drop("Last-Modified")
	o.drop("ETag")
	o.r.finish(status)
	return ErrReplaced
}

// setConditions reads if_modified_since.
func (b *Builder) setConditions(s *conf.Scope, c *coreConf) error {
	v, err := s.Enum("if_modified_since", "exact", "off", "exact", "before")
	switch v {
	case "off":
		c.ifModifiedSince = modifiedOff
	case "before":
		c.ifModifiedSince = modifiedBefore
	}
	return err
}

// SetLastModified replaces the field and the time that If-Range compares with; an
// empty value, or one that is no date, leaves no time.
func (o *Response) SetLastModified(value []byte) {
	o.LastModified = nil
	if len(value) > 0 {
		o.Add("Last-Modified", value)
	}
	o.modified, o.hasModified = parseHTTPDate(value)
}

// Modified is when the content was modified, in seconds since 1970, if that is known.
func (o *Response) Modified() (unix int64, ok bool) { return o.modified, o.hasModified }
