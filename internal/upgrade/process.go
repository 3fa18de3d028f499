package upgrade

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// errGone says that a process is not there, or not any more.
var errGone = errors.New("no such process")

// ticks is how many of the kernel's clock ticks /proc counts for a second: on Linux
// always USER_HZ, which is 100 on every architecture that Go has.
const ticks = 100

// A process is what /proc said about one process at one moment.
type process struct {
	pid, ppid int
	state     byte   // as in proc_pid_stat(5)
	start     uint64 // in ticks since boot; with pid it names a process for good
	argv      []string
	title     string // the command line as ps shows it
	uid       int    // -1: it has rights of several users, or is gone
}

// zombie reports whether the process has ended and was not waited for yet.
func (p process) zombie() bool { return p.state == 'Z' || p.state == 'X' }

// look returns process pid, or an error wrapping [errGone].
func look(pid int) (process, error) {
	p, err := readStat(pid)
	if err != nil {
		return process{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	p.name()
	return p, nil
}

// readStat reads all of a process but what its command line says.
func readStat(pid int) (process, error) {
	line, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return process{}, errGone
	}
	// The second field, the name, may hold blanks and parentheses: the last
	// parenthesis closes it.
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	if len(fields) < 20 {
		return process{}, fmt.Errorf("parse %q: too few fields", line)
	}
	p := process{pid: pid, state: fields[0][0]}
	var errs [2]error
	p.ppid, errs[0] = strconv.Atoi(fields[1])
	p.start, errs[1] = strconv.ParseUint(fields[19], 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return process{}, fmt.Errorf("parse %q: %w", line, err)
	}
	return p, nil
}

// name reads the command line and the owner. A process that ended meanwhile has
// none: what stat said stays true of that moment.
func (p *process) name() {
	if line, err := os.ReadFile(procPath(p.pid, "cmdline")); err == nil {
		line = bytes.TrimRight(line, "\x00 ")
		if len(line) > 0 {
			p.argv = strings.Split(string(line), "\x00")
		}
		p.title = strings.Join(p.argv, " ")
	}
	p.uid = -1
	if r, err := proc.RightsOf(p.pid); err == nil {
		p.uid = r.UID
	}
}

// ours reports whether the process is that of the user with whose rights the caller looks.
// What it runs and says of itself is believed only then.
func (p process) ours() bool { return p.uid == os.Geteuid() }

// lookInto calls f with the folder of process pid in /proc. A process that has capabilities
// may be looked into by root alone: so where the caller has the rights of a user only
// because root has given up its own, f has those of root, for processes of that user and of
// nobody else. The folder is that of this one process, whoever gets its number.
func lookInto(pid int, f func(dir string) error) (err error) {
	uid := os.Geteuid()
	proc.Aside(func() {
		if os.Geteuid() == uid {
			err = f(procPath(pid))
			return
		}
		fd, oerr := unix.Open(procPath(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if oerr != nil {
			err = &os.PathError{Op: "open", Path: procPath(pid), Err: oerr}
			return
		}
		defer unix.Close(fd)
		dir := descriptorPath(fd)
		if err = isOf(dir, uid); err == nil {
			err = f(dir)
		}
		if err == nil {
			err = isOf(dir, uid) // it may have executed something meanwhile
		}
	})
	return err
}

// isOf finds that the process whose folder in /proc is dir has other rights than those of
// user uid.
func isOf(dir string, uid int) error {
	r, err := proc.ReadRights(dir)
	if err == nil && r.UID != uid || errors.Is(err, proc.ErrMixed) {
		return fmt.Errorf("%w: it is not of user %d", fs.ErrPermission, uid)
	}
	return err
}

// link returns where a link in a process's folder in /proc leads.
func (p process) link(name ...string) (to string, err error) {
	err = lookInto(p.pid, func(dir string) error {
		to, err = os.Readlink(filepath.Join(append([]string{dir}, name...)...))
		return err
	})
	return to, err
}

// hold opens what a link in a process's folder in /proc leads to, to be looked at and
// opened again by the descriptor's own name, and no more.
func (p process) hold(name string) (f *os.File, err error) {
	err = lookInto(p.pid, func(dir string) error {
		fd, err := unix.Open(filepath.Join(dir, name), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: procPath(p.pid, name), Err: err}
		}
		f = os.NewFile(uintptr(fd), procPath(p.pid, name))
		return nil
	})
	if err != nil && f != nil {
		f.Close()
		f = nil
	}
	return f, err
}

// openFile opens a regular file that the process has open, with the rights of the caller.
func (p process) openFile(name string) (*os.File, error) {
	held, err := p.hold(name)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	return proc.OpenRegular(heldPath(held), os.O_RDONLY)
}

// heldPath returns a name of what is held: as long as it is.
func heldPath(held *os.File) string {
	fd, err := proc.FD(held)
	if err != nil {
		return held.Name() // it was closed: whoever uses the name is told
	}
	return descriptorPath(fd)
}

// descriptorPath is a name of what a descriptor of this process is of, and of a child that
// has not executed anything yet.
func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// identify returns the file behind a link in a process's folder in /proc.
func (p process) identify(name string) (id fileID, err error) {
	err = lookInto(p.pid, func(dir string) error {
		id, err = identify(filepath.Join(dir, name))
		return err
	})
	return id, err
}

// children returns the living children of every process in pids, by parent.
func children(pids ...int) (map[int][]process, error) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	found := make(map[int][]process)
	for _, pid := range pids {
		found[pid] = nil
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		p, err := readStat(pid)
		if err != nil || p.zombie() {
			continue // it left since the listing
		}
		if _, wanted := found[p.ppid]; !wanted {
			continue
		}
		p.name()
		found[p.ppid] = append(found[p.ppid], p)
	}
	return found, nil
}

// processesOf returns the processes that run the file id, whatever became of its name.
func processesOf(id fileID) (found []process) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		// Others than our own cannot be looked at, and a zombie runs nothing.
		if image, err := (process{pid: pid}).identify("exe"); err != nil || image != id {
			continue
		}
		if p, err := look(pid); err == nil {
			found = append(found, p)
		}
	}
	return found
}

// age returns for how long the process has run.
func (p process) age() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0 // no kernel without it starts Go programs
	}
	return time.Duration(now.Nano()) - time.Duration(p.start)*time.Second/ticks
}

// same reports whether the process that p was read from still lives, as what it was: a
// master that has become a keeper is gone.
func (p process) same() bool {
	now, err := readStat(p.pid)
	return err == nil && now.start == p.start && !now.zombie() && !(p.isMaster() && proc.IsKeeper(p.pid))
}

// A fileID is a file, whatever it is called.
type fileID struct{ dev, ino uint64 }

// identify returns the file behind path, through links, also those in /proc that
// lead to a file without a name.
func identify(path string) (fileID, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return fileID{}, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	return fileID{st.Dev, st.Ino}, nil
}

func procPath(pid int, elem ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(pid)}, elem...)...)
}

// denied words a refusal of the kernel to let us look into a process.
func (p process) denied(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	switch {
	case p.uid < 0:
		return fmt.Errorf("%w: process %d has rights of several users", err, p.pid)
	case p.ours() && p.uid == 0:
		return err
	case p.ours():
		return fmt.Errorf("%w: process %d is yours and has more rights than you have (capabilities of its file?); do it as root", err, p.pid)
	}
	return fmt.Errorf("%w: process %d belongs to user %d and you are user %d; do it as that user or as root",
		err, p.pid, p.uid, os.Geteuid())
}
