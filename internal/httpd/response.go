package httpd

import (
	"errors"
	"strconv"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
)

// A Field is one header field of a response.
type Field struct {
	Name  string
	Value []byte
}

// A Response is what the client gets. A handler sets Status and what it knows of
// the head, then calls one of Send's, or SendHead and Write.
type Response struct {
	Status int
	// Reason is the reason phrase; "" means nginx's for Status.
	Reason string
	// ContentType of the body; nil sends none.
	ContentType []byte
	// Type is what else is known of ContentType.
	Type TypeNotes
	// ContentLength of the body, or -1 when only its end will tell.
	ContentLength int64
	// LastModified as an HTTP date; nil sends none. Location and ETag likewise.
	LastModified, Location, ETag []byte
	// Server and Date replace ours (a proxied response has its own Date); empty
	// and not nil sends none.
	Server, Date []byte
	// Fields are further fields, in order.
	Fields []Field
	// Upgraded: the response is 101 and the connection becomes a tunnel.
	Upgraded bool
	// Conditional: If-Modified-Since and the like apply to the response when its
	// status is 200, and may make it 304 or 412.
	Conditional bool
	// Passed: the head is that of a server behind us, and says what it says also where
	// a status of our own would not.
	Passed bool
	// VaryEncoding adds "Vary: Accept-Encoding".
	VaryEncoding bool

	override int // status that error_page demands, 0 for none
	r        *Request
	head     bool  // the head was composed
	chunked  bool  // the body is framed in chunks
	bodiless bool  // HEAD, 204, 304: no body follows the head
	ended    bool  // the body's end was framed
	headLen  int64 // bytes of the head
	bodyLen  int64 // bytes of content, framing not counted
	wireLen  int64 // bytes of the body with its framing
	paced    int64 // bytes of the body that went out under a rate

	made time.Time // when the head was

	modified    int64 // when the content was modified, seconds since 1970
	hasModified bool
	ownFields   int   // how many of Fields were there before filters added theirs
	completed   bool  // Location was a path, and got the server's name
	keepFields  bool  // an error page has the fields that the response had
	ranges      uint8 // rangesOff and so on
	single      bool  // one range only
	rateSet     bool
	rate        int64 // bytes a second, 0 for no limit
	rateAfter   int64 // bytes that go out before the rate applies
	body        fileBody
	encoder     Encoder  // of the content, nil for none
	stamp       [96]byte // of LastModified and ETag
	tagAt       int      // how many of Fields go before ETag
}

func (o *Response) reset() {
	clear(o.Fields[:cap(o.Fields)])
	*o = Response{Fields: o.Fields[:0], ContentLength: -1, body: fileBody{parts: o.body.parts[:0]}}
}

// Set sets a field, in place of all of the same name.
func (o *Response) Set(name string, value []byte) {
	set := false
	for i := range o.Fields {
		if !equalFold([]byte(o.Fields[i].Name), name) {
			continue
		}
		o.Fields[i].Value = nil // is not sent
		if !set {
			o.Fields[i].Value, set = value, true
		}
	}
	if !set {
		o.Add(name, value)
	}
}

// Add adds a field. value must not change until the head is sent.
func (o *Response) Add(name string, value []byte) {
	o.Fields = append(o.Fields, Field{name, value})
}

// Get returns the first field of that name, in any case, or nil. It knows the
// fields in Fields only.
func (o *Response) Get(name string) []byte {
	for i := range o.Fields {
		if equalFold([]byte(o.Fields[i].Name), name) {
			return o.Fields[i].Value
		}
	}
	return nil
}

// Forced reports whether error_page gave the response a status of its own: it is
// sent whole then, without regard to conditions and ranges.
func (o *Response) Forced() bool { return o.override != 0 }

// HeadSent reports whether the head is on its way: an error can no longer be
// answered with a status.
func (o *Response) HeadSent() bool { return o.head }

// BodyBytes is how many bytes of content went out, framing not counted.
func (o *Response) BodyBytes() int64 { return o.bodyLen }

// BytesSent is everything of the response that was written to the client: heads,
// content, framing.
func (o *Response) BytesSent() int64 {
	sent := o.r.c.Sent - o.r.sentBefore
	if s := o.r.c.stream; s != nil {
		sent += s.end.Overhead()
	}
	return sent
}

// headBytes is how much of that is no body.
func (o *Response) headBytes() int64 {
	if s := o.r.c.stream; s != nil {
		return s.end.Overhead()
	}
	return o.headLen
}

// whole reports whether all of the response was written.
func (o *Response) whole() bool { return o.ended && o.r.c.broken == nil }

// Chunked reports whether the body is sent in chunks.
func (o *Response) Chunked() bool { return o.chunked }

