package httpd

import (
	"io"
	"math/rand/v2"
	"strconv"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/netconn"
	"golang.org/x/sys/unix"
)

// A fileBody is what is still to be sent of a response's body that is in a file:
// all there is to know to go on with it.
type fileBody struct {
	fd        int
	off, left int64  // the stretch being sent
	copied    int64  // how much of it was copied behind the pending output
	lead      []byte // what is sent before it

	// Of an answer with some bytes before what is in the file:
	front []byte // those bytes
	shift int64  // where in the file the rest begins

	// Of an answer with several ranges:
	parts    []byteRange
	next     int    // the part that begins when left is 0; len(parts) is the end mark
	multi    bool   // there is an end mark to come
	size     int64  // of the whole content
	partType []byte // Content-Type of the content
	boundary [boundaryDigits]byte
}

// boundaryDigits is the length of nginx's boundary between parts.
const boundaryDigits = 20

// ServeFile answers with a file of size bytes, open as fd, and returns [Done]. It
// obeys the request's conditions and ranges; call [Response.SetValidators] first.
// fd stays the caller's, who must keep it open until ServeFile returned.
func (o *Response) ServeFile(status, fd int, size int64) int {
	return o.ServeRest(status, nil, fd, 0, size)
}

// ServeRest is [Response.ServeFile] for front, which must not change, and what follows
// in the file from offset from on.
func (o *Response) ServeRest(status int, front []byte, fd int, from, size int64) int {
	b := &o.body
	b.fd, b.front, b.shift = fd, front, from
	size += int64(len(front)) - from
	o.Status, o.ContentLength, o.ranges = status, size, rangesAllowed
	b.place(0, size)
	if o.SendHead() != nil {
		return Done
	}
	if size <= smallFile && o.encoder == nil && o.rate == 0 {
		o.r.Answered(o.made)
	}
	if !o.bodiless {
		_ = o.sendBody() // the connection is marked broken then
	}
	return Done
}

// SendFile sends n bytes of file fd, from off on, as the body or the next part of
// it. fd stays the caller's. The bytes go from the page cache to the socket
// unless they are few, the body is chunked or sendfile is off.
func (o *Response) SendFile(fd int, off, n int64) error {
	if !o.head {
		if err := o.SendHead(); err != nil {
			return err
		}
	}
	if o.bodiless {
		return nil
	}
	b := &o.body
	b.fd, b.off, b.left, b.multi = fd, off, n, false
	return o.sendBody()
}

// place makes the stretch to be sent that of the content from start up to end.
func (b *fileBody) place(start, end int64) {
	n := int64(len(b.front))
	if b.lead = nil; start < n {
		b.lead = b.front[start:min(end, n)]
		start, end = n, max(end, n)
	}
	b.off, b.left = start-n+b.shift, end-start
}

// split makes the body consist of parts of content of size bytes, and describes
// them in the head.
func (b *fileBody) split(o *Response, parts []byteRange, size int64) {
	b.parts, b.size = parts, size
	if len(parts) == 1 {
		b.place(parts[0].start, parts[0].end)
		o.ContentLength = parts[0].end - parts[0].start
		o.Add("Content-Range", b.appendRange([]byte("bytes "), parts[0]))
		return
	}
	b.multi, b.next, b.left, b.lead = true, 0, 0, nil
	b.partType = o.ContentType
	for i := range b.boundary {
		b.boundary[i] = '0' + byte(rand.IntN(10))
	}
	o.ContentType = append([]byte("multipart/byteranges; boundary="), b.boundary[:]...)
	o.ContentLength = int64(len(b.appendEnd(nil)))
	for _, p := range parts {
		o.ContentLength += int64(len(b.appendStart(nil, p))) + p.end - p.start
	}
}

// appendRange appends "first-last/size".
func (b *fileBody) appendRange(dst []byte, r byteRange) []byte {
	dst = append(strconv.AppendInt(dst, r.start, 10), '-')
	dst = append(strconv.AppendInt(dst, r.end-1, 10), '/')
	return strconv.AppendInt(dst, b.size, 10)
}

// appendStart appends what stands before one of several parts.
func (b *fileBody) appendStart(dst []byte, r byteRange) []byte {
	dst = append(append(dst, "\r\n--"...), b.boundary[:]...)
	if len(b.partType) > 0 {
		dst = append(append(dst, "\r\nContent-Type: "...), b.partType...)
	}
	dst = b.appendRange(append(dst, "\r\nContent-Range: bytes "...), r)
	return append(dst, "\r\n\r\n"...)
}

// appendEnd appends what stands behind the last part.
func (b *fileBody) appendEnd(dst []byte) []byte {
	dst = append(append(dst, "\r\n--"...), b.boundary[:]...)
	return append(dst, "--\r\n"...)
}

// sendBody sends what o.body says is left.
func (o *Response) sendBody() error {
	b := &o.body
	b.copied = 0
	for {
		if lead := b.lead; len(lead) > 0 {
			b.lead = nil
			if _, err := o.Write(lead); err != nil {
				return err
			}
		}
		if b.left > 0 {
			if err := o.sendStretch(); err != nil {
				return err
			}
			continue
		}
		if !b.multi {
			return nil
		}
		var between []byte
		if b.next < len(b.parts) {
			p := b.parts[b.next]
			between = b.appendStart(nil, p)
			b.place(p.start, p.end)
			b.next++
		} else {
			between = b.appendEnd(nil)
			b.multi = false
		}
		if _, err := o.Write(between); err != nil {
			return err
		}
	}
}

// smallFile is up to where a file is copied behind the head: one call that sends
// both costs less than sendfile's second one.
const smallFile = 16 << 10

