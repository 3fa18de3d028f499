package gateway

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
	"github.com/baton-deploy/baton/internal/netconn"
)

// cause is an error as nginx writes it: "(111: Connection refused)".
func cause(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errorlog.Errno(errno)
	}
	return "(" + err.Error() + ")"
}

// connectFailed accounts a connection that did not come about. A time-out is
// logged by next, as all are.
func (x *Exchange) connectFailed(err error) Failure {
	if errors.Is(err, netconn.ErrTimeout) {
		return FailTimeout
	}
	var local *upstream.LocalError
	if errors.As(err, &local) {
		level := LevelAlert
		if strings.HasPrefix(local.Call, "bind(") {
			level = LevelCrit // the configuration's fault
		}
		x.now().Addr = "" // nobody was asked, as nginx has it
		x.Log(level, local.Call+" failed "+cause(err)+" while "+x.doing)
		return FailHere
	}
	level, to := LevelError, ""
	var refused *upstream.RefusedError
	if errors.As(err, &refused) {
		to = " to " + refused.Addr
		if !unreachable(err) {
			level = LevelCrit
		}
	}
	x.Log(level, "connect()"+to+" failed "+cause(err)+" while "+x.doing)
	return FailError
}

// unreachable reports whether err says that nobody is there, which is for the
// server's operator to mend and not for ours.
func unreachable(err error) bool {
	for _, errno := range [...]syscall.Errno{
		syscall.ECONNREFUSED, syscall.EAGAIN, syscall.ECONNRESET, syscall.ENETDOWN,
		syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (x *Exchange) logTimeout() {
	x.Log(LevelError, "upstream timed out "+errorlog.Errno(syscall.ETIMEDOUT)+" while "+x.doing)
}

// logFault logs what is wrong with a server's records, and reports whether err is that.
func (x *Exchange) logFault(err error) bool {
	var fault RecordError
	if !errors.As(err, &fault) {
		return false
	}
	if fault != "" {
		x.Log(LevelError, string(fault)+" while "+x.doing)
	}
	return true
}

// LogWhile is [Exchange.Log] with what is done at the moment behind msg.
func (x *Exchange) LogWhile(level slog.Level, msg string) { x.Log(level, msg+" while "+x.doing) }

// readFailed accounts an error of reading an answer. A time-out is left to log.
func (x *Exchange) readFailed(err error) Failure {
	switch {
	case errors.Is(err, errGone):
		x.Log(LevelInfo, "client prematurely closed connection, so upstream connection is closed too while "+x.doing)
		return FailGone
	case errors.Is(err, netconn.ErrTimeout):
		return FailTimeout
	case err == io.EOF:
		x.Log(LevelError, "upstream prematurely closed connection while "+x.doing)
		return FailError
	case errors.Is(err, io.ErrShortBuffer):
		x.Log(LevelError, "upstream sent too big header while "+x.doing)
		return FailHeader
	}
	x.Log(LevelError, x.call("recv()", "SSL_read()", err)+" while "+x.doing)
	return FailError
}

func (x *Exchange) sendFailed(err error) Failure {
	if errors.Is(err, netconn.ErrTimeout) {
		return FailTimeout
	}
	if x.out.duplex {
		return FailError // the answer goes on
	}
	x.Log(LevelError, x.call("send()", "SSL_write()", err)+" while "+x.doing)
	return FailError
}

// bodyFailed accounts an error of reading the client's body while it is passed
// on.
func (x *Exchange) bodyFailed(err error) Failure {
	if x.out.duplex {
		return FailBody // the answer goes on
	}
	x.Body.status = bodyStatus(err)
	x.Log(LevelInfo, err.Error()+" while "+x.doing)
	return FailBody
}

// bodyStatus is the answer to a body that cannot be read.
func bodyStatus(err error) int {
	switch {
	case errors.Is(err, httpd.ErrBodyTooLarge):
		return 413
	case errors.Is(err, httpd.ErrBodyTimeout):
		return 408
	case errors.Is(err, httpd.ErrStreamGone):
		return lostClient
	}
	return 400
}
