package h2

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

// A Socket carries a connection's bytes. One goroutine reads and one writes at a time.
type Socket interface {
	// Read reads at least one byte, or returns ErrTimeout after timeout (zero waits for
	// ever), ErrInterrupted after Interrupt, or why there is nothing more.
	Read(p []byte, timeout time.Duration) (int, error)
	// Buffered reports whether Read would not ask the kernel.
	Buffered() bool
	// WriteNow writes what goes without waiting.
	WriteNow(p []byte) (int, error)
	// Write writes all of p; timeout bounds the time between two writes that got some
	// of it out.
	Write(p []byte, timeout time.Duration) error
	// Interrupt makes the Read under way, or the next one, return ErrInterrupted. No
	// Write is under way then.
	Interrupt()
}

// What a Socket returns.
var (
	ErrTimeout     = errors.New("timed out")
	ErrInterrupted = errors.New("interrupted")
)

// A Host serves what comes on a connection.
type Host interface {
	// Serve answers one request, on a goroutine of its own. st may not be used any more
	// when it has returned.
	Serve(st *Stream)
	// Busy tells that there are streams now, or none any more. It must not block.
	Busy(bool)
	// Log notes, for who looks after the server, what a client does wrong.
	Log(msg string)
}

// A Config is what a connection goes by.
type Config struct {
	// MaxStreams is how many streams may be open at once.
	MaxStreams int
	// Requests is how many there may be in all before the client is asked to open
	// another connection.
	Requests int
	// Preread is how much of a body may come before anybody wants it.
	Preread int
	// FieldSize bounds the name and the value of a field, HeadSize all of them.
	FieldSize, HeadSize int
	// Age is for how long a connection may begin new requests.
	Age time.Duration
	// HeaderTimeout bounds waits for the rest of a frame or of a head, and for the first
	// request; IdleTimeout those between requests; SendTimeout those in which nothing
	// can be written.
	HeaderTimeout, IdleTimeout, SendTimeout time.Duration
	// Crew serves the streams. It may be that of other connections, too.
	Crew *Crew
}

// A Conn is one connection. Serve runs it; Retire may be called from any goroutine.
type Conn struct {
	sock Socket
	host Host
	conf Config

	// What follows is the reader's.
	framer  *http2.Framer
	decoder *hpack.Decoder
	head    headReader
	block   block
	payload []byte // of DATA frames, a piece at a time
	inFrame bool   // some of the next frame was read
	greeted bool   // the client's preface came
	acked   bool   // the client said that it has our SETTINGS
	total   int64  // bytes read
	useful  int64  // those of heads and bodies among them
	slack   int64  // how many useless ones pass anyhow, divided by 8
	window  int64  // what the client may send on the whole connection
	refused int    // streams
	// priorities is how many PRIORITY frames may come still. SETTINGS are counted since a
	// moment.
	priorities   int
	settingsSeen int
	settingsFrom time.Time

	running sync.WaitGroup // streams, and who writes for them

	// mu guards what follows. It is held while frames are composed, and while nothing is
	// waited for.
	mu        sync.Mutex
	streams   map[uint32]*Stream
	lastID    uint32 // of the streams that the client opened
	opened    int    // how many it opened
	live      int    // how many are still being served, also such as the client gave up
	ending    int    // how many of these are complete on both sides
	old       bool   // it has had its Age
	aging     *time.Timer
	idleSince time.Time
	resetIDs  [32]uint32 // the last ones that were reset from here
	resets    int        // how many there were
	started   bool       // our SETTINGS were composed
	midFrame  bool       // some of a frame has come, for the rest of which the reader waits
	retirement
	closing     bool  // nothing more is to be written: Serve is to return
	fault       error // why the connection is lost
	sendWindow  int64 // what may be sent on the whole connection
	initial     int64 // and on a new stream
	frameSize   int   // the largest frame that the client takes
	resizeTable bool  // the next head must empty the client's table
	sentUseful  int64 // bytes of heads and bodies that were sent
	out, spare  []byte
	writing     bool      // somebody writes out
	unwritable  bool      // a write failed
	waiting     []*Stream // for a window or for room in out
}

// A block is the head that is being read.
type block struct {
	id      uint32
	open    bool // more of it is to come
	end     bool // no body follows
	drop    bool // nobody wants it
	trailer bool // it is behind a body
	size    int  // bytes, compressed
	pieces  int
}

const (
	initialWindow = 65535     // RFC 9113, 6.9.2
	maxWindow     = 1<<31 - 1 // and 6.9.1
	frameHeader   = 9
	readFrameSize = 16 << 10
	// streamCost is what it counts for in bytes that a frame makes us look at a stream.
	streamCost = 100
	// maxPieces bounds in how many frames a head may come.
	maxPieces = 128
)

