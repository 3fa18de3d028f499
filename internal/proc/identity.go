package proc

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// An Identity is the user that workers run as.
type Identity struct {
	Name   string `json:"name"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups"`
}

// Lookup resolves a user and a group; group "" is the user's primary one. The
// errors are nginx's.
func Lookup(name, group string) (*Identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("getpwnam(%q) failed", name)
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, fmt.Errorf("getgrnam(%q) failed", group)
		}
		u.Gid = g.Gid // GroupIds counts it among the user's groups, and not the primary one
	}
	id := &Identity{Name: name}
	if id.UID, err = strconv.Atoi(u.Uid); err == nil {
		id.GID, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		return nil, fmt.Errorf("look up user %q: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("look up groups of %q: %w", name, err)
	}
	id.Groups = []int{id.GID}
	for _, s := range ids {
		if n, err := strconv.Atoi(s); err == nil && n != id.GID {
			id.Groups = append(id.Groups, n)
		}
	}
	return id, nil
}

// Assume makes this process, all its threads, run as id for good.
func (id *Identity) Assume() error {
	if err := syscall.Setgroups(id.Groups); err != nil {
		return fmt.Errorf("initgroups(%s, %d) failed (%w)", id.Name, id.GID, Errno(err))
	}
	if err := syscall.Setgid(id.GID); err != nil {
		return fmt.Errorf("setgid(%d) failed (%w)", id.GID, Errno(err))
	}
	if err := syscall.Setuid(id.UID); err != nil {
		return fmt.Errorf("setuid(%d) failed (%w)", id.UID, Errno(err))
	}
	// A process that changed its user may not look into its own /proc files nor
	// dump core; a worker may do both, as nginx's.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_DUMPABLE) failed (%w)", Errno(err))
	}
	return nil
}

// LimitFiles sets the limit of open descriptors, soft and hard.
func LimitFiles(n uint64) error {
	if n == 0 {
		return errors.New("limit of open files is 0")
	}
	l := syscall.Rlimit{Cur: n, Max: n}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("setrlimit(RLIMIT_NOFILE, %d) failed (%w)", n, Errno(err))
	}
	return nil
}

// maxRoom bounds the memory that RoomForFiles takes: eight bytes for each descriptor.
const maxRoom = 1 << 16

// RoomForFiles makes the kernel's table of this process's descriptors large enough
// for n of them, as far as their limit allows and within reason.
//
// The table grows by itself when descriptors come, but in a process of several threads
// each time it does the thread that needs it sleeps until all processors have been
// elsewhere (synchronize_rcu, about ten milliseconds), and so does whoever needs a
// descriptor then. A process that is given hundreds of connections at once would
// stand still three or four times. The call itself takes as long, once.
func RoomForFiles(n uint64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("getrlimit(RLIMIT_NOFILE) failed (%w)", Errno(err))
	}
	last := min(n, l.Cur, maxRoom) - 1
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, int(last))
	if err != nil {
		return fmt.Errorf("fcntl(F_DUPFD_CLOEXEC, %d) failed (%w)", last, Errno(err))
	}
	return unix.Close(fd)
}

// LimitCore sets the limit of a core file's size, soft and hard, in bytes.
func LimitCore(n uint64) error {
	l := syscall.Rlimit{Cur: n, Max: n}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &l); err != nil {
		return fmt.Errorf("setrlimit(RLIMIT_CORE, %d) failed (%w)", n, Errno(err))
	}
	return nil
}

// Privileged reports whether this process may change its user.
func Privileged() bool { return os.Geteuid() == 0 }
