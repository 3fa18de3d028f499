package netconn

import "github.com/baton-deploy/baton/internal/bufpool"

// Input holds what was read from a peer and not yet consumed: b[r:w]. The zero value is
// empty and holds no buffer. It belongs to the goroutine that reads.
type Input struct {
	b    []byte
	r, w int
}

// Data is what was read and not yet consumed. It is valid until the next fill.
func (in *Input) Data() []byte { return in.b[in.r:in.w] }

// Empty reports whether there is no Data.
func (in *Input) Empty() bool { return in.r == in.w }

// Consume drops n bytes from the front.
func (in *Input) Consume(n int) {
	in.r += n
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
}

// room makes sure that there is space to read into, with a buffer of at most limit
// bytes, and reports whether there is. first is the size of a first buffer.
func (in *Input) room(first, limit int) bool {
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

// Release gives the buffer back when nothing is in it.
func (in *Input) Release() {
	if in.b != nil && in.r == in.w {
		bufpool.Put(in.b)
		*in = Input{}
	}
}

// FillWith makes p, which is copied, the content of a buffer that has none.
func (in *Input) FillWith(p []byte) {
	if len(p) == 0 {
		return
	}
	in.Release()
	in.b = bufpool.Get(max(len(p), bufpool.Small))
	in.r, in.w = 0, copy(in.b, p)
}