// New makes a connection that reads and writes through sock.
func New(sock Socket, host Host, conf Config) *Conn {
	c := &Conn{
		sock: sock, host: host, conf: conf,
		streams: map[uint32]*Stream{}, window: maxWindow, slack: 1 << 20,
		sendWindow: initialWindow, initial: initialWindow, frameSize: readFrameSize, resizeTable: true,
	}
	c.priorities = max(conf.MaxStreams, 100)
	c.pace = pace{moment: momentTime, answer: answerTime, quiet: quietTime, whole: retireTime}
	c.head.limit = conf.HeadSize
	c.framer = http2.NewFramer(nil, reader{c})
	c.framer.SetMaxReadFrameSize(readFrameSize)
	c.framer.SetReuseFrames()
	c.decoder = hpack.NewDecoder(4096, c.head.field)
	c.decoder.SetMaxStringLength(conf.FieldSize)
	return c
}

// Serve runs the connection to its end, and returns when no stream is served any more.
// The socket is then to be closed, after a while in which what the client still sends
// is read: it may not have got our last frames yet.
func (c *Conn) Serve() {
	err := c.start()
	for err == nil {
		err = c.next()
	}
	c.end(err)
	c.running.Wait()
}

// start exchanges what comes first.
func (c *Conn) start() error {
	c.mu.Lock()
	c.idleSince = time.Now()
	c.old = c.conf.Age <= 0
	c.aging = time.AfterFunc(c.conf.Age, c.age)
	c.appendSettings()
	c.started = true
	if c.retiring {
		c.appendNotice()
	}
	c.mu.Unlock()
	var preface [len(http2.ClientPreface)]byte
	if _, err := io.ReadFull(reader{c}, preface[:]); err != nil {
		return err
	}
	if string(preface[:]) != http2.ClientPreface {
		return c.fatal(http2.ErrCodeProtocol, "client sent invalid preface")
	}
	c.greeted = true
	return nil
}

// next reads one frame and does what it asks for.
func (c *Conn) next() error {
	c.inFrame = c.block.open
	fh, err := c.framer.ReadFrameHeader()
	if err == nil {
		err = c.admit(fh)
	}
	switch {
	case err != nil:
	case fh.Type == http2.FrameData:
		err = c.data(fh)
	default:
		err = c.rest(fh)
	}
	return c.judge(fh, err)
}

// rest reads the payload of a frame, whole, and obeys it.
func (c *Conn) rest(fh http2.FrameHeader) error {
	f, err := c.framer.ReadFrameForHeader(fh)
	if err != nil {
		return err
	}
	return c.frame(f)
}

// admit looks at what begins a frame. It also finds the frames that are too short for
// what their flags say: of these the Framer says no more than that they end too early,
// as if the client had gone.
func (c *Conn) admit(fh http2.FrameHeader) error {
	c.total += int64(frameHeader + fh.Length)
	switch fh.Type {
	case http2.FramePushPromise:
		return c.fatal(http2.ErrCodeProtocol, "client sent PUSH_PROMISE frame")
	case http2.FrameHeaders:
		least := uint32(1)
		if fh.Flags.Has(http2.FlagHeadersPadded) {
			least++
		}
		if fh.Flags.Has(http2.FlagHeadersPriority) {
			least += 5
		}
		if fh.Length < least {
			return c.fatal(http2.ErrCodeFrameSize, fmt.Sprintf("client sent HEADERS frame with incorrect length %d", fh.Length))
		}
		c.useful += int64(fh.Length)
	case http2.FrameData, http2.FrameContinuation:
		c.useful += int64(fh.Length)
	}
	return c.floods()
}

// judge finds out what a frame's fault is to the connection.
func (c *Conn) judge(fh http2.FrameHeader, err error) error {
	var stream http2.StreamError
	var conn http2.ConnectionError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stream) && fh.Type == http2.FrameWindowUpdate && c.reset(stream.StreamID, stream.Code):
		return nil
	case errors.As(err, &stream):
		return c.fatal(stream.Code, "client sent invalid "+fh.Type.String()+" frame")
	case errors.Is(err, http2.ErrFrameTooLarge):
		return c.fatal(http2.ErrCodeFrameSize, "client sent too large frame")
	case errors.As(err, &conn):
		why := "client sent invalid frame"
		if detail := c.framer.ErrorDetail(); detail != nil {
			why += ": " + detail.Error()
		}
		return c.fatal(http2.ErrCode(conn), why)
	}
	return err
}

