package proc

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Watch waits for the end of a process that need not be a child.
type Watch struct{ f *os.File }

// WatchPid starts to watch process pid. A process is watched by descriptor and
// not by number, so a later one with the same number is not mistaken for it.
// The caller must Close the Watch.
func WatchPid(pid int) (*Watch, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	return &Watch{f: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Wait returns nil when the process has ended, and an error when the Watch was
// closed before.
func (w *Watch) Wait() error {
	rc, err := w.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch process: %w", err)
	}
	err = rc.Read(func(fd uintptr) bool { return ended(int(fd)) })
	if err != nil {
		return fmt.Errorf("watch process: %w", err)
	}
	return nil
}

// Close ends the watch; Wait returns.
func (w *Watch) Close() error { return w.f.Close() }

// HasEnded reports whether process pid is no more. One that has ended and whose parent
// has not heard of it yet still has its number, and has ended as well.
func HasEnded(pid int) bool {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return err == unix.ESRCH
	}
	defer unix.Close(fd)
	return ended(fd)
}

// ended reports whether the process of a pidfd has ended. Readable means ended,
// pidfd_open(2); there is nothing to read.
func ended(pidfd int) bool {
	p := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// Started returns when process pid was started, in ticks since boot. Together with its
// number that names a process for ever.
func Started(pid int) (ticks uint64, err error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		_, _, ticks, err = parseStat(line)
	}
	if err != nil {
		return 0, fmt.Errorf("find out when process %d was started: %w", pid, err)
	}
	return ticks, nil
}
