package h2

import (
	"fmt"
	"io"

	"golang.org/x/net/http2"
)

// data takes some of a body, piece by piece as they come, not frame by frame: a client
// may take long for a frame, and who serves the stream waits for content for as long as
// client_body_timeout allows.
func (c *Conn) data(fh http2.FrameHeader) error {
	left, padding := int(fh.Length), 0
	if fh.Flags.Has(http2.FlagDataPadded) {
		var err error
		if padding, err = c.padding(fh); err != nil {
			return err
		}
		left -= 1 + padding
	}
	if err := c.beginData(fh); err != nil {
		return err
	}
	for {
		n, err := c.piece(left)
		if left -= n; err == nil && left == 0 && padding > 0 {
			var dropped [255]byte
			_, err = io.ReadFull(reader{c}, dropped[:padding])
		}
		if err != nil {
			return err
		}
		c.take(fh.StreamID, c.payload[:n], left == 0 && fh.Flags.Has(http2.FlagDataEndStream))
		if left == 0 {
			return nil
		}
	}
}

// padding reads how much of it is at the end of a frame.
func (c *Conn) padding(fh http2.FrameHeader) (int, error) {
	if fh.Length == 0 {
		return 0, c.fatal(http2.ErrCodeFrameSize, "client sent padded DATA frame with incorrect length: 0")
	}
	var b [1]byte
	if _, err := io.ReadFull(reader{c}, b[:]); err != nil {
		return 0, err
	}
	if uint32(b[0]) >= fh.Length {
		return 0, c.fatal(http2.ErrCodeProtocol, fmt.Sprintf("client sent padded DATA frame with incorrect length: %d, padding: %d", fh.Length-1, b[0]))
	}
	return int(b[0]), nil
}

// piece reads up to n bytes of a frame's payload, at least one if there are to be any.
func (c *Conn) piece(n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	if c.payload == nil {
		c.payload = make([]byte, readFrameSize)
	}
	return reader{c}.Read(c.payload[:min(n, len(c.payload))])
}

// beginData looks whether a DATA frame may come, all of it.
func (c *Conn) beginData(fh http2.FrameHeader) error {
	id, size := fh.StreamID, int64(fh.Length)
	if c.window < size {
		return c.fatal(http2.ErrCodeFlowControl, "client violated connection flow control")
	}
	c.window -= size
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.window < maxWindow/4 {
		c.appendWindowUpdate(0, maxWindow-c.window)
		c.window = maxWindow
	}
	if id > c.lastID || id%2 == 0 {
		return c.fatal(http2.ErrCodeProtocol, fmt.Sprintf("client sent DATA frame for idle stream %d", id))
	}
	st := c.streams[id]
	switch {
	case st == nil && !c.wasReset(id): // one that the client had ended
		c.host.Log(fmt.Sprintf("client sent DATA frame for closed stream %d", id))
		c.appendReset(id, http2.ErrCodeStreamClosed)
		c.noteReset(id)
	case st == nil:
	case st.inClosed:
		c.host.Log(fmt.Sprintf("client sent DATA frame for half-closed stream %d", id))
		c.kill(st, http2.ErrCodeStreamClosed)
	case st.recvWindow < size:
		c.host.Log(fmt.Sprintf("client violated flow control for stream %d", id))
		c.kill(st, http2.ErrCodeFlowControl)
	default:
		st.recvWindow -= size
	}
	return c.queued()
}

// take gives a piece of a body to its stream, unless that is gone meanwhile.
func (c *Conn) take(id uint32, p []byte, end bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[id]
	if st == nil {
		return
	}
	st.take(p, end)
}
