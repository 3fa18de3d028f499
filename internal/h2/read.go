package h2

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// settings obeys the client's SETTINGS. Of a setting that is given several times the last
// value counts: what follows from it is done once for a frame.
func (c *Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		c.acked = true
		return nil
	}
	if c.often(time.Now()) {
		return c.fatal(http2.ErrCodeEnhanceYourCalm, "client sent too many SETTINGS frames")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	window := c.initial
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			window = int64(s.Val)
		case http2.SettingMaxFrameSize:
			c.frameSize = int(s.Val)
		case http2.SettingHeaderTableSize:
			c.resizeTable = true
		}
		return nil
	})
	if err == nil {
		err = c.setInitialWindow(window)
	}
	if err != nil {
		return err
	}
	c.out = appendFrame(c.buffer(), 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	return c.queued()
}

// often counts SETTINGS and reports whether more come in a second than any client needs:
// each makes us write, and may change the windows of all streams.
func (c *Conn) often(now time.Time) bool {
	const most = 100
	if now.Sub(c.settingsFrom) > time.Second {
		c.settingsFrom, c.settingsSeen = now, 0
	}
	c.settingsSeen++
	return c.settingsSeen > most
}

// setInitialWindow changes the windows of all streams. c.mu is held.
func (c *Conn) setInitialWindow(n int64) error {
	more := n - c.initial
	c.initial = n
	if more == 0 {
		return nil
	}
	c.charge(len(c.streams))
	for _, st := range c.streams {
		shut := st.sendWindow <= 0
		if st.sendWindow += more; st.sendWindow > maxWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		if shut && st.sendWindow > 0 {
			st.output.tell()
		}
	}
	return nil
}

// charge counts what a frame makes us do for n streams as if it were so much longer, so
// that many small frames that each wake all streams are a flood like any other.
func (c *Conn) charge(n int) { c.total += int64(n) * streamCost }

// queued looks whether a client makes us write much that it does not read. c.mu is
// held.
func (c *Conn) queued() error {
	const most = outLimit + 256<<10
	if len(c.out) <= most {
		return nil
	}
	return c.fatal(http2.ErrCodeEnhanceYourCalm, "http2 flood detected")
}

// headers begins a head.
func (c *Conn) headers(f *http2.HeadersFrame) error {
	id := f.StreamID
	c.block = block{id: id, open: true, end: f.StreamEnded()}
	c.head.reset()
	switch {
	case id%2 == 0 || id <= c.lastID:
		if !c.continues(id) {
			return c.fatal(http2.ErrCodeProtocol, fmt.Sprintf("client sent HEADERS frame with incorrect identifier %d, the last was %d", id, c.lastID))
		}
		c.head.line = c.block.trailer // which has none
	default:
		c.mu.Lock()
		c.lastID = max(c.lastID, id)
		c.mu.Unlock()
		if f.HasPriority() && f.Priority.StreamDep == id {
			return c.fatal(http2.ErrCodeProtocol, fmt.Sprintf("client sent HEADERS frame for stream %d with incorrect dependency", id))
		}
	}
	return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

// continues reports whether a head on a stream that was there before is the trailer of
// its body.
func (c *Conn) continues(id uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wasReset(id) && c.block.end {
		c.block.drop = true
		return true
	}
	st := c.streams[id]
	c.block.trailer = st != nil && !st.inClosed && c.block.end
	return c.block.trailer
}

// fragment takes some of a head.
func (c *Conn) fragment(p []byte, last bool) error {
	b := &c.block
	b.size += len(p)
	if b.pieces++; b.pieces > maxPieces {
		return c.fatal(http2.ErrCodeEnhanceYourCalm, "client sent too many CONTINUATION frames")
	}
	if _, err := c.decoder.Write(p); err != nil {
		return c.badBlock(err)
	}
	if c.head.nameless {
		return c.fatal(http2.ErrCodeProtocol, c.head.fault)
	}
	if c.head.size > c.conf.HeadSize || b.size > c.conf.HeadSize {
		return c.fatal(http2.ErrCodeEnhanceYourCalm, "client sent too large header")
	}
	if !last {
		return nil
	}
	if err := c.decoder.Close(); err != nil {
		return c.fatal(http2.ErrCodeFrameSize, "client sent header block with incorrect length")
	}
	b.open = false
	switch {
	case b.drop:
		return nil
	case b.trailer:
		return c.closeBody(b.id)
	}
	c.head.finish()
	return c.open()
}

// closeBody ends a body with its trailer, of which nothing is kept, as in nginx.
func (c *Conn) closeBody(id uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[id]
	switch {
	case st == nil:
		return nil
	case !c.head.trailer():
		c.host.Log(fmt.Sprintf("client sent invalid trailer for stream %d", id))
		c.kill(st, http2.ErrCodeProtocol)
	default:
		st.take(nil, true)
	}
	return c.queued()
}

// open begins the stream whose head was read.
func (c *Conn) open() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.lastWord && c.block.id > c.wordID:
		return c.refuse("client sent stream after the last one that is served")
	case len(c.streams) >= c.conf.MaxStreams:
		return c.refuse(fmt.Sprintf("concurrent streams exceeded %d", len(c.streams)))
	case c.live-c.ending-len(c.streams) >= c.conf.MaxStreams:
		return c.refuse(fmt.Sprintf("client canceled streams while %d are served", c.live-c.ending))
	case !c.acked && !c.block.end && c.conf.Preread < initialWindow:
		return c.refuse("client sent stream with data before settings were acknowledged")
	}
	st := newStream(c, &c.block, &c.head)
	c.streams[st.id] = st
	c.opened++
	if c.live++; c.live == 1 {
		c.host.Busy(true)
	}
	c.priorities += c.conf.MaxStreams
	c.wearOut()
	st.number = c.opened
	c.running.Add(1)
	c.conf.Crew.serve(st)
	return c.queued() // answers may be short, and many
}

