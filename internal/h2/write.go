package h2

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/net/http2"
)

const (
	// outLimit is how much may be pending before streams have to wait.
	outLimit = 64 << 10
	// headLimit is the same for heads: where others send all the time, one that is alone
	// would else wait for long.
	headLimit = outLimit + 24<<10
	// outSmall is a first buffer; one larger than outKept is not kept.
	outSmall = 16 << 10
	outKept  = outLimit + 32<<10
)

// outputs keeps buffers of pending output.
var outputs = sync.Pool{New: func() any {
	b := make([]byte, 0, outSmall)
	return &b
}}

func appendFrame(b []byte, size int, kind http2.FrameType, flags http2.Flags, id uint32) []byte {
	b = append(b, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(b, id)
}

// What appends is called with c.mu held.

func (c *Conn) appendSettings() {
	c.out = appendFrame(c.buffer(), 12, http2.FrameSettings, 0, 0)
	for _, s := range [...]struct {
		id http2.SettingID
		n  int
	}{{http2.SettingMaxConcurrentStreams, c.conf.MaxStreams}, {http2.SettingInitialWindowSize, c.conf.Preread}} {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(s.id))
		c.out = binary.BigEndian.AppendUint32(c.out, uint32(s.n))
	}
	c.appendWindowUpdate(0, maxWindow-initialWindow)
}

// buffer is the pending output.
func (c *Conn) buffer() []byte {
	if c.out == nil {
		c.out = *outputs.Get().(*[]byte)
	}
	return c.out
}

func (c *Conn) appendWindowUpdate(id uint32, more int64) {
	c.out = appendFrame(c.buffer(), 4, http2.FrameWindowUpdate, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(more))
}

func (c *Conn) appendReset(id uint32, code http2.ErrCode) {
	c.out = appendFrame(c.buffer(), 4, http2.FrameRSTStream, 0, id)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

func (c *Conn) appendGoAway(last uint32, code http2.ErrCode) {
	c.out = appendFrame(c.buffer(), 8, http2.FrameGoAway, 0, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, last)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

// appendHead appends the head of st's answer, in as many frames as it takes, and returns
// their size.
func (c *Conn) appendHead(st *Stream, end bool) int {
	begin := len(c.buffer())
	c.out = appendFrame(c.out, 0, http2.FrameHeaders, 0, st.id)
	at := begin
	if c.resizeTable {
		c.out = append(c.out, noTable)
		c.resizeTable = false
	}
	c.out = appendFields(appendStatus(c.out, st.status), st.answer)
	flags := http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		size := len(c.out) - at - frameHeader
		if size <= c.frameSize {
			c.out[at], c.out[at+1], c.out[at+2] = byte(size>>16), byte(size>>8), byte(size)
			c.out[at+4] = byte(flags | http2.FlagHeadersEndHeaders)
			break
		}
		size = c.frameSize
		c.out[at], c.out[at+1], c.out[at+2], c.out[at+4] = byte(size>>16), byte(size>>8), byte(size), byte(flags)
		next := at + frameHeader + size
		var header [frameHeader]byte
		appendFrame(header[:0], 0, http2.FrameContinuation, 0, st.id)
		c.out = append(c.out, header[:]...)
		copy(c.out[next+frameHeader:], c.out[next:])
		copy(c.out[next:], header[:])
		at, flags = next, 0
	}
	c.sentUseful += int64(len(c.out) - begin)
	return len(c.out) - begin
}

// flush writes what is pending, as far as that goes without waiting; a goroutine waits
// with the rest. c.mu is held, but not while the socket is written to. With gather it
// lets other streams that are ready add to it first: one write of many answers costs
// little more than one of one.
func (c *Conn) flush(gather bool) {
	if c.writing || len(c.out) == 0 || c.fault != nil || c.closing {
		return
	}
	c.writing = true
	if gather && c.live > 1 {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	for len(c.out) > 0 && !c.unwritable { // also when lost: the last word may have come meanwhile
		p := c.swap()
		c.mu.Unlock()
		n, err := c.sock.WriteNow(p)
		c.mu.Lock()
		if err == nil && n < len(p) {
			c.running.Go(func() { c.push(p, n) })
			return
		}
		c.wrote(p, err)
	}
	c.wroteAll()
}

// push writes the rest of p, from n on, and what comes behind it.
func (c *Conn) push(p []byte, n int) {
	for {
		err := c.sock.Write(p[n:], c.conf.SendTimeout)
		c.mu.Lock()
		c.wrote(p, err)
		if len(c.out) == 0 || c.unwritable {
			c.wroteAll()
			c.mu.Unlock()
			return
		}
		p, n = c.swap(), 0
		c.mu.Unlock()
	}
}

// swap returns what is pending and begins anew.
func (c *Conn) swap() []byte {
	p := c.out
	c.out, c.spare = c.spare, nil
	return p
}

// wrote follows a write of p.
func (c *Conn) wrote(p []byte, err error) {
	c.unwritable = c.unwritable || err != nil
	if err != nil && c.fault == nil {
		c.lose(fmt.Errorf("write to the client: %w", err))
		c.sock.Interrupt()
	}
	if c.spare == nil {
		c.spare = p[:0]
	}
	c.wakeWaiting()
}

// wroteAll ends what flush began, and lets go of the buffers.
func (c *Conn) wroteAll() {
	c.writing = false
	if len(c.out) == 0 {
		keepOutput(c.out)
		c.out = nil
	}
	keepOutput(c.spare)
	c.spare = nil
	c.closeIfDone()
}

func keepOutput(b []byte) {
	if b != nil && cap(b) <= outKept {
		b = b[:0]
		outputs.Put(&b)
	}
}

// wait makes st be told when a window opens or room is made. c.mu is held.
func (st *Stream) wait() {
	if !st.waits {
		st.waits = true
		st.c.waiting = append(st.c.waiting, st)
	}
}

// wakeWaiting tells all that wait; who must still wait asks again.
func (c *Conn) wakeWaiting() {
	for i, st := range c.waiting {
		st.waits = false
		st.output.tell()
		c.waiting[i] = nil
	}
	c.waiting = c.waiting[:0]
}

// unwait takes st off those that wait.
func (c *Conn) unwait(st *Stream) {
	if !st.waits {
		return
	}
	kept := c.waiting[:0]
	for _, other := range c.waiting {
		if other != st {
			kept = append(kept, other)
		}
	}
	c.waiting, st.waits = kept, false
}