// Send answers with a body in memory and returns [Done].
func (o *Response) Send(status int, contentType, body []byte) int {
	if o.head {
		_ = o.refuseSecond()
		return Done
	}
	o.Status, o.ContentType, o.ContentLength = status, contentType, int64(len(body))
	if o.SendHead() != nil {
		return Done
	}
	if o.rate == 0 {
		o.r.Answered(o.made)
	}
	if !o.bodiless {
		_, _ = o.Write(body)
	}
	return Done
}

// SendHead composes the head; it is written with the first of the body. It
// returns an error when the client is gone. It is for once: where a response has begun
// that is not complete the client would take a second head for content, or for the
// answer to its next request, so none is sent and the connection ends.
func (o *Response) SendHead() error {
	r := o.r
	if o.head {
		return o.refuseSecond()
	}
	if o.override != 0 {
		o.Status, o.Reason = o.override, ""
	}
	if o.Conditional && o.Status == 200 {
		switch o.condition() {
		case 304:
			o.notModified()
		case 412:
			return o.replace(412)
		}
	}
	if o.hasModified && o.Status != 200 && o.Status != 304 {
		o.LastModified = nil
	}
	o.ownFields = len(o.Fields)
	for _, filter := range r.loc.head {
		filter(r)
	}
	if o.ranges == rangesAllowed && o.applyRange() != 0 {
		// As in nginx, where the fields were sent on their way already.
		o.keepFields = true
		return o.replace(416)
	}
	o.startPace()
	if !r.finishing && o.Status != 101 {
		if err := r.body.expect(); err != nil {
			return err
		}
		if r.body.wire == 0 && r.body.bufferedBroken() {
			return o.replace(400)
		}
	}
	if r.c.answering {
		return o.refuseSecond()
	}
	o.head, r.c.answering = true, true
	o.frame()
	if r.headless {
		return nil // HTTP/0.9 has no heads
	}
	o.refuseLineBreaks()
	c := r.c
	if c.stream != nil {
		o.sendStreamHead(c.stream)
		return nil
	}
	need := 512 + len(o.ContentType) + len(o.Location) + len(o.ETag)
	for i := range o.Fields {
		need += len(o.Fields[i].Name) + len(o.Fields[i].Value) + 4
	}
	out, err := c.outRoom(need, r.core().sendTimeout)
	if err != nil {
		return err
	}
	n := len(out)
	c.out = o.appendHead(out)
	o.headLen = int64(len(c.out) - n)
	return nil
}

// refuseSecond gives the connection up where a response would begin before another one
// is complete.
func (o *Response) refuseSecond() error {
	o.r.Log(levelAlert, "response before the end of another one, which is not sent", nil)
	o.Abort()
	return errAborted
}

// frame decides how the body's end is told, and whether the connection stays.
func (o *Response) frame() {
	r := o.r
	o.bodiless = r.Head.IsHead() || o.Status == 204 || o.Status == 304 || o.Status < 200
	if o.Status == 204 || o.Status < 200 {
		o.ContentLength = -1
	}
	if o.Status == 204 && !o.Passed {
		o.ContentType, o.LastModified = nil, nil
	}
	if o.Upgraded {
		r.keepalive = false
		return
	}
	if o.ContentLength < 0 && !o.bodiless {
		if o.chunked = r.Head.IsHTTP11() && r.core().chunked && r.c.stream == nil; !o.chunked {
			r.keepalive = false
		}
	}
	if r.body.bufferedBroken() {
		r.Log(levelError, invalidChunks, nil)
		r.keepalive = false
	}
	if r.bodyUnread() && r.body.expecting() {
		r.keepalive = false // nobody can know what comes next
	}
	if !r.mayKeepAlive() || r.c.drains() {
		r.keepalive = false
	}
}

func (o *Response) appendHead(b []byte) []byte {
	r := o.r
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(o.Status), 10)
	b = append(b, ' ')
	if o.Reason != "" {
		b = append(b, o.Reason...)
	} else {
		b = append(b, statusText(o.Status)...)
	}
	b = append(b, "\r\n"...)
	b = o.appendOrigin(b)
	if o.chunked {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	b = append(b, "Connection: "...)
	b = append(b, o.connection()...)
	b = append(b, "\r\n"...)
	if r.keepalive && !o.Upgraded {
		b = append(b, r.core().keepaliveLine...)
	}
	return append(o.appendRest(b), "\r\n"...)
}