// sendStretch sends some of the stretch.
func (o *Response) sendStretch() error {
	b := &o.body
	if o.fileMovable() && o.moveFile() {
		return errMoved
	}
	switch {
	case o.chunked, o.encoder != nil:
		return o.writeStretch()
	case o.sendsFiles() && (b.left > smallFile || o.rate > 0):
		return o.sendfileStretch()
	case o.rate > 0:
		return o.pacedStretch()
	}
	return o.copyStretch()
}

// sendsFiles reports whether a file goes from the page cache to the socket. Where a
// layer wants to see the bytes it is better sent together with what is before it.
func (o *Response) sendsFiles() bool { return o.r.core().sendfile && o.r.c.Layer == nil }

// maxSendfile bounds one call of sendfile, so that a fast client does not keep
// its thread for a whole large file.
const maxSendfile = 2 << 20

func (o *Response) sendfileStretch() error {
	c, timeout := o.r.c, o.r.core().sendTimeout
	c.More = true
	err := c.flush(timeout)
	c.More = false
	if err != nil {
		return err
	}
	c.openWindow()
	defer c.closeWindow()
	if o.fileMovable() {
		return nil // the next stretch begins elsewhere
	}
	return o.sendfileOnce()
}

// sendfileOnce is one call of sendfile, in a window.
func (o *Response) sendfileOnce() error {
	b, c, timeout := &o.body, o.r.c, o.r.core().sendTimeout
	n, err := o.allowance(min(b.left, maxSendfile))
	if err == netconn.ErrInterrupted {
		return nil
	}
	if err != nil {
		c.broken = err
		return err
	}
	sent, err := c.SendFile(b.fd, b.off, int(n), timeout)
	b.off, b.left = b.off+int64(sent), b.left-int64(sent)
	o.bodyLen += int64(sent)
	o.wireLen += int64(sent)
	o.paced += int64(sent)
	if err == netconn.ErrInterrupted {
		return nil
	}
	if err != nil {
		if err == io.ErrUnexpectedEOF {
			o.r.Log(levelAlert, "sendfile() reported that the file was truncated while it was sent", nil)
		}
		c.broken = err
	}
	return err
}

// pacedStretch is copyStretch for as much as the limit allows by now. It waits where
// it can be interrupted, for the limit and for the client.
func (o *Response) pacedStretch() error {
	b, c, timeout := &o.body, o.r.c, o.r.core().sendTimeout
	c.More = true
	err := c.flush(timeout)
	c.More = false
	if err != nil {
		return err
	}
	n, err := o.allowanceInWindow(min(b.left, bufpool.Large))
	if err != nil || n == 0 {
		return err
	}
	out, err := c.outRoom(int(n), timeout)
	if err != nil {
		return err
	}
	before := o.bodyLen
	k, err := o.readStretch(out[len(out):][:n])
	if err != nil {
		return err
	}
	c.out = out[:len(out)+k]
	o.bodyLen += int64(k)
	o.wireLen += int64(k)
	b.copied = int64(k)
	err = o.sendCopied(timeout)
	o.paced += o.bodyLen - before // without what was taken back
	return err
}

// allowanceInWindow is allowance where a retiring server may interrupt it: 0 then.
func (o *Response) allowanceInWindow(n int64) (int64, error) {
	c := o.r.c
	c.openWindow()
	defer c.closeWindow()
	if o.fileMovable() {
		return 0, nil // the next stretch begins elsewhere
	}
	n, err := o.allowance(n)
	if err == netconn.ErrInterrupted {
		return 0, nil
	}
	if err != nil {
		c.broken = err
	}
	return n, err
}

// copyStretch reads what fits behind the pending output.
func (o *Response) copyStretch() error {
	b, c, timeout := &o.body, o.r.c, o.r.core().sendTimeout
	if c.broken != nil {
		return c.broken
	}
	want := int(min(b.left, bufpool.Large))
	if b.copied > 0 && len(c.out) > 0 && len(c.out)+want > cap(c.out) {
		return o.sendCopied(timeout)
	}
	out, err := c.outRoom(want, timeout)
	if err != nil {
		return err
	}
	if len(out) == cap(out) {
		return o.sendCopied(timeout)
	}
	room := out[len(out):cap(out)]
	n, err := o.readStretch(room[:min(int64(len(room)), b.left)])
	if err != nil {
		return err
	}
	c.out = out[:len(out)+n]
	o.bodyLen += int64(n)
	o.wireLen += int64(n)
	b.copied += int64(n)
	if b.left == 0 && o.bodyLen > smallFile {
		return o.sendCopied(timeout) // here, where it can be interrupted
	}
	return nil
}

// writeStretch sends through Write, which frames and paces.
func (o *Response) writeStretch() error {
	buf := bufpool.Get(int(min(o.body.left, bufpool.Large)))
	defer bufpool.Put(buf)
	n, err := o.readStretch(buf[:min(int64(len(buf)), o.body.left)])
	if err != nil {
		return err
	}
	_, err = o.Write(buf[:n])
	return err
}

// readStretch reads from the file and moves on in it. A file that has become
// shorter ends the connection: the length was promised already.
func (o *Response) readStretch(p []byte) (int, error) {
	b := &o.body
	for {
		n, err := unix.Pread(b.fd, p, b.off)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || n == 0:
			if err == nil {
				err = io.ErrUnexpectedEOF
				o.r.Log(levelAlert, "the file was truncated while it was sent", nil)
			} else {
				o.r.Log(levelCrit, "pread() failed", err)
			}
			o.Abort()
			return 0, err
		}
		b.off, b.left = b.off+int64(n), b.left-int64(n)
		return n, nil
	}
}
