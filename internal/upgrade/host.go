package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// lookEvery is the time between two looks at a fact that nobody announces.
const lookEvery = 50 * time.Millisecond

// until looks again and again until done reports true, and fails with what is missing
// after limit. An error of done ends it too.
func until(ctx context.Context, limit time.Duration, done func() (ok bool, missing string, err error)) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		ok, missing, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return fmt.Errorf("not within %v: %s", limit, missing)
		case <-every.C:
		}
	}
}

// signal sends sig to exactly the process that p was read from. A later one that got
// its number is left alone. That it is gone is an error that wraps [errGone].
func (p process) signal(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return p.signalFailed(sig, err)
	}
	defer unix.Close(fd)
	// The descriptor pins whatever has the number now; only then compare.
	if !p.same() {
		return p.signalFailed(sig, unix.ESRCH)
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		return p.signalFailed(sig, err)
	}
	return nil
}

func (p process) signalFailed(sig syscall.Signal, err error) error {
	if errors.Is(err, unix.ESRCH) {
		err = errGone
	}
	return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), p.pid, err)
}

// A mark tells whether a pid file was renamed and renamed back: that changes no
// content, and a look from time to time can miss it.
type mark struct {
	id    fileID
	ctime unix.Timespec
}

func markOf(path string) (mark, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return mark{}, err
	}
	return mark{fileID{st.Dev, st.Ino}, st.Ctim}, nil
}

// names reports whether the pid file at path names p.
func (p process) isNamedBy(path string) bool {
	pid, err := proc.ReadPidFile(path)
	return err == nil && pid == p.pid
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
