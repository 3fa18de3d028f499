package httpd

import (
	"errors"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/h2"
	"github.com/baton-deploy/baton/internal/netconn"
	"golang.org/x/net/http2"
)

// http2Conf is what the server that a client comes to first has to say about
// HTTP/2 there.
type http2Conf struct {
	on         bool // by the directive; the parameter of listen is in hosts
	maxStreams int
	preread    int
	fieldSize  int // by large_client_header_buffers, each of which is for a field
	headSize   int // and all for the head
}

// newHTTP2Conf reads the directives of the module http2.
func newHTTP2Conf(g *settings) http2Conf {
	return http2Conf{
		on:         g.flag("http2", false),
		maxStreams: g.int("http2_max_concurrent_streams", 128),
		preread:    int(g.size("http2_body_preread_size", 64<<10)),
	}
}

// protocolHTTP2 is what TLS calls it.
const protocolHTTP2 = "h2"

// protocols are what the server that the client named offers by ALPN.
func (c *conn) protocols() []string {
	if c.mayBeginHTTP2() {
		return []string{protocolHTTP2}
	}
	return nil
}

// mayBeginHTTP2 reports whether the server that the connection is for speaks HTTP/2.
func (c *conn) mayBeginHTTP2() bool { return c.hosts.http2 || c.defaultServer().http2.on }

// speaksHTTP2 reports whether a client without TLS begins as one that knows that the
// server speaks HTTP/2. As long as what came is the beginning of that it waits for more.
func (c *conn) speaksHTTP2() bool {
	if c.hosts.secured {
		return false
	}
	end := time.Now().Add(c.hosts.def.clientHeaderTimeout)
	for {
		p := c.in.Data()
		n := min(len(p), len(http2.ClientPreface))
		if string(p[:n]) != http2.ClientPreface[:n] {
			return false
		}
		if n == len(http2.ClientPreface) {
			return true
		}
		left := time.Until(end)
		if left <= 0 || c.Fill(&c.in, left) != nil {
			return false // whoever reads the head will see it, too
		}
	}
}

// serveHTTP2 serves the connection's streams until it ends.
func (c *conn) serveHTTP2() {
	def := c.defaultServer()
	core := &def.root.core
	_, _ = c.local(), c.peer.Text() // once, for all streams
	hc := h2.New(h2Socket{c}, h2Host{c}, h2.Config{
		MaxStreams: def.http2.maxStreams, Requests: core.keepaliveRequests, Age: core.keepaliveTime,
		Preread: def.http2.preread, FieldSize: def.http2.fieldSize, HeadSize: def.http2.headSize,
		HeaderTimeout: def.clientHeaderTimeout, IdleTimeout: core.keepaliveTimeout, SendTimeout: core.sendTimeout,
		Crew: &c.srv.crew,
	})
	c.Conn.First = bufpool.Large // frames of bodies have 16 KB
	c.h2.Store(hc)
	if c.srv.retiring.Load() {
		hc.Retire() // Retire may have looked too early
	}
	hc.Serve()
	c.Resume()
	if core.ending.linger != lingerOff {
		c.drainInput(core)
	}
}

// retireHTTP2 asks the clients that speak HTTP/2 to go elsewhere.
func (s *Server) retireHTTP2() {
	for _, c := range s.open() {
		if hc := c.h2.Load(); hc != nil {
			hc.Retire()
		}
	}
}

// An h2Socket is the connection as package h2 uses it.
type h2Socket struct{ c *conn }

func (s h2Socket) Buffered() bool { return !s.c.in.Empty() }

func (s h2Socket) Read(p []byte, timeout time.Duration) (int, error) {
	in := &s.c.in
	if in.Empty() {
		if err := s.c.Fill(in, timeout); err != nil {
			return 0, h2Error(err)
		}
	}
	n := copy(p, in.Data())
	in.Consume(n)
	return n, nil
}

func (s h2Socket) WriteNow(p []byte) (int, error) { return s.c.WriteNow(p, nil) }

func (s h2Socket) Write(p []byte, timeout time.Duration) error {
	return h2Error(s.c.WriteAll(p, nil, timeout))
}

func (s h2Socket) Interrupt() { s.c.Interrupt() }

func h2Error(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, netconn.ErrTimeout):
		return h2.ErrTimeout
	case errors.Is(err, netconn.ErrInterrupted):
		return h2.ErrInterrupted
	}
	return err
}

// An h2Host serves the streams of a connection.
type h2Host struct{ c *conn }

func (h h2Host) Busy(busy bool) {
	// The connection counts as one that is written to as long as there are streams; all
	// but one of them count by themselves.
	if busy {
		h.c.setState(stateWriting)
		h.c.srv.stats.add(statStreams, -1)
		return
	}
	h.c.srv.stats.add(statStreams, 1)
	h.c.setState(stateWaiting)
}

func (h h2Host) Log(msg string) {
	log := h.c.srv.logger(h.c.defaultServer().root)
	if !log.Enabled(levelInfo) {
		return
	}
	e := log.Begin(levelInfo)
	e.Conn(h.c.number)
	e.Text(msg + " while processing HTTP/2 connection")
	e.Field("client", h.c.peer.Text())
	e.Field("server", h.c.ln.key)
	e.Write()
}

func (h h2Host) Serve(st *h2.Stream) {
	c := h.c
	defer guard(c.srv.log, c.number)
	c.srv.stats.add(statStreams, 1)
	defer c.srv.stats.add(statStreams, -1)
	sc := c.srv.getStream(c, st)
	r := c.srv.getRequest(&sc.conn)
	r.serveStream(st)
	c.srv.putRequest(r)
	c.srv.putStream(sc)
}
