package httpd

import (
	"bytes"
	"errors"
	"log/slog"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/netconn"
)

// How the body of a moved answer is framed by its server.
const (
	framedLength = 1
	framedChunks = 2
	framedClose  = 3
	framedWhole  = 4 // nothing more comes
)

// moveStream moves the client's socket and the server's, with what was read from
// either, and reports whether they are gone.
func (r *Request) moveStream(s *Stream) bool {
	s.Owner.Settle()
	t := r.ticket(ticketStream)
	t.setStream(r, s)
	gone := false
	_ = s.Server.Control(func(fd uintptr) { gone = r.c.giveAway(t, int(fd)) })
	if !gone {
		r.c.stays = r.c.srv.give.Load() // or who asks would ask for ever
	}
	return gone
}

// setStream describes s, which is not complete.
func (t *ticket) setStream(r *Request, s *Stream) {
	t.toClient, t.timeout, t.chunked = s.Server.Buffered(), s.Timeout, r.Out.chunked
	t.waited, t.ignoreAbort = s.Waited, s.IgnoreAbort
	t.setSpoolConf(s.Spool)
	switch {
	case s.Chunks != nil:
		t.framing = framedChunks
		t.chunkState, t.left = uint64(s.Chunks.c.state), uint64(s.Chunks.c.size)
	case s.Left < 0:
		t.framing = framedClose
	default:
		t.framing, t.left = framedLength, uint64(s.Left)
	}
}

func (t *ticket) setSpoolConf(c *SpoolConf) {
	if c == nil {
		return
	}
	t.memory, t.fileSize, t.fileWrite = uint64(c.Memory), uint64(c.File), uint64(c.Write)
	t.tempPath = append([]byte(c.Temp.Dir), 0)
	t.tempPath = append(t.tempPath, c.Temp.Levels[:]...)
}

// spoolConf is what setSpoolConf wrote; nil when it did not.
func (t *ticket) spoolConf() *SpoolConf {
	dir, levels, ok := bytes.Cut(t.tempPath, []byte{0})
	if !ok || t.memory == 0 {
		return nil
	}
	c := &SpoolConf{
		Memory: int64(t.memory), File: int64(t.fileSize), Write: max(int(t.fileWrite), bufpool.Page),
		Temp: TempPath{Dir: string(dir)},
	}
	copy(c.Temp.Levels[:], levels)
	return c
}

// outlastMovable reports whether the response to a slow client can go on in another
// process.
func (r *Request) outlastMovable(s *Stream) bool {
	return !s.Pinned && r.Out.movable() && s.goesOn()
}

// moveSpool moves the connection of a slow client, with the server's if the answer is
// not complete, and reports whether they are gone. If not all goes on as before.
func (r *Request) moveSpool(s *Stream) bool {
	s.stopReading()
	if s.failed == nil && r.giveSpool(s) {
		return true
	}
	r.c.stays = r.c.srv.give.Load() // or who asks would ask for ever
	r.startReading(s)
	return false
}

// maxOwed bounds what travels in a ticket of bytes for the client; what is more lies
// in a file.
const maxOwed = bufpool.Largest

func (r *Request) giveSpool(s *Stream) bool {
	c, sp := r.c, s.spool
	if n := sp.inMemory(); n >= 0 && n+int64(len(c.out)) <= maxOwed {
		c.stalled = true // so that all of it becomes pending
		for block, _ := sp.next(); block != nil; block, _ = sp.next() {
			_, err := r.Out.Write(block)
			bufpool.Put(block)
			if err != nil {
				return false
			}
		}
	}
	st, err := sp.rest()
	if err != nil {
		return false // the log knows
	}
	if !s.Whole {
		s.Owner.Settle()
	}
	t := r.ticket(ticketSpool)
	t.framing, t.chunked, t.owed = framedWhole, r.Out.chunked, c.out
	var files []int
	if t.spooled = uint64(st.n); st.n > 0 {
		t.offset = uint64(st.off)
		files = append(files, st.fd)
	}
	if s.Whole {
		return c.giveAway(t, files...)
	}
	t.setStream(r, s)
	if sp.noFile {
		t.fileSize = 0 // what there is may lie in memory: it must not grow
	}
	gone := false
	_ = s.Server.Control(func(fd uintptr) { gone = c.giveAway(t, append([]int{int(fd)}, files...)...) })
	return gone
}

