package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/h2"
	"github.com/baton-deploy/baton/internal/logfile"
	"github.com/baton-deploy/baton/internal/netconn"
	"github.com/baton-deploy/baton/internal/ticketkeys"
	"golang.org/x/sys/unix"
)

// Env is what a worker gives the server it runs.
type Env struct {
	// Log is the process's error log.
	Log *slog.Logger
	// Logs are the files of all logs by absolute path, open for appending.
	Logs map[string]*os.File
	// Zones are the shared zones of the site, by name; the server closes them. A zone that
	// is not there is the worker's own.
	Zones map[string]*os.File
	// Shared is memory with the counters of all workers, Slot the number of this
	// worker's. Nil: the worker counts for itself.
	Shared []byte
	Slot   int
	// Tickets has the keys of TLS session tickets. Nil: nobody else reads ours.
	Tickets *ticketkeys.Ring
	// MaxConns is how many connections may be open at once; 0 means no limit.
	MaxConns int
}

// A Server serves one compiled configuration: it is what runs in a worker.
type Server struct {
	site   *Site
	log    *slog.Logger
	shared []byte
	stats  Stats

	maxConns  int64
	retiring  atomic.Bool
	give      atomic.Pointer[Give] // how connections move while retiring, nil: they drain
	counts    retired
	numbers   atomic.Uint64 // connections so far
	temps     atomic.Uint64 // temporary files so far
	clock     atomic.Pointer[second]
	requests  sync.Pool
	crew      h2.Crew // serves the streams of HTTP/2
	streams   sync.Pool
	loggers   []*errorlog.Direct       // by Location.logger
	outputs   map[string]*logfile.File // files of error logs
	homes     map[string]*listener     // by address: where moved connections belong
	tickets   *ticketkeys.Ring
	tlsConfig *tls.Config // that a handshake begins with

	wg sync.WaitGroup // listeners and connections

	// mu guards what follows. It is a leaf: nothing is locked and nothing blocks
	// while it is held.
	mu        sync.Mutex
	conns     map[*conn]struct{}
	listeners []*listener
	closed    bool
	waits     bool // Retire waits for the last connection: none comes behind it
}

// A listener is one listening socket and the virtual servers behind it.
type listener struct {
	*hosts
	key  string
	file *os.File
	raw  syscall.RawConn
	// specific are the virtual servers of addresses that have no socket of their
	// own because this one, a wildcard, covers them; nil when there are none.
	specific map[netip.AddrPort]*hosts
}

// NewServer makes a server for site. Nothing is started.
func NewServer(site *Site, env Env) *Server {
	s := &Server{
		site: site, log: env.Log, shared: env.Shared,
		maxConns: int64(env.MaxConns),
		conns:    map[*conn]struct{}{},
		outputs:  map[string]*logfile.File{},
		homes:    map[string]*listener{},
		tickets:  env.Tickets,
	}
	s.tlsConfig = s.newTLSConfig()
	if s.tickets == nil {
		s.tickets = ticketkeys.New(time.Now())
	}
	if off := env.Slot * StatsBytes; len(env.Shared) >= off+StatsBytes {
		s.stats = NewStats(env.Shared[off:])
	} else {
		s.stats = NewStats(nil)
		s.shared = s.stats.bytes()
	}
	for key, h := range site.hosts {
		s.homes[key] = &listener{hosts: h, key: key, specific: site.specific(key)}
	}
	s.requests.New = func() any { return new(Request) }
	s.streams.New = func() any { return new(streamConn) }
	s.openErrorLogs()
	s.Reopen(env.Logs)
	site.openZones(env.Zones, s.log)
	return s
}

// openErrorLogs makes a logger for each set of error logs in the configuration.
func (s *Server) openErrorLogs() {
	s.loggers = []*errorlog.Direct{errorlog.NewDirect(s.log)}
	for i, logs := range s.site.errorLogs {
		if i == 0 {
			continue // the process's own
		}
		var outs []*errorlog.Output
		for _, l := range logs {
			level, err := errorlog.ParseLevel(l.Level)
			if err != nil {
				level = levelError
			}
			outs = append(outs, errorlog.NewOutput(s.errorOutput(l.Path), level))
		}
		s.loggers = append(s.loggers, errorlog.NewDirect(errorlog.New(outs...)))
	}
}

