package httpd

import "math"

// A chunkState is where in a chunked body the next byte belongs. The states and
// what moves between them are nginx's, so that a proxy in front and a server
// behind see the same end of the body as they would see with nginx between them.
// Their numbers are part of a ticket: they never change.
type chunkState uint8

const (
	chunkStart     chunkState = iota // first digit of a size
	chunkSize                        // further digits
	chunkExtension                   // after the size, up to the line's end
	chunkSizeEnd                     // LF after the CR of a size line
	chunkData                        // content
	chunkDataEnd                     // line end after content
	chunkDataLF                      // its LF
	chunkTrailer                     // start of a trailer line
	chunkField                       // rest of a trailer line
	chunkFieldLF                     // its LF
	chunkLastLF                      // LF of the empty line that ends the body
	chunkDone
)

// maxChunkOverhead bounds what a client may send in one size line, and in all
// trailer lines, that is not content.
const maxChunkOverhead = 32 << 10

// chunks decodes the framing of a chunked body. The zero value is at its start.
type chunks struct {
	state    chunkState
	size     int64 // of the chunk, then what is left of it
	overhead int   // bytes of framing since the last content
}

// frame reads framing from b up to the next content, or up to the body's end. It
// returns how many bytes it used, and false if they are not chunked framing.
func (c *chunks) frame(b []byte) (n int, ok bool) {
	for n < len(b) && c.state != chunkData && c.state != chunkDone {
		if c.overhead++; c.overhead > maxChunkOverhead {
			return n, false
		}
		if !c.step(b[n]) {
			return n, false
		}
		n++
	}
	return n, true
}

// took notes that n bytes of content were read.
func (c *chunks) took(n int64) {
	c.overhead = 0
	if c.size -= n; c.size == 0 {
		c.state = chunkDataEnd
	}
}

func (c *chunks) step(ch byte) bool {
	switch c.state {
	case chunkStart, chunkSize:
		return c.stepSize(ch)
	case chunkExtension:
		switch ch {
		case '\r':
			c.state = chunkSizeEnd
		case '\n':
			c.endSize()
		}
		return true
	case chunkSizeEnd:
		c.endSize()
		return ch == '\n'
	case chunkDataEnd:
		return c.lineEnd(ch, chunkDataLF, chunkStart)
	case chunkDataLF:
		c.state = chunkStart
		return ch == '\n'
	case chunkTrailer:
		if !c.lineEnd(ch, chunkLastLF, chunkDone) {
			c.state = chunkField
		}
		return true
	case chunkField:
		c.lineEnd(ch, chunkFieldLF, chunkTrailer)
		return true
	case chunkFieldLF:
		c.state = chunkTrailer
		return ch == '\n'
	case chunkLastLF:
		c.state = chunkDone
		return ch == '\n'
	}
	return false
}

// lineEnd moves on if ch is a CR or a LF, and reports whether it is.
func (c *chunks) lineEnd(ch byte, cr, lf chunkState) bool {
	switch ch {
	case '\r':
		c.state = cr
	case '\n':
		c.state = lf
	default:
		return false
	}
	return true
}

func (c *chunks) stepSize(ch byte) bool {
	if d := unhex(ch); d >= 0 {
		if c.state == chunkStart {
			c.state, c.size = chunkSize, 0
		}
		if c.size > math.MaxInt64/16 {
			return false
		}
		c.size = c.size<<4 | int64(d)
		return true
	}
	if c.state == chunkStart {
		return false
	}
	switch ch {
	case '\r':
		c.state = chunkSizeEnd
	case '\n':
		c.endSize()
	case ';', ' ', '\t':
		c.state = chunkExtension
	default:
		return false
	}
	return true
}

// endSize follows the line with the size.
func (c *chunks) endSize() {
	if c.state = chunkData; c.size == 0 {
		c.state = chunkTrailer
	}
}
