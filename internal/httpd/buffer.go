package httpd

import "sync"

// Buffers of a few fixed sizes, so that a connection holds one only while it
// reads or writes, and none while it waits for its next request.
const (
	bufferSmall = 1 << 10
	bufferPage  = 4 << 10
	bufferLarge = 32 << 10
	// bufferStall holds what a client has no room for of a large buffer and of what
	// was pending before it.
	bufferStall = 64 << 10
)

var (
	poolSmall = sync.Pool{New: func() any { return new([bufferSmall]byte) }}
	poolPage  = sync.Pool{New: func() any { return new([bufferPage]byte) }}
	poolLarge = sync.Pool{New: func() any { return new([bufferLarge]byte) }}
	poolStall = sync.Pool{New: func() any { return new([bufferStall]byte) }}
)

// getBuffer returns a buffer of at least n bytes, len == cap.
func getBuffer(n int) []byte {
	switch {
	case n <= bufferSmall:
		return poolSmall.Get().(*[bufferSmall]byte)[:]
	case n <= bufferPage:
		return poolPage.Get().(*[bufferPage]byte)[:]
	case n <= bufferLarge:
		return poolLarge.Get().(*[bufferLarge]byte)[:]
	case n <= bufferStall:
		return poolStall.Get().(*[bufferStall]byte)[:]
	}
	return make([]byte, n)
}

// putBuffer takes back what getBuffer returned; the caller must not use it again.
func putBuffer(b []byte) {
	switch b = b[:cap(b)]; len(b) {
	case bufferSmall:
		poolSmall.Put((*[bufferSmall]byte)(b))
	case bufferPage:
		poolPage.Put((*[bufferPage]byte)(b))
	case bufferLarge:
		poolLarge.Put((*[bufferLarge]byte)(b))
	case bufferStall:
		poolStall.Put((*[bufferStall]byte)(b))
	}
}

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
		in.b = getBuffer(first)
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
	grown := getBuffer(min(limit, max(2*len(in.b), bufferPage)))
	in.w = copy(grown, in.b[in.r:in.w])
	in.r = 0
	putBuffer(in.b)
	in.b = grown
	return true
}

// release gives the buffer back when nothing is in it.
func (in *inbuf) release() {
	if in.b != nil && in.r == in.w {
		putBuffer(in.b)
		*in = inbuf{}
	}
}

// fillWith makes p the content of a buffer that has none.
func (in *inbuf) fillWith(p []byte) {
	if len(p) == 0 {
		return
	}
	in.release()
	in.b = getBuffer(max(len(p), bufferSmall))
	in.r, in.w = 0, copy(in.b, p)
}