func (s *Server) errorOutput(path string) io.Writer {
	if path == "stderr" {
		return os.Stderr
	}
	if s.outputs[path] == nil {
		s.outputs[path] = new(logfile.File)
	}
	return s.outputs[path]
}

// logger is the error log of a location.
func (s *Server) logger(l *Location) *errorlog.Direct {
	if l == nil || l.logger >= len(s.loggers) {
		return s.loggers[0]
	}
	return s.loggers[l.logger]
}

// Reopen replaces log files by path, and has what modules hold back for them
// written. The files stay the caller's; one that was replaced may be closed when
// Reopen has returned.
func (s *Server) Reopen(logs map[string]*os.File) {
	for path, f := range logs {
		for _, known := range []map[string]*logfile.File{s.site.logs, s.outputs} {
			if l := known[path]; l != nil {
				l.Set(f)
			}
		}
	}
	s.site.flush()
}

// Start accepts connections on sockets, by conf.Listen.Key, until [Server.Retire]
// or [Server.Close]. The server owns the listeners from then on, also when Start
// fails; closing them leaves the sockets themselves to the master.
func (s *Server) Start(sockets map[string][]net.Listener) error {
	for key, lns := range sockets {
		h := s.site.hosts[key]
		if h == nil {
			continue
		}
		for _, ln := range lns {
			if err := s.listen(key, h, ln); err != nil {
				s.Close()
				return err
			}
		}
	}
	return nil
}

func (s *Server) listen(key string, h *hosts, ln net.Listener) error {
	f, err := listenFile(ln)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", key, err)
	}
	l := &listener{hosts: h, key: key, file: f, specific: s.site.specific(key)}
	if l.raw, err = f.SyscallConn(); err != nil {
		return fmt.Errorf("listen on %s: %w", key, err)
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	s.wg.Go(func() { s.accept(l) })
	return nil
}

