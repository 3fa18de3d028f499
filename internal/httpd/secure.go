package httpd

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/netconn"
	"github.com/baton-deploy/baton/internal/ticketkeys"
	"github.com/baton-deploy/baton/internal/tlsconf"
	"golang.org/x/sys/unix"
)

// A Security is what a virtual server has for TLS; see [Builder.Secure]. Its methods
// are called by many goroutines at once.
type Security interface {
	// Config returns how a handshake goes on with the server that the client named, or
	// with the default one.
	Config(h *Handshake) (*tls.Config, error)
	// Certified reports whether the server has a certificate of its own.
	Certified() bool
	// Admit is asked for each request; it returns 0, or the status that ends it.
	Admit(r *Request) int
	// Verifies reports whether clients are to show certificates. Then a connection
	// that was made for another name is not for this server.
	Verifies() bool
	// Rejects reports whether handshakes are refused.
	Rejects() bool
	// RecordSize is how much plain text goes into one record.
	RecordSize() int
}

// ErrUnknownName as the error of [Security.Config] makes the client hear that there is
// no such server.
var ErrUnknownName = errors.New("unrecognized name")

// A Handshake is what is known while a client and a server agree on keys.
type Handshake struct {
	Hello *tls.ClientHelloInfo
	// Name is the name that the client asked for, as a server_name is compared; "" for
	// none.
	Name string
	// Protocols are what the server offers by ALPN.
	Protocols []string
	// Default is the default server's at the address; its certificate is shown for a
	// server that has none.
	Default Security
	// Tickets has the keys of session tickets.
	Tickets *ticketkeys.Ring

	c *conn
}

// Text is a template's text for the connection: there is no request yet.
func (h *Handshake) Text(t Template) string {
	r := h.c.srv.getRequest(h.c)
	defer h.c.srv.putRequest(r)
	r.begin()
	return string(t.Append(nil, r))
}

// Logger is the process's error log.
func (h *Handshake) Logger() *slog.Logger { return h.c.srv.log }

// A TLSState is what was agreed on for a connection.
type TLSState struct {
	tls.ConnectionState
	// Name is the name that the client asked for when one of the servers has it, as a
	// server_name is compared; Asked is what it asked for, "" for what is no host.
	Name, Asked string
	// Ciphers and Curves are what the client offered.
	Ciphers []uint16
	Curves  []tls.CurveID
	// offered is the session that the client has offered, by its id.
	offered sessionID
	made    sync.Once // guards the making of the id of a session of TLS 1.3

	// Verdict is for [Security.Admit] to keep what it found out of the client's
	// certificate. Streams of HTTP/2 look at it at once.
	Verdict atomic.Value
}

// A sessionID is what a session is known by, at most 32 bytes.
type sessionID struct {
	bytes [32]byte
	size  int
}

// offeredIn finds the id in a ClientHello, which begins with its record. Whether that
// is well-formed is crypto/tls's to say.
func (id *sessionID) offeredIn(hello []byte) {
	const at = 5 + 4 + 2 + 32 // behind the heads of record and message, the version and the random bytes
	if len(hello) > at && len(hello) > at+int(hello[at]) && int(hello[at]) <= len(id.bytes) {
		id.size = copy(id.bytes[:], hello[at+1:at+1+int(hello[at])])
	}
}

// SessionID is what the session is known by, as OpenSSL has it: for TLS 1.3 random
// bytes of each connection, before that what a client has called the session that it
// resumes. A new one that will be in a ticket has none.
func (t *TLSState) SessionID() []byte {
	switch {
	case t.Version >= tls.VersionTLS13:
		t.made.Do(func() {
			t.offered.size, _ = rand.Read(t.offered.bytes[:]) // crypto/rand never fails
		})
	case !t.DidResume:
		return nil
	}
	return t.offered.bytes[:t.offered.size]
}

// TLS is what was agreed on for the request's connection; nil when it is plain.
func (r *Request) TLS() *TLSState { return r.c.tls }

// Secured reports whether the request came by TLS.
func (r *Request) Secured() bool { return r.c.tls != nil }

func (r *Request) scheme() string {
	if r.Secured() {
		return "https"
	}
	return "http"
}

// defaultPort is the one that a URL need not name.
func (r *Request) defaultPort() string {
	if r.Secured() {
		return "443"
	}
	return "80"
}

func schemeVariable(r *Request, _ string, dst []byte) ([]byte, bool) {
	return append(dst, r.scheme()...), true
}

func httpsVariable(r *Request, _ string, dst []byte) ([]byte, bool) {
	if r.Secured() {
		dst = append(dst, "on"...)
	}
	return dst, true
}

// Secure sets what the server that is being built has for TLS.
func (b *Builder) Secure(s Security) { b.building.vs.security = s }

// Security is what the server has for TLS; nil for nothing.
func (vs *VirtualServer) Security() Security { return vs.security }

// secureServers makes sure that an address with TLS has a certificate for everybody
// who comes there.
func (h *hosts) secureServers() error {
	serves := func(vs *VirtualServer) bool { return vs.security != nil && vs.security.Certified() }
	refuses := func(vs *VirtualServer) bool { return vs.security != nil && vs.security.Rejects() }
	if !h.secured || serves(h.def) {
		return nil
	}
	without := func(vs *VirtualServer) error {
		return conf.Errorf(nil, "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive in %s:%d",
			vs.self.File, vs.self.Line)
	}
	if !refuses(h.def) {
		return without(h.def)
	}
	for _, s := range h.servers {
		if !serves(s.vs) && !refuses(s.vs) {
			return without(s.vs)
		}
	}
	return nil
}

