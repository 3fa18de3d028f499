package httpd

// Chunks takes the chunked coding of a message apart that is read elsewhere: an
// upstream server's answer. The zero Chunks is at the beginning of a body.
type Chunks struct{ c chunks }

// Next takes the next piece of content from b: p is the content, which may be
// empty, and used how many bytes of b are done with, p's included. ok is false
// when b is not chunked coding. When nothing of b is used, or all of it, more must
// be read before the next call; nothing behind the body's end is used.
func (c *Chunks) Next(b []byte) (p []byte, used int, ok bool) {
	used, ok = c.c.frame(b)
	if !ok || c.c.state != chunkData {
		return nil, used, ok
	}
	n := min(int64(len(b)-used), c.c.size)
	p = b[used : used+int(n)]
	if n > 0 {
		c.c.took(n)
	}
	return p, used + int(n), true
}

// Done reports whether the body has come to its end, trailer included.
func (c *Chunks) Done() bool { return c.c.state == chunkDone }
