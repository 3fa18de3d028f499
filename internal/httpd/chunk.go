package httpd

import "math"

// A chunkState is where in a chunked body the next byte belongs. The states and
// what moves between them are nginx's, so that a proxy in front and a server
// behind see the same end of the body as they would see with nginx between them.
// Their numbers are part of a ticket: they never change. Lines end with CR LF: who takes
// less, with another program in front or behind, sees the end of the body elsewhere.
type chunkState uint8

const (
	chunkStart     chunkState = iota // first digit of a size
	chunkSize                        // further digits
	chunkExtension                   // after the size, up to the line's end
	chunkSizeEnd                     // LF after the CR of a size line
	chunkData                        // content
	chunkDataEnd                     // CR after content
	chunkDataLF                      // its LF
	chunkTrailer                     // start of a trailer line
	chunkField                       // rest of a trailer line
	chunkFieldLF                     // its LF
	chunkLastLF                      // LF of the empty line that ends the body
	chunkDone
)

// maxChunk is the largest size of a chunk: what follows it must count, too.
const maxChunk = math.MaxInt64 - 9

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
		if ch == '\r' {
			c.state = chunkSizeEnd
		}
		return ch != '\n'
	case chunkSizeEnd:
		c.endSize()
		return ch == '\n'
	case chunkDataEnd:
		c.state = chunkDataLF
		return ch == '\r'
	case chunkDataLF:
		c.state = chunkStart
		return ch == '\n'
	case chunkTrailer:
		if c.state = chunkField; ch == '\r' {
			c.state = chunkLastLF
		}
		return ch != '\n'
	case chunkField:
		if ch == '\r' {
			c.state = chunkFieldLF
		}
		return ch != '\n'
	case chunkFieldLF:
		c.state = chunkTrailer
		return ch == '\n'
	case chunkLastLF:
		c.state = chunkDone
		return ch == '\n'
	}
	return false
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
		return c.size <= maxChunk
	}
	if c.state == chunkStart {
		return false
	}
	switch ch {
	case '\r':
		c.state = chunkSizeEnd
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