// defaultServer is the virtual server for what comes before a request names one.
func (c *conn) defaultServer() *VirtualServer {
	if c.asked != nil {
		return c.asked
	}
	return c.hosts.def
}

// typeHandshake is the first byte of TLS.
const typeHandshake = 0x16

// secure does the handshake of a connection to an address that wants one, and returns
// what is left of timeout. It reports false when the connection is over. One that
// begins with something else is served as a plain one: it gets an answer that says so.
func (c *conn) secure(timeout time.Duration) (left time.Duration, ok bool) {
	begun := time.Now()
	c.First = bufpool.Page // a client that offers keys for times to come says more than 1 KB
	defer func() { c.First = bufpool.Small }()
	if err := c.Fill(&c.in, timeout); err != nil {
		c.handshakeFailed(err, true)
		return 0, false
	}
	if b := c.in.Data()[0]; b != typeHandshake && b&0x80 == 0 {
		return timeout, true
	}
	var offered sessionID
	offered.offeredIn(c.in.Data())
	c.srv.stats.handshakes(1)
	defer c.srv.stats.handshakes(-1)
	l := newTLSLayer(c.Conn, c.srv.tlsConfig, tls.Server)
	l.owner, l.early = c, &c.in
	if err := l.handshake(rest(timeout, begun)); err != nil {
		c.handshakeFailed(err, false)
		return 0, false
	}
	c.tls.ConnectionState, c.tls.offered = l.conn.ConnectionState(), offered
	return rest(timeout, begun), true
}

// rest is what is left of timeout, which began then; 0 is for ever.
func rest(timeout time.Duration, begun time.Time) time.Duration {
	if timeout <= 0 {
		return 0
	}
	return max(timeout-time.Since(begun), time.Millisecond)
}

// newTLSConfig is the configuration that every handshake begins with.
func (s *Server) newTLSConfig() *tls.Config {
	return &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return hello.Conn.(cipherConn).l.owner.choose(hello)
		},
	}
}

// choose finds the server that the client wants and asks it how to go on.
func (c *conn) choose(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c.tls = &TLSState{Ciphers: hello.CipherSuites, Curves: hello.SupportedCurves}
	sec := c.hosts.def.security
	if name, ok := validHost(nil, []byte(hello.ServerName)); ok {
		c.tls.Asked = hello.ServerName // what is no host could lead out of a folder
		if vs := c.hosts.lookup(name); vs != nil {
			c.tls.Name, c.asked = string(name), vs
			if vs.security != nil {
				sec = vs.security
			}
		}
	}
	if sec == nil {
		return nil, ErrUnknownName
	}
	h := &Handshake{Hello: hello, Name: c.tls.Name, Protocols: c.protocols(), Default: c.hosts.def.security, Tickets: c.srv.tickets, c: c}
	l := hello.Conn.(cipherConn).l
	l.record = sec.RecordSize()
	config, err := sec.Config(h)
	if errors.Is(err, ErrUnknownName) {
		l.alert(alertUnrecognizedName)
	}
	return config, err
}

// lookup is find for a name that no request has brought; nil when it is none of ours.
func (h *hosts) lookup(name []byte) *VirtualServer {
	if vs := h.named(name); vs != nil {
		return vs
	}
	for _, hp := range h.patterns {
		if _, ok, err := hp.p.Match(name, nil); ok && err == nil {
			return hp.vs
		}
	}
	return nil
}

// admit is what is checked of a request that came to an address with TLS, whole.
func (r *Request) admit() int {
	c := r.c
	if c.tls == nil {
		r.Log(levelInfo, "client sent plain HTTP request to HTTPS port", nil)
		return statusToHTTPS
	}
	sec := r.Server.security
	if sec == nil {
		return 0
	}
	if c.tls.Name != "" && c.tls.Name != string(r.Host) && sec.Verifies() {
		r.Log(levelInfo, "client attempted to request the server name different from the one that was negotiated", nil)
		// The answer is of the server that the connection is for.
		r.Server, r.loc = c.asked, c.asked.root
		return 421
	}
	return sec.Admit(r)
}

// handshakeFailed logs why a connection did not come to its first request, in nginx's
// words as far as the cause is the same.
func (c *conn) handshakeFailed(err error, silent bool) {
	c.broken = err
	log := c.srv.logger(c.defaultServer().root)
	if !log.Enabled(levelInfo) {
		return
	}
	e := log.Begin(levelInfo)
	e.Conn(c.number)
	switch {
	case errors.Is(err, netconn.ErrTimeout):
		e.Text("client timed out")
		e.Cause(unix.ETIMEDOUT)
	case errors.Is(err, io.EOF) && silent:
		e.Text("client closed connection")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Text("peer closed connection in SSL handshake")
	case errors.Is(err, unix.ECONNRESET):
		e.Text("peer closed connection in SSL handshake")
		e.Cause(unix.ECONNRESET)
	case errors.Is(err, ErrUnknownName):
		e.Text("handshake rejected")
	default:
		e.Text("SSL_do_handshake() failed (" + tlsconf.ErrorText(err) + ")")
	}
	e.Text(" while SSL handshaking")
	e.Field("client", c.peer.Text())
	e.Field("server", c.ln.key)
	e.Write()
}