// floods looks whether frames come that carry nothing, many times as many as carry
// something. The measure is nginx's.
func (c *Conn) floods() error {
	if c.total/8 <= c.useful+c.slack {
		return nil
	}
	c.mu.Lock()
	flood := c.total/8 > c.useful+c.sentUseful+c.slack
	c.mu.Unlock()
	if flood {
		return c.fatal(http2.ErrCodeEnhanceYourCalm, "http2 flood detected")
	}
	return nil
}

func (c *Conn) frame(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.HeadersFrame:
		return c.headers(f)
	case *http2.ContinuationFrame:
		return c.fragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.resetByClient(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.PriorityFrame:
		if c.priorities--; c.priorities < 0 {
			return c.fatal(http2.ErrCodeEnhanceYourCalm, "client sent too many PRIORITY frames")
		}
		if f.StreamDep == f.StreamID {
			return c.fatal(http2.ErrCodeProtocol, fmt.Sprintf("client sent PRIORITY frame for stream %d with incorrect dependency", f.StreamID))
		}
	}
	return nil
}

// A reader is the connection as the Framer reads it.
type reader struct{ c *Conn }

func (r reader) Read(p []byte) (int, error) {
	c := r.c
	for {
		timeout := c.conf.HeaderTimeout
		if !c.sock.Buffered() {
			left, err := c.beforeWait()
			if err != nil {
				return 0, err
			}
			if !c.inFrame {
				timeout = left
			}
		}
		n, err := c.sock.Read(p, timeout)
		switch {
		case n > 0:
			c.inFrame = true
			return n, nil
		case errors.Is(err, ErrTimeout) && c.busy():
		case errors.Is(err, ErrTimeout) && !c.inFrame && c.retireIdle():
		case errors.Is(err, ErrTimeout) && !c.inFrame && c.greeted:
			return 0, errIdle
		case errors.Is(err, ErrTimeout):
			return 0, c.fatal(http2.ErrCodeProtocol, "client timed out")
		default:
			return 0, err
		}
	}
}

// beforeWait writes what is pending, since nothing may come that would do so, and says
// for how long the connection may stay idle.
func (c *Conn) beforeWait() (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush(false)
	c.midFrame = c.inFrame
	switch {
	case c.fault != nil:
		return 0, c.fault
	case c.closing:
		return 0, errDone
	case c.retiring:
		return c.pace.whole, nil // its clock says when it is over
	case c.opened == 0:
		return c.conf.HeaderTimeout, nil
	case c.live > 0:
		return max(c.conf.IdleTimeout, 100*time.Millisecond), nil
	}
	return max(time.Until(c.idleSince.Add(c.conf.IdleTimeout)), time.Millisecond), nil
}

// busy reports whether the connection may stay although nothing comes: because of its
// streams, as in nginx also within a frame, or because the last of them ended only a
// while ago.
func (c *Conn) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opened == 0 {
		return false
	}
	limit := c.conf.IdleTimeout
	if c.inFrame {
		limit = c.conf.HeaderTimeout
	}
	return c.live > 0 || time.Since(c.idleSince) < limit
}

var (
	errIdle = errors.New("idle for too long")
	errDone = errors.New("retired")
)

// A fatalError is what the client is told before the connection ends.
type fatalError struct {
	code http2.ErrCode
	why  string
}

func (e *fatalError) Error() string { return e.why }

func (c *Conn) fatal(code http2.ErrCode, why string) error { return &fatalError{code, why} }

// end says good-bye and makes all streams fail.
func (c *Conn) end(err error) {
	var fatal *fatalError
	told := http2.ErrCodeNo
	if errors.As(err, &fatal) {
		c.host.Log(fatal.why)
		told = fatal.code
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == nil && (fatal != nil || errors.Is(err, errIdle)) {
		c.word(told)
		c.flush(false)
	}
	c.aging.Stop()
	if c.clock != nil {
		c.clock.Stop()
	}
	switch {
	case fatal != nil || errors.Is(err, errIdle) || errors.Is(err, errDone) || errors.Is(err, ErrInterrupted):
	case (c.live > 0 || c.inFrame) && closedByClient(err):
		c.host.Log("client prematurely closed connection")
	}
	c.lose(fmt.Errorf("connection: %w", err))
}

// closedByClient tells the end that a client made from one of ours, which has no time
// left for a worker that retires.
func closedByClient(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET)
}

// lose makes the connection one that is lost. c.mu is held.
func (c *Conn) lose(err error) {
	if c.fault != nil {
		return
	}
	c.fault = err
	for _, st := range c.streams {
		st.tell()
	}
}
