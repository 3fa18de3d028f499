package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/report"
)

// sendSignal does -s: it finds the master by the pid file of the configuration
// and sends it the signal. It returns the exit status.
func (p *program) sendSignal(o options) int {
	log, closeLog := p.startLog(errorlog.Notice)
	defer closeLog()
	cfg, err := p.load(o)
	if err != nil {
		logFailure(log, err)
		return 1
	}
	ctx := context.Background()
	log.Log(ctx, errorlog.Notice, "signal process started")
	pid, err := readPid(cfg.Process.Pid)
	if err != nil {
		logFailure(log, err)
		return 1
	}
	var before *report.Reload
	if o.signal == "reload" && !o.noWait {
		before = lastReload(ctx, cfg.Process.Pid, pid)
	}
	for _, s := range signals {
		if s.name != o.signal {
			continue
		}
		if err := syscall.Kill(pid, s.sig); err != nil {
			log.Log(ctx, errorlog.Alert, fmt.Sprintf("kill(%d, %d) failed", pid, s.sig), "err", err)
			return 1
		}
	}
	if before == nil {
		return 0
	}
	if err := awaitReload(ctx, cfg.Process.Pid, pid, before.Number); err != nil {
		fmt.Fprintf(p.stderr, "%s: reload: %v\n", p.word, err)
		return 1
	}
	return 0
}

// readPid returns the number in the pid file path. Errors are *callError, or
// say what nginx says of a file that holds no number.
func readPid(path string) (int, error) {
	f, err := proc.OpenRegular(path, os.O_RDONLY) // a pipe would hold us up
	if err != nil {
		return 0, callFailed(errorlog.Error, "open()", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, callFailed(errorlog.Crit, "pread()", path, err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	pid, err := strconv.ParseUint(text, 10, 31)
	// 0 is no process, and kill(0) would reach our own group.
	if err != nil || pid == 0 {
		return 0, &callError{level: errorlog.Error, msg: fmt.Sprintf("invalid PID number \"%s\" in \"%s\"", text, path)}
	}
	return int(pid), nil
}

// callFailed words a failed system call as nginx does: open() "path" failed (2: …).
func callFailed(level slog.Level, call, path string, err error) error {
	e := &callError{level: level, msg: fmt.Sprintf("%s \"%s\" failed", call, path)}
	if !errors.As(err, &e.errno) {
		e.msg += ": " + err.Error()
	}
	return e
}
