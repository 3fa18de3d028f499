package tree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrGone says that the process asked about does not exist any more.
var ErrGone = errors.New("process is gone")

// A Process is what /proc said about one process at one moment.
type Process struct {
	PID   int
	PPID  int
	State byte   // as in proc_pid_stat(5): R, S, D, Z, T, …
	Start uint64 // clock ticks after boot; with PID it names a process for good
	Comm  string // what ps -C, pgrep and killall compare
	Title string // the command line as ps shows it; "" for a zombie
	RSS   int64  // resident memory in bytes
}

// Zombie reports whether the process has exited and was not waited for yet.
func (p Process) Zombie() bool { return p.State == 'Z' || p.State == 'X' }

// Look returns the process pid, or an error wrapping [ErrGone].
func Look(pid int) (Process, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Process{}, fmt.Errorf("look at process %d: %w", pid, ErrGone)
	}
	p, err := parseStat(stat)
	if err != nil {
		return Process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return p.withTitle(), nil
}

// parseStat reads a line of /proc/PID/stat. The second field, the name, may
// hold blanks and parentheses: the last parenthesis closes it.
func parseStat(line []byte) (Process, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return Process{}, fmt.Errorf("parse stat: no name in %q", line)
	}
	fields := strings.Fields(string(line[end+1:]))
	if len(fields) < 22 {
		return Process{}, fmt.Errorf("parse stat: %d fields in %q", len(fields), line)
	}
	pid, err1 := strconv.Atoi(strings.TrimSpace(string(line[:open])))
	ppid, err2 := strconv.Atoi(fields[1])
	start, err3 := strconv.ParseUint(fields[19], 10, 64)
	pages, err4 := strconv.ParseInt(fields[21], 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Process{}, fmt.Errorf("parse stat: %w", err)
	}
	return Process{
		PID: pid, PPID: ppid, State: fields[0][0], Start: start,
		Comm: string(line[open+1 : end]), RSS: pages * int64(os.Getpagesize()),
	}, nil
}

// withTitle returns p with its command line, read now.
func (p Process) withTitle() Process {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "cmdline"))
	if err != nil {
		return p // it left meanwhile; what stat said stays true of that moment
	}
	line = bytes.TrimRight(line, "\x00 ")
	p.Title = string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
	return p
}

// Descendants returns every process below root, zombies included: children in
// the order they were started, each directly followed by its own descendants.
func Descendants(root int) ([]Process, error) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	below := make(map[int][]Process)
	for _, name := range names {
		if _, err := strconv.Atoi(name.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", name.Name(), "stat"))
		if err != nil {
			continue // it left between the listing and now
		}
		p, err := parseStat(stat)
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		below[p.PPID] = append(below[p.PPID], p)
	}
	return inOrder(below, root, nil), nil
}

// inOrder appends the descendants of root to found, depth first.
func inOrder(below map[int][]Process, root int, found []Process) []Process {
	children := below[root]
	slices.SortFunc(children, func(a, b Process) int {
		if a.Start != b.Start {
			return int(int64(a.Start) - int64(b.Start))
		}
		return a.PID - b.PID
	})
	for _, p := range children {
		found = append(found, p.withTitle())
		found = inOrder(below, p.PID, found)
	}
	return found
}

// Signal sends sig to exactly the process that p was read from: a later one
// that got the same number is left alone, and the error wraps [ErrGone].
func (p Process) Signal(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return p.gone(sig, err)
	}
	defer unix.Close(fd)
	// The descriptor pins whatever has the number now; only then compare.
	now, err := Look(p.PID)
	if err != nil || now.Start != p.Start {
		return p.gone(sig, unix.ESRCH)
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		return p.gone(sig, err)
	}
	return nil
}

func (p Process) gone(sig syscall.Signal, err error) error {
	if errors.Is(err, unix.ESRCH) {
		err = ErrGone
	}
	return fmt.Errorf("send signal %d to process %d: %w", sig, p.PID, err)
}

// Descriptors returns what each open descriptor of the process points at, by
// number, as the links in /proc/PID/fd say.
func (p Process) Descriptors() (map[int]string, error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.PID), "fd")
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list descriptors of process %d: %w", p.PID, err)
	}
	open := make(map[int]string, len(names))
	for _, name := range names {
		fd, err := strconv.Atoi(name.Name())
		if err != nil {
			continue
		}
		target, err := os.Readlink(filepath.Join(dir, name.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		open[fd] = target
	}
	return open, nil
}
