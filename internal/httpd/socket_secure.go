package httpd

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/baton-deploy/baton/internal/netconn"
)

// SecureSocket does a client's handshake of TLS on s; from then on s reads and writes
// through TLS. Nothing may be buffered. timeout bounds the whole, which cannot be
// interrupted. After an error only Drop is of use.
func SecureSocket(s *netconn.Socket, config *tls.Config, timeout time.Duration) (tls.ConnectionState, error) {
	if timeout <= 0 {
		timeout = never
	}
	l := newTLSLayer(s.Conn(), config, func(c net.Conn, config *tls.Config) *tls.Conn {
		return tls.Client(addressed{c}, config)
	})
	if err := l.handshake(timeout); err != nil {
		return tls.ConnectionState{}, err
	}
	return l.conn.ConnectionState(), nil
}

// addressed has an address, which crypto/tls makes a key for sessions of where no name
// is told. It is always the same: whoever keeps sessions knows whose they are.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "upstream"} }