// run serves a stream.
func (c *Conn) run(st *Stream) {
	defer c.finish(st)
	c.host.Serve(st)
}

// refuse refuses the stream whose head was read. c.mu is held.
func (c *Conn) refuse(why string) error {
	c.host.Log(why)
	if c.refused++; c.refused > max(c.conf.MaxStreams, 100) {
		return c.fatal(http2.ErrCodeEnhanceYourCalm, "client sent too many streams that were refused")
	}
	c.appendReset(c.block.id, http2.ErrCodeRefusedStream)
	if !c.block.end {
		c.noteReset(c.block.id)
	}
	return c.queued()
}

// badBlock is what follows a head that cannot be decoded: no later one can be.
func (c *Conn) badBlock(err error) error {
	if errors.Is(err, hpack.ErrStringLength) {
		return c.fatal(http2.ErrCodeEnhanceYourCalm, "client sent too large header field")
	}
	return c.fatal(http2.ErrCodeCompression, "client sent invalid header block: "+err.Error())
}

// noteReset remembers that the client may go on sending on a stream for a while. c.mu
// is held.
func (c *Conn) noteReset(id uint32) {
	c.resetIDs[c.resets%len(c.resetIDs)] = id
	c.resets++
}

// wasReset reports whether the stream is one of the last that were reset from here: what
// comes on it was sent before the client knew. c.mu is held.
func (c *Conn) wasReset(id uint32) bool {
	for _, gone := range c.resetIDs {
		if gone == id && id != 0 {
			return true
		}
	}
	return false
}

func (c *Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	id, more := f.StreamID, int64(f.Increment)
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 {
		if c.sendWindow += more; c.sendWindow > maxWindow {
			return c.fatal(http2.ErrCodeFlowControl, "client violated connection flow control: received WINDOW_UPDATE frame with length increment "+fmt.Sprint(more))
		}
		c.charge(len(c.waiting))
		c.wakeWaiting()
		return nil
	}
	if id > c.lastID || id%2 == 0 {
		return c.fatal(http2.ErrCodeProtocol, fmt.Sprintf("client sent WINDOW_UPDATE frame for idle stream %d", id))
	}
	st := c.streams[id]
	if st == nil {
		return nil
	}
	if st.sendWindow += more; st.sendWindow > maxWindow {
		c.host.Log(fmt.Sprintf("client violated flow control for stream %d", id))
		c.kill(st, http2.ErrCodeFlowControl)
		return c.queued()
	}
	st.output.tell()
	return nil
}

// resetByClient ends a stream that the client does not want any more.
func (c *Conn) resetByClient(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID > c.lastID || f.StreamID%2 == 0 {
		return c.fatal(http2.ErrCodeProtocol, fmt.Sprintf("client sent RST_STREAM frame for idle stream %d", f.StreamID))
	}
	if st := c.streams[f.StreamID]; st != nil {
		st.canceled = true
		c.drop(st)
	}
	return nil
}

func (c *Conn) ping(f *http2.PingFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		if f.Data == retirePing {
			c.heed()
		}
		return nil
	}
	c.out = appendFrame(c.buffer(), len(f.Data), http2.FramePing, http2.FlagPingAck, 0)
	c.out = append(c.out, f.Data[:]...)
	return c.queued()
}

// reset ends a stream by a reset, if there is such a stream.
func (c *Conn) reset(id uint32, code http2.ErrCode) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[id]
	if st != nil {
		c.kill(st, code)
	}
	return st != nil
}

// kill ends a stream by a reset. c.mu is held.
func (c *Conn) kill(st *Stream, code http2.ErrCode) {
	c.appendReset(st.id, code)
	c.noteReset(st.id)
	c.drop(st)
}

// drop takes a stream off the books; who serves it will notice. c.mu is held.
func (c *Conn) drop(st *Stream) {
	st.gone = true
	delete(c.streams, st.id)
	st.tell()
}

// finish ends a stream that was served.
func (c *Conn) finish(st *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case st.over:
		c.ending--
	case !st.gone:
		switch {
		case !st.outClosed:
			c.appendReset(st.id, st.code)
			c.noteReset(st.id)
		case !st.inClosed:
			c.appendReset(st.id, st.verdict())
			c.noteReset(st.id)
		}
		delete(c.streams, st.id)
	}
	c.unwait(st)
	if c.live--; c.live == 0 {
		c.idleSince = time.Now()
		c.host.Busy(false)
		c.await()
	}
	c.flush(true)
	c.closeIfDone()
	st.recycle()
}
