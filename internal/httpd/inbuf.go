package httpd

import "github.com/baton-deploy/baton/internal/bufpool"

// inbuf holds what was read from a client and not yet consumed: b[r:w].
type inbuf struct {
	b    []byte
	r, w int
}

func (in *inbuf) data() []byte { return in.b[in.r:in.w] }
func (in *inbuf) empty() bool  { return in.r == in.w }

// consume drops n bytes from the front.
func (in *inbuf) consume(n int) {
	in.r += n
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
}

// room makes sure that there is space to read into, with a buffer of at most limit
// bytes, and reports whether there is. first is the size of a first buffer.
func (in *inbuf) room(first, limit int) bool {
	switch {
	case in.b == nil:
		in.b = bufpool.Get(first)
		return true
	case in.w < len(in.b):
		return true
	case in.r > 0:
		in.w = copy(in.b, in.b[in.r:in.w])
		in.r = 0
		return true
	case len(in.b) >= limit:
		return false
	}
	grown := bufpool.Get(min(limit, max(2*len(in.b), bufpool.Page)))
	in.w = copy(grown, in.b[in.r:in.w])
	in.r = 0
	bufpool.Put(in.b)
	in.b = grown
	return true
}

// release gives the buffer back when nothing is in it.
func (in *inbuf) release() {
	if in.b != nil && in.r == in.w {
		bufpool.Put(in.b)
		*in = inbuf{}
	}
}

// fillWith makes p the content of a buffer that has none.
func (in *inbuf) fillWith(p []byte) {
	if len(p) == 0 {
		return
	}
	in.release()
	in.b = bufpool.Get(max(len(p), bufpool.Small))
	in.r, in.w = 0, copy(in.b, p)
}
