package httpd

import (
	"bytes"

	"github.com/baton-deploy/baton/internal/bufpool"
)

// An Encoder changes the content of one response on its way to the client, into
// what a Content-Encoding names or back. Its output goes to [Response.WriteEncoded].
type Encoder interface {
	// Write takes some of the content; it keeps no part of p. After an error the
	// response is given up.
	Write(p []byte) error
	// Flush sends on everything that was taken so far.
	Flush() error
	// Close ends the content, unless cut says that it is given up, and lets go of the
	// encoder. Nothing is called after it. After an error the response is given up.
	Close(cut bool) error
}

// Coding returns the Content-Encoding that the content has, or nil. As for nginx one
// that add_header adds does not count. It is for a [Part]'s Head.
func (o *Response) Coding() []byte {
	for _, f := range o.Fields[:o.ownFields] {
		if equalFold([]byte(f.Name), "Content-Encoding") && len(f.Value) > 0 {
			return f.Value
		}
	}
	return nil
}

// Encode makes e encode the content as coding ("gzip"). It is for a [Part]'s Head:
// the length is not known any more, there are no ranges, and the ETag is weak.
func (o *Response) Encode(coding string, e Encoder) {
	o.change(e)
	o.Add("Content-Encoding", []byte(coding))
}

// Decode makes e undo the Content-Encoding that the content has. Else it is
// [Response.Encode].
func (o *Response) Decode(e Encoder) {
	o.change(e)
	for i := range o.Fields[:o.ownFields] {
		if equalFold([]byte(o.Fields[i].Name), "Content-Encoding") {
			o.Fields[i].Value = nil
		}
	}
}

// change makes e change the content, so that what the head says of it is no more true.
func (o *Response) change(e Encoder) {
	o.encoder = e
	o.ContentLength, o.ranges = -1, rangesOff
	o.drop("Accept-Ranges")
	o.ETag = weakETag(o.ETag)
	for i := range o.Fields {
		if equalFold([]byte(o.Fields[i].Name), "ETag") {
			o.Fields[i].Value = weakETag(o.Fields[i].Value)
		}
	}
}

// weakETag marks a tag as weak; one that is not quoted cannot be and is dropped.
func weakETag(etag []byte) []byte {
	switch {
	case len(etag) == 0, bytes.HasPrefix(etag, weakMark):
		return etag
	case etag[0] != '"':
		return nil
	}
	return append([]byte("W/"), etag...)
}

// WriteEncoded sends what an [Encoder] made. What makes much of little must not fill
// memory with what a client has no room for: that is waited for.
func (o *Response) WriteEncoded(p []byte) error {
	for c := o.r.c; c.stalled && len(c.out) >= bufpool.Large; {
		if err := o.push(); err != nil {
			return err
		}
	}
	return o.writeContent(p)
}

// encode gives p to the encoder.
func (o *Response) encode(p []byte) error {
	err := o.encoder.Write(p)
	if err != nil {
		o.encodingFailed()
	}
	return err
}

// encodingFailed gives the response up. As in nginx what was not sent is lost: when
// that is all of it the client can see that nothing came.
func (o *Response) encodingFailed() {
	if c := o.r.c; c.broken == nil {
		c.out = c.out[:0]
		c.stalled = false
		o.Abort()
	}
}

// endEncoding ends the content for the encoder, if there is one.
func (o *Response) endEncoding(whole bool) {
	e := o.encoder
	if e == nil {
		return
	}
	err := e.Close(!whole || o.bodiless)
	o.encoder = nil
	if err != nil && whole {
		o.encodingFailed()
	}
}

// TypeNotes is what is known of a response's type beside its text.
type TypeNotes struct {
	// Foreign: ContentType is not only a type of ours: another server's, who put a charset
	// into it, or a filter did. See [Response.TypeAlone].
	Foreign bool
	// Charset is the one that a server behind us wants the content to be said to be in,
	// also when it lets another location answer; empty when it wants none.
	Charset []byte
}

// TypeAlone is the content's type without its parameters when somebody put the charset
// among them. As in nginx other parameters are part of the type.
func (o *Response) TypeAlone() []byte {
	if !o.Type.Foreign {
		return o.ContentType
	}
	alone, _ := SplitType(o.ContentType)
	return alone
}

// SplitType splits a type before its charset, of which it returns the name without quotes.
// There may be a charset whose name is empty: what is alone is shorter than t then.
func SplitType(t []byte) (alone, charset []byte) {
	for i, ch := range t {
		if ch != ';' {
			continue
		}
		const name = "charset="
		if p := bytes.TrimLeft(t[i+1:], " "); len(p) >= len(name) && equalFold(p[:len(name)], name) {
			p = bytes.TrimPrefix(p[len(name):], []byte(`"`))
			return t[:i], bytes.TrimSuffix(p, []byte(`"`))
		}
	}
	return t, nil
}