// listenFile turns ln, which it closes, into a file on the runtime's poller. A
// net.Listener lends its descriptor for control only, and its Accept sets options
// on each connection, five system calls, that nobody asked for.
func listenFile(ln net.Listener) (*os.File, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no descriptor", ln)
	}
	if ul, ok := ln.(*net.UnixListener); ok {
		ul.SetUnlinkOnClose(false)
	}
	defer ln.Close()
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(lfd uintptr) { fd, dupErr = unix.FcntlInt(lfd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	// Non-blocking before NewFile: that is what makes it register with the poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), ln.Addr().String()), nil
}

// specific returns the virtual servers of single addresses on the port of the
// wildcard address key, by address; nil when key is no wildcard or is alone.
func (s *Site) specific(key string) map[netip.AddrPort]*hosts {
	wild, err := netip.ParseAddrPort(key)
	if err != nil || !wild.Addr().IsUnspecified() {
		return nil
	}
	var found map[netip.AddrPort]*hosts
	for other, h := range s.hosts {
		a, err := netip.ParseAddrPort(other)
		if err != nil || a == wild || a.Port() != wild.Port() || a.Addr().Is4() != wild.Addr().Is4() {
			continue
		}
		if found == nil {
			found = map[netip.AddrPort]*hosts{}
		}
		found[a] = h
	}
	return found
}

// accept takes connections from l until l is closed.
func (s *Server) accept(l *listener) {
	var fd int
	var sa unix.Sockaddr
	var err error
	try := func(lfd uintptr) bool {
		fd, sa, err = unix.Accept4(int(lfd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return err != unix.EAGAIN
	}
	for {
		if l.raw.Read(try) != nil {
			return
		}
		switch {
		case err == nil:
			s.accepted(l, fd, sa)
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS):
			s.log.Log(context.Background(), levelCrit, "accept4() failed", "err", err)
			s.pauseAccept()
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF):
			return
		default: // the client was quicker: ECONNABORTED and the like
		}
	}
}

// acceptPause is how long accepting rests when the process is out of descriptors:
// trying at once would take a whole core and change nothing.
const acceptPause = 100 * time.Millisecond

func (s *Server) pauseAccept() {
	t := time.NewTimer(acceptPause)
	defer t.Stop()
	<-t.C
}

// accepted starts a goroutine for a new connection.
func (s *Server) accepted(l *listener, fd int, sa unix.Sockaddr) {
	p := netconn.PeerAddr(sa)
	t, err := netconn.New(fd, "client")
	if err != nil {
		s.log.Error("accept a connection", "err", err)
		return
	}
	t.Delays = p.AddrPort.IsValid()
	c := &conn{Conn: t, srv: s, ln: l, peer: p, number: s.numbers.Add(1), since: time.Now()}
	c.chooseHosts()
	if !s.remember(c) {
		s.stats.refused()
		_ = t.Close()
		return
	}
	c.state.Store(stateWaiting)
	s.stats.opened()
	s.wg.Go(func() {
		defer guard(s.log, c.number)
		c.begin(c.hosts.def.clientHeaderTimeout)
	})
}

// remember puts c on the books unless the server is closed or full.
func (s *Server) remember(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.maxConns > 0 && int64(len(s.conns)) >= s.maxConns {
		s.log.Log(context.Background(), levelAlert, fmt.Sprintf("%d worker_connections are not enough", s.maxConns))
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// forget takes c off the books, and counts what became of it.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	cut := s.closed
	s.mu.Unlock()
	s.stats.closed(c.state.Load())
	switch {
	case c.broken == errMoved || !s.retiring.Load():
	case cut:
		s.counts.cut.Add(1)
	default:
		s.counts.drained.Add(1)
	}
}

// Totals are the counters of all workers that share this server's memory.
func (s *Server) Totals() Totals { return Sum(s.shared) }

// Conns is how many connections are open.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Retired is what became of the connections of a server that retired.
type Retired struct {
	Moved   int // went to the successor
	Drained int // came to their natural end
	Closed  int // were cut
}

// retired counts it.
type retired struct{ moved, drained, cut atomic.Int64 }

// Retire stops accepting, moves what can be moved, and returns when no connection
// is left.
//
// With give a connection moves as soon as it can: at once when it waits for a
// request or sends a file, else when its response is complete. What does not move,
// and everything when give is nil, drains (invariant 3): a request under way is
// answered, the next one on an idle connection is answered with "Connection:
// close", and one that stays silent ends with its keepalive_timeout. When ctx is
// done what is left is cut.
func (s *Server) Retire(ctx context.Context, give Give) Retired {
	if give != nil {
		// First: a response that is composed while retiring is set and this is not
		// would say Connection: close.
		s.give.CompareAndSwap(nil, &give) // one that Redirect has set is newer
	}
	s.retiring.Store(true)
	s.stopAccepting()
	s.retireHTTP2()
	if give != nil {
		s.pokeInTurn(ctx)
	}
	s.mu.Lock()
	s.waits = true
	s.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		s.Close()
		<-gone
	}
	s.closeSite()
	return Retired{
		Moved:   int(s.counts.moved.Load()),
		Drained: int(s.counts.drained.Load()),
		Closed:  int(s.counts.cut.Load()),
	}
}

func (s *Server) stopAccepting() {
	s.mu.Lock()
	ls := s.listeners
	s.listeners = nil
	s.mu.Unlock()
	for _, l := range ls {
		_ = l.file.Close()
	}
}

// Close stops accepting and ends every connection at once. It does not wait.
func (s *Server) Close() {
	s.stopAccepting()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		// Apart, for it waits for a Give under way. c's own goroutine counts in wg
		// until it has taken c out of conns.
		s.wg.Go(func() { _ = c.Conn.Close() })
	}
	s.mu.Unlock()
	s.site.flush()
}

// open returns the connections that are open now.
func (s *Server) open() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

func (s *Server) closeSite() {
	s.site.flush()
	for _, c := range s.site.closers {
		c.Close()
	}
}

func (s *Server) getRequest(c *conn) *Request {
	r := s.requests.Get().(*Request)
	r.c = c
	r.Out.ContentLength = -1
	r.loc = c.defaultServer().root
	return r
}

func (s *Server) putRequest(r *Request) {
	r.reset()
	s.requests.Put(r)
}

// Listens are the addresses that the site's servers listen on.
func (s *Site) Listens() []string {
	var keys []string
	for k := range s.hosts {
		keys = append(keys, k)
	}
	return keys
}
