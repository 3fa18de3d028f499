package main

import (
	"context"
	"errors"
	"log/slog"
	"syscall"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
)

// startLog opens the log that is in use until the configuration names its own:
// the file of -e or the built-in one, from level up, and the terminal, from
// warn up and in the short form. When the file is standard error, or cannot be
// opened, standard error gets the long form alone. All of it is nginx's way.
// The caller calls closeLog when it needs the log no more.
func (p *program) startLog(level slog.Level) (log *slog.Logger, closeLog func()) {
	console := errorlog.NewConsole(p.stderr, p.word, errorlog.Warn)
	none := func() {}
	if p.paths.errorLog == "stderr" || p.paths.errorLog == "" {
		return errorlog.New(errorlog.NewOutput(p.stderr, level)), none
	}
	path := p.paths.full(p.paths.errorLog)
	f, err := proc.OpenLog(path, nil)
	if err != nil {
		logFailure(errorlog.New(console), callFailed(errorlog.Alert, "could not open error log file: open()", path, err))
		return errorlog.New(errorlog.NewOutput(p.stderr, level)), none
	}
	return errorlog.New(errorlog.NewOutput(f, level), console), func() { f.Close() }
}

// A callError is a failure in nginx's words and with nginx's level.
type callError struct {
	level slog.Level
	msg   string
	errno syscall.Errno // 0 for none
}

func (e *callError) Error() string {
	if e.errno == 0 {
		return e.msg
	}
	return e.msg + " " + errorlog.Errno(e.errno)
}

// logFailure writes err to log with the level that it carries, else emerg.
func logFailure(log *slog.Logger, err error) {
	level := errorlog.Emerg
	var call *callError
	var fault *conf.Error
	switch {
	case errors.As(err, &call):
		level = call.level
	case errors.As(err, &fault):
		if l, perr := errorlog.ParseLevel(fault.Level); perr == nil {
			level = l
		}
	}
	log.Log(context.Background(), level, err.Error())
}
