package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Image is the path of the image that this process runs. The kernel holds it
// open, so it is there when the file on disk was replaced or deleted.
const Image = "/proc/self/exe"

// A Spec is a process to be started.
type Spec struct {
	Path string // of the file to execute
	Argv []string
	Env  []string
	// FDs become the descriptors 0, 1, 2 and so on of the new process, which gets
	// no others.
	FDs []int
	// Session starts it in a session of its own.
	Session bool
}

// Start starts a process. Unlike fork and exec by hand it reports a file that
// cannot be executed as its error. The process must be waited for with [Await]
// and then [Reap].
func Start(s Spec) (pid int, err error) {
	// Whoever started us may have left descriptors open that are for us alone, or
	// for nobody.
	if err := closeOnExecFrom(3); err != nil {
		return 0, err
	}
	files := make([]uintptr, len(s.FDs))
	for i, fd := range s.FDs {
		files[i] = uintptr(fd)
	}
	pid, err = syscall.ForkExec(s.Path, s.Argv, &syscall.ProcAttr{
		Env:   s.Env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: s.Session},
	})
	if err != nil {
		return 0, executeError(s.Path, err)
	}
	return pid, nil
}

// executeError says what is missing where our own image cannot be executed: a root that
// somebody made for a server (chroot) may have no /proc.
func executeError(path string, err error) error {
	if path == Image && errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("execute own image: %w: /proc must be mounted (mount -t proc proc /proc)", err)
	}
	return fmt.Errorf("execute %s: %w", path, err)
}

// Become executes this process's own image again in its place: same pid, new
// argv and environment. Of the descriptors from 3 up only those in keep stay
// open. It returns only on failure.
func Become(argv, env []string, keep []int) error {
	if err := closeOnExecFrom(3); err != nil {
		return err
	}
	for _, fd := range keep {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep descriptor %d: %w", fd, err)
		}
	}
	if err := syscall.Exec(Image, argv, env); err != nil {
		return executeError(Image, err)
	}
	return nil
}

// KeepOwn keeps the descriptors that whoever started this process left open, but for the
// standard ones, from the programs that it executes.
func KeepOwn() error { return closeOnExecFrom(3) }

// closeOnExecFrom marks every descriptor from first up close-on-exec.
func closeOnExecFrom(first int) error {
	err := unix.CloseRange(uint(first), ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Linux before 5.11 has no such flag.
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open descriptors: %w", err)
	}
	for _, n := range names {
		if fd, err := strconv.Atoi(n.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Resolve returns the path of the file that argv0 names, as a shell in the
// directory dir would find it. The file need not exist.
func Resolve(argv0, dir string) string {
	switch {
	case filepath.IsAbs(argv0):
		return argv0
	case strings.Contains(argv0, "/"):
		return filepath.Join(dir, argv0)
	}
	if path, err := exec.LookPath(argv0); err == nil && filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, argv0)
}

// An Exit is how a process ended.
type Exit struct {
	Code   int            // when Signal is 0
	Signal syscall.Signal // 0: it exited by itself
	Core   bool           // a core was dumped
}

// String is nginx's wording.
func (e Exit) String() string {
	switch {
	case e.Signal != 0 && e.Core:
		return fmt.Sprintf("exited on signal %d (core dumped)", int(e.Signal))
	case e.Signal != 0:
		return fmt.Sprintf("exited on signal %d", int(e.Signal))
	}
	return fmt.Sprintf("exited with code %d", e.Code)
}

// Await returns when child process pid has ended. It leaves the pid taken, so
// that nobody can signal a stranger by it until [Reap] is called.
func Await(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
	}
}

// Reap frees the pid of a child process that has ended, and says how it ended.
// It waits when it has not.
func Reap(pid int) (Exit, error) {
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EINTR) {
			return Exit{}, fmt.Errorf("reap process %d: %w", pid, err)
		}
	}
	if ws.Signaled() {
		return Exit{Signal: ws.Signal(), Core: ws.CoreDump()}, nil
	}
	return Exit{Code: ws.ExitStatus()}, nil
}

// ReapStrangers frees the pids of children that have ended and that known does
// not know: processes that lost their parent come to process 1 of a container,
// which is us when we are started there.
func ReapStrangers(known func(pid int) bool) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return // the pattern is fine
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended, or the kernel has no such file
		}
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil && !known(pid) {
				// One that lives is left alone.
				_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			}
		}
	}
}

// IsOpen reports whether fd is a descriptor of this process.
func IsOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// ClearUmask lets the modes of the files that this process creates be what they
// are asked to be.
func ClearUmask() { syscall.Umask(0) }
