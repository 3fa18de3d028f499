package httpd

import (
	"time"

	"github.com/baton-deploy/baton/internal/netconn"
)

// fileMovable reports whether what is being sent can go on in another process, on a
// connection that is to move: one stretch of a file as it is, which is all that the
// client still expects, and nothing of the request is left that a successor would
// take for the next one.
func (o *Response) fileMovable() bool {
	return o.r.c.movable() && o.body.left > 0 && o.plainFile()
}

// plainFile is fileMovable but for the moment.
func (o *Response) plainFile() bool {
	return !o.chunked && o.encoder == nil && !o.body.multi && o.ContentLength == o.bodyLen+o.body.left && !o.r.bodyUnread()
}

// sendCopied sends what copyStretch has copied. A retiring server interrupts that,
// whose client may be slow: what it has not got is taken back then, for the next
// stretch, which begins elsewhere.
func (o *Response) sendCopied(timeout time.Duration) error {
	c := o.r.c
	if !o.plainFile() {
		return c.flush(timeout)
	}
	c.openWindow()
	defer c.closeWindow()
	err := netconn.ErrInterrupted
	if !c.movable() {
		err = c.push(len(c.out), timeout)
	}
	if err == netconn.ErrInterrupted {
		o.takeBack()
		return nil
	}
	return err
}

// takeBack makes pending output that was copied from the file be part of the file
// again.
func (o *Response) takeBack() {
	b, c := &o.body, o.r.c
	n := min(int64(len(c.out)), b.copied)
	c.out = c.out[:int64(len(c.out))-n]
	b.off, b.left, b.copied = b.off-n, b.left+n, b.copied-n
	o.bodyLen -= n
	o.wireLen -= n
}

// moveFile moves the connection in the middle of a file and reports whether it is
// gone.
func (o *Response) moveFile() bool {
	r, b := o.r, &o.body
	o.takeBack()
	if o.Flush() != nil {
		return false
	}
	t := r.ticket(ticketFile)
	t.offset, t.left = uint64(b.off), uint64(b.left)
	return r.c.giveAway(t, b.fd)
}

// ticket describes the request and what was answered so far.
func (r *Request) ticket(kind byte) *ticket {
	o := &r.Out
	t := &ticket{
		kind: kind, head: r.clean, started: time.Since(r.start), readBytes: uint64(r.headSize + r.body.wire),
		status: uint64(o.Status), headBytes: uint64(o.headLen), wire: uint64(o.wireLen), body: uint64(o.bodyLen),
		keep: r.keepalive, fields: o.allFields(), rate: uint64(o.rate),
	}
	t.sets = r.variablesToCarry()
	if r.uriChanged {
		t.uri, t.args = r.URI, r.Args
	}
	if r.loc.kind == matchNamed {
		t.named = r.loc.Name
	}
	t.chosenBy, t.block = r.chosenBy, uint64(r.loc.block)
	for name, m := range r.c.srv.site.movers {
		if state := m.Carry(r); state != nil {
			t.modules = append(t.modules, Field{name, state})
		}
	}
	return t
}

// allFields are the fields of the response's head as the log may ask for them.
func (o *Response) allFields() []Field {
	var fs []Field
	for _, f := range []Field{
		{"Content-Type", o.ContentType}, {"Last-Modified", o.LastModified}, {"Location", o.Location}, {"ETag", o.ETag},
	} {
		if len(f.Value) > 0 {
			fs = append(fs, f)
		}
	}
	return append(fs, o.Fields...)
}

// takesResponse says why a connection in the middle of a response cannot be taken.
func (s *Server) takesResponse(t *ticket) error {
	switch {
	case len(t.head) == 0 || t.status < 100 || t.status > 999:
		return ErrTicket
	case t.kind == ticketFile && t.left == 0:
		return ErrTicket
	case t.kind == ticketStream, t.kind == ticketSpool:
		_, err := t.stream(nil)
		return err
	}
	return nil
}

// restore makes r the request of a moved connection, as far as it was served. What
// this server's configuration would not let in, or has no place for, is finished
// all the same: the client has a part of its answer.
func (r *Request) restore(t *ticket) {
	r.begin()
	r.start = time.Now().Add(-t.started)
	r.takeHead(t.head) // the answer to a head that is refused here is under way all the same
	r.body.r, r.body.asked = r, true
	r.body.length, r.body.left = 0, 0
	r.body.wire = max(int64(t.readBytes)-r.headSize, 0)
	r.keepalive = t.keep
	if t.uri != nil {
		r.uriChanged, r.internal = true, true
		r.URI, r.Args = append(r.URI[:0], t.uri...), append(r.Args[:0], t.args...)
	}
	o := &r.Out
	r.locateMoved(t)
	for _, v := range t.sets {
		r.restoreVariable(v)
	}
	o.Status, o.head, r.c.answering = int(t.status), true, true
	o.headLen, o.wireLen, o.bodyLen = int64(t.headBytes), int64(t.wire), int64(t.body)
	owed := int64(len(t.owed))
	o.paced = o.bodyLen - owed
	r.sentBefore = r.c.Sent - o.headLen - o.wireLen + owed
	o.ContentLength = o.bodyLen + int64(t.left+t.spooled)
	for _, f := range t.fields {
		o.setField(f)
	}
	if t.rate > 0 {
		o.SetRate(int64(t.rate))
	}
	for _, m := range t.modules {
		if mv := r.c.srv.site.movers[m.Name]; mv != nil {
			mv.Restore(r, m.Value)
		}
	}
}

// setField puts a field of a moved response back where it came from.
func (o *Response) setField(f Field) {
	switch f.Name {
	case "Content-Type":
		o.ContentType = f.Value
	case "Last-Modified":
		o.LastModified = f.Value
	case "Location":
		o.Location = f.Value
	case "ETag":
		o.ETag = f.Value
	default:
		o.Add(f.Name, f.Value)
	}
}

// serveMoved goes on with the response of a moved connection, and then serves the
// connection as any other. fds are what came with it besides the client's socket.
func (c *conn) serveMoved(t *ticket, fds []int) {
	keep, timeout := c.oneMoved(t, fds)
	if !keep {
		c.close()
		return
	}
	c.setState(stateWaiting)
	c.serve(timeout)
}

// oneMoved serves the request of a moved connection and reports whether another may
// follow, within timeout.
func (c *conn) oneMoved(t *ticket, fds []int) (keep bool, timeout time.Duration) {
	whole, ours := false, fds
	defer func() {
		closeFDs(ours)
		if !whole { // a panic: guard tells it
			c.close()
		}
	}()
	r := c.srv.getRequest(c)
	c.setState(stateWriting)
	r.restore(t)
	var err error
	switch t.kind {
	case ticketTunnel:
		ours = nil
		err = r.goOnTunnel(t, fds[0]) // which owns it
	case ticketStream, ticketSpool:
		ours = nil
		err = r.goOnStream(t, fds) // likewise
	default:
		err = r.goOn(t, fds)
	}
	if err != nil && c.broken == nil {
		c.srv.log.Error("cannot go on with a moved connection", "conn", c.number, "err", err)
		c.broken = err
	}
	keep = c.finished(r)
	timeout = r.keepaliveTimeout()
	c.srv.putRequest(r)
	whole = true
	return keep, timeout
}

// goOn sends the rest of a moved response.
func (r *Request) goOn(t *ticket, fds []int) error {
	b := &r.Out.body
	b.fd, b.off, b.left = fds[0], int64(t.offset), int64(t.left)
	r.Out.startPace()
	return r.Out.sendBody()
}