// appendOrigin appends the fields that stand before those about the connection.
func (o *Response) appendOrigin(b []byte) []byte {
	r := o.r
	if o.Server == nil {
		b = append(b, r.core().serverLine...)
	} else {
		b = appendField(b, "Server", o.Server)
	}
	if o.Date == nil {
		o.made = time.Now()
		b = append(b, r.c.srv.dateLine(o.made)...)
	} else {
		b = appendField(b, "Date", o.Date)
	}
	b = appendField(b, "Content-Type", o.ContentType)
	if o.ContentLength >= 0 {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, o.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	b = appendField(b, "Last-Modified", o.LastModified)
	if o.completed {
		b = appendField(b, "Location", o.Location)
	}
	return b
}

// appendRest appends those behind them.
func (o *Response) appendRest(b []byte) []byte {
	if o.VaryEncoding {
		b = append(b, "Vary: Accept-Encoding\r\n"...)
	}
	if !o.completed {
		b = appendField(b, "Location", o.Location)
	}
	for i := range o.Fields {
		if i == o.tagAt {
			b = appendField(b, "ETag", o.ETag)
		}
		if v := o.Fields[i].Value; v != nil {
			b = append(b, o.Fields[i].Name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	if o.tagAt >= len(o.Fields) {
		b = appendField(b, "ETag", o.ETag)
	}
	return b
}

func appendField(b []byte, name string, value []byte) []byte {
	if len(value) == 0 {
		return b
	}
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// Write sends some of the body. What is small waits for more until Flush or the
// end. It returns an error when the client is gone.
func (o *Response) Write(p []byte) (int, error) {
	if !o.head {
		if err := o.SendHead(); err != nil {
			return 0, err
		}
	}
	if o.bodiless || len(p) == 0 {
		return len(p), nil
	}
	var err error
	if o.encoder != nil {
		err = o.encode(p)
	} else {
		err = o.writeContent(p)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeContent sends some of the content as the client gets it. What goes beyond the
// length that the head told would be read as a further response.
func (o *Response) writeContent(p []byte) error {
	if o.ContentLength >= 0 && o.bodyLen+int64(len(p)) > o.ContentLength && !o.chunked {
		o.r.Log(levelAlert, "content beyond the length of its response, which is not sent", nil)
		o.Abort()
		return errAborted
	}
	if err := o.writeFramed(p); err != nil {
		return err
	}
	o.bodyLen += int64(len(p))
	return nil
}

func (o *Response) writeFramed(p []byte) error {
	if !o.chunked {
		o.wireLen += int64(len(p))
		return o.put(p)
	}
	var size [20]byte
	line := append(strconv.AppendInt(size[:0], int64(len(p)), 16), "\r\n"...)
	o.wireLen += int64(len(line) + len(p) + 2)
	if err := o.put(line); err != nil {
		return err
	}
	if err := o.put(p); err != nil {
		return err
	}
	return o.put([]byte("\r\n"))
}

// put sends p after what is pending, together with it where that is cheap.
func (o *Response) put(p []byte) error {
	c, timeout := o.r.c, o.r.core().sendTimeout
	if o.rate > 0 {
		return o.putPaced(p)
	}
	if c.out == nil || len(c.out)+len(p) > cap(c.out) {
		if len(p) > bufpool.Page || c.broken != nil {
			return c.send(p, timeout)
		}
		if _, err := c.outRoom(len(p), timeout); err != nil {
			return err
		}
	}
	c.out = append(c.out, p...)
	return nil
}

// Flush writes everything that waits to the client.
func (o *Response) Flush() error {
	if o.encoder != nil {
		if err := o.encoder.Flush(); err != nil {
			return err
		}
	}
	return o.flush()
}

func (o *Response) flush() error { return o.r.c.flush(o.r.core().sendTimeout) }

// end frames the end of the body. What is missing of a declared length can only
// be told by closing the connection.
func (o *Response) end() {
	if !o.head || o.ended {
		return
	}
	o.ended = true
	o.endEncoding(o.r.c.broken == nil)
	switch {
	case o.bodiless:
	case o.chunked:
		if o.r.c.broken == nil {
			o.wireLen += 5
			_ = o.put([]byte("0\r\n\r\n"))
		}
	case o.ContentLength >= 0 && o.bodyLen != o.ContentLength && !o.Upgraded:
		o.r.keepalive = false
		return
	}
	o.r.c.answering = !o.bodiless && !o.chunked && o.ContentLength < 0
	if s := o.r.c.stream; s != nil {
		s.end.End()
	}
}

// Abort gives the response up: the client sees the connection end, so that it
// cannot take a part for the whole.
func (o *Response) Abort() {
	o.ended = true
	o.r.keepalive = false
	o.endEncoding(false)
	_ = o.flush()
	if o.r.c.broken == nil {
		o.r.c.broken = errAborted
	}
}

var errAborted = errors.New("response was given up")
