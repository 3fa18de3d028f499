package proxy

import (
	"errors"
	"io"
	"strings"
	"syscall"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/upstream"
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
func (x *exchange) connectFailed(err error) failure {
	if errors.Is(err, httpd.ErrTimeout) {
		return failTimeout
	}
	var local *upstream.LocalError
	if errors.As(err, &local) {
		level := levelAlert
		if strings.HasPrefix(local.Call, "bind(") {
			level = levelCrit // the configuration's fault
		}
		x.now().Addr = "" // nobody was asked, as nginx has it
		x.log(level, local.Call+" failed "+cause(err)+" while "+x.doing)
		return failHere
	}
	level, to := levelError, ""
	var refused *upstream.RefusedError
	if errors.As(err, &refused) {
		to = " to " + refused.Addr
		if !unreachable(err) {
			level = levelCrit
		}
	}
	x.log(level, "connect()"+to+" failed "+cause(err)+" while "+x.doing)
	return failError
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

func (x *exchange) logTimeout() {
	x.log(levelError, "upstream timed out "+errorlog.Errno(syscall.ETIMEDOUT)+" while "+x.doing)
}

// readFailed accounts an error of reading an answer. A time-out is left to log.
func (x *exchange) readFailed(err error) failure {
	switch {
	case errors.Is(err, errGone):
		x.log(levelInfo, "client prematurely closed connection, so upstream connection is closed too while "+x.doing)
		return failGone
	case errors.Is(err, httpd.ErrTimeout):
		return failTimeout
	case err == io.EOF:
		x.log(levelError, "upstream prematurely closed connection while "+x.doing)
		return failError
	case errors.Is(err, io.ErrShortBuffer):
		x.log(levelError, "upstream sent too big header while "+x.doing)
		return failHeader
	}
	x.log(levelError, "recv() failed "+cause(err)+" while "+x.doing)
	return failError
}

func (x *exchange) sendFailed(err error) failure {
	if errors.Is(err, httpd.ErrTimeout) {
		return failTimeout
	}
	if x.out.duplex {
		return failError // the answer goes on
	}
	x.log(levelError, "send() failed "+cause(err)+" while "+x.doing)
	return failError
}

// bodyFailed accounts an error of reading the client's body while it is passed
// on.
func (x *exchange) bodyFailed(err error) failure {
	if x.out.duplex {
		return failBody // the answer goes on
	}
	x.body.status = bodyStatus(err)
	x.log(levelInfo, err.Error()+" while "+x.doing)
	return failBody
}

// bodyStatus is the answer to a body that cannot be read.
func bodyStatus(err error) int {
	switch {
	case errors.Is(err, httpd.ErrBodyTooLarge):
		return 413
	case errors.Is(err, httpd.ErrBodyTimeout):
		return 408
	}
	return 400
}
