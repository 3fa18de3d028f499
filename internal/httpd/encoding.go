package httpd

import "bytes"

// An Encoder changes the content of one response on its way to the client, into
// what a Content-Encoding names. Its output goes to [Response.WriteEncoded].
type Encoder interface {
	// Write takes some of the content; it keeps no part of p.
	Write(p []byte) error
	// Flush sends on everything that was taken so far.
	Flush() error
	// Close ends the content, unless cut says that it is given up, and lets go of the
	// encoder. Nothing is called after it.
	Close(cut bool) error
}

// Encode makes e encode the content as coding ("gzip"). It is for a [Part]'s Head:
// the length is not known any more, there are no ranges, and the ETag is weak.
func (o *Response) Encode(coding string, e Encoder) {
	o.encoder = e
	o.ContentLength, o.ranges = -1, rangesOff
	o.drop("Accept-Ranges")
	o.ETag = weakETag(o.ETag)
	for i := range o.Fields {
		if equalFold([]byte(o.Fields[i].Name), "ETag") {
			o.Fields[i].Value = weakETag(o.Fields[i].Value)
		}
	}
	o.Add("Content-Encoding", []byte(coding))
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

// WriteEncoded sends what an [Encoder] made.
func (o *Response) WriteEncoded(p []byte) error { return o.writeContent(p) }

// endEncoding ends the content for the encoder, if there is one.
func (o *Response) endEncoding(whole bool) {
	e := o.encoder
	if e == nil {
		return
	}
	err := e.Close(!whole || o.bodiless)
	o.encoder = nil
	if err != nil && whole {
		o.r.keepalive = false
	}
}
