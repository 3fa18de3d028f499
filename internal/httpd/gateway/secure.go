package gateway

import (
	"errors"
	"io"
	"syscall"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/netconn"
	"github.com/baton-deploy/baton/internal/tlsconf"
)

// A secured is what sets a connection that is kept apart from others to the same
// server: what was agreed on, and for which name, by whose settings.
type secured struct {
	by   *Security
	name string
}

// kindOfConn tells which kept connections the request can use.
func (x *Exchange) kindOfConn() any {
	if x.Secure == nil {
		return nil
	}
	return secured{x.Secure, x.Secure.nameFor(x)}
}

// secure does the handshake on a new connection if there is to be one.
func (x *Exchange) secure() Failure {
	sec := x.Secure
	if sec == nil {
		return 0
	}
	name := sec.nameFor(x)
	config, err := sec.config(x, name, x.addr)
	if err != nil {
		x.Log(LevelError, err.Error()+" while "+x.doing)
		return FailHere
	}
	x.doing = "SSL handshaking to upstream"
	state, err := httpd.SecureSocket(x.conn.Socket, config, x.loc.dial.Timeout)
	if err != nil {
		return x.handshakeFailed(err)
	}
	x.conn.Kind = secured{sec, name}
	if wrong := sec.verify(&state, name); wrong != "" {
		x.Log(LevelError, wrong+" while "+x.doing)
		return FailError
	}
	return 0
}

func (x *Exchange) handshakeFailed(err error) Failure {
	const closed = "peer closed connection in SSL handshake"
	var what string
	switch {
	case errors.Is(err, netconn.ErrTimeout):
		return FailTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what = closed
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		var errno syscall.Errno
		errors.As(err, &errno)
		what = closed + " " + errorlog.Errno(errno)
	default:
		what = "SSL_do_handshake() failed (" + tlsconf.ErrorText(err) + ")"
	}
	x.Log(LevelError, what+" while "+x.doing)
	return FailError
}

// call is how the log says that err came of one of the calls that nginx makes: call
// itself, or what it is with TLS.
func (x *Exchange) call(call, with string, err error) string {
	var errno syscall.Errno
	if x.Secure == nil || errors.As(err, &errno) {
		return call + " failed " + cause(err)
	}
	return with + " failed (" + tlsconf.ErrorText(err) + ")"
}

// ready reports whether the server has something to say. A layer is looked at by one
// goroutine only: while watch's does, it is asked.
func (x *Exchange) ready() bool {
	if x.watching != nil && x.Secure != nil {
		select {
		case <-x.watching:
		default:
			return false
		}
	}
	return x.conn.Ready()
}