// stream is the Stream of a ticket, on a server's socket.
func (t *ticket) stream(server *netconn.Socket) (*Stream, error) {
	s := &Stream{
		Server: server, Left: -1, Timeout: t.timeout, Waited: t.waited, Spool: t.spoolConf(), IgnoreAbort: t.ignoreAbort,
	}
	switch {
	case t.framing == framedLength:
		s.Left = int64(t.left)
	case t.framing == framedChunks && t.chunkState < uint64(chunkDone):
		s.Chunks = &Chunks{chunks{state: chunkState(t.chunkState), size: int64(t.left)}}
	case t.framing == framedWhole && t.kind == ticketSpool:
		s.Whole, s.over = true, true
	case t.framing != framedClose:
		return nil, ErrTicket
	}
	return s, nil
}

// A taken stream is one that was taken from another process.
type taken struct {
	r       *Request
	s       *Stream
	account func(s *Stream)
	dropped bool
}

// Settle implements [StreamOwner].
func (k *taken) Settle() { k.account(k.s) }

// Ended implements [StreamOwner].
func (k *taken) Ended(err error) {
	k.Settle()
	if err != nil {
		k.r.Log(levelError, "upstream failed while a moved answer was read", err)
	}
	k.drop()
}

// Report implements [StreamOwner].
func (k *taken) Report(level slog.Level, msg string) { k.r.Log(level, msg, nil) }

func (k *taken) drop() {
	if k.s.Server != nil && !k.dropped {
		k.s.Server.Drop()
		k.dropped = true
	}
}

// goOnStream passes the rest of a moved answer on until it ends, or moves again. It
// owns fds: the server's socket unless the answer is complete, and a file if a part
// of it lies there.
func (r *Request) goOnStream(t *ticket, fds []int) error {
	var server *netconn.Socket
	if t.sockets() > 0 {
		var err error
		if server, err = netconn.NewSocket(fds[0], "upstream"); err != nil {
			closeFDs(fds[1:])
			return err
		}
		server.SetBuffer(bufpool.Large, bufpool.Large)
		server.FillWith(t.toClient)
		fds = fds[1:]
	}
	s, err := t.stream(server)
	if err != nil { // takes has looked
		closeFDs(fds)
		return err
	}
	k := &taken{r: r, s: s, account: r.accounts()}
	defer k.drop()
	s.Owner = k
	o := &r.Out
	o.chunked = t.chunked
	if t.framing != framedLength && t.framing != framedWhole {
		o.ContentLength = -1
	}
	o.startPace()
	if t.kind == ticketSpool {
		r.spoolFor(s)
		if len(fds) > 0 {
			s.spool.fd, s.spool.off, s.spool.end = fds[0], int64(t.offset), int64(t.offset+t.spooled)
		}
		r.c.hold(t.owed)
		r.c.stalled = true
	}
	return r.relayTaken(k)
}

// relayTaken is Relay with what follows.
func (r *Request) relayTaken(k *taken) error {
	s := k.s
	lost, err := r.Relay(s)
	switch {
	case errors.Is(err, ErrMoved):
		return nil
	case !s.over:
		k.Settle()
	}
	switch {
	case lost != nil, errors.Is(err, ErrGone):
		r.Lost(499)
	case err != nil:
		if !s.over {
			r.Log(levelError, "upstream failed while a moved answer was read", err)
		}
		r.Out.Abort()
	}
	return nil
}

// accounts returns a function that tells the modules what has come from the server
// since it was last called.
func (r *Request) accounts() func(s *Stream) {
	settled, content, raw := time.Now(), int64(0), int64(0)
	return func(s *Stream) {
		p := Passage{Took: time.Since(settled), Content: s.Content - content, Received: s.Raw - raw}
		for _, m := range r.c.srv.site.movers {
			m.Passed(r, p)
		}
		settled, content, raw = time.Now(), s.Content, s.Raw
	}
}
