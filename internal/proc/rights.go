package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights are those of a user: what the kernel lets a process of the user do.
type Rights struct {
	UID, GID int
	Groups   []int
}

// ErrMixed says that a process has rights of several users, as a program that is
// set-user-ID has.
var ErrMixed = errors.New("it has rights of several users")

// RightsOf returns the rights of process pid, without its capabilities. That it does not
// exist is an error that wraps [os.ErrNotExist]; that it has rights of several users is
// [ErrMixed].
func RightsOf(pid int) (Rights, error) { return ReadRights(fmt.Sprintf("/proc/%d", pid)) }

// ReadRights is [RightsOf] for the process whose folder in /proc is dir.
func ReadRights(dir string) (r Rights, err error) {
	text, err := os.ReadFile(dir + "/status")
	if errors.Is(err, unix.ESRCH) {
		err = os.ErrNotExist // it ended between open and read
	}
	if err != nil {
		return r, fmt.Errorf("read rights: %w", err)
	}
	ids := map[string][]int{}
	for line := range bytes.Lines(text) {
		name, values, _ := strings.Cut(string(line), ":")
		if name != "Uid" && name != "Gid" && name != "Groups" {
			continue
		}
		for word := range strings.FieldsSeq(values) {
			n, err := strconv.Atoi(word)
			if err != nil {
				return r, fmt.Errorf("read rights: %w", err)
			}
			ids[name] = append(ids[name], n)
		}
	}
	uid, gid := ids["Uid"], ids["Gid"] // real, effective, saved, of the file system
	if len(uid) != 4 || len(gid) != 4 {
		return r, fmt.Errorf("read rights: %s/status does not tell the user", dir)
	}
	for i := range uid {
		if uid[i] != uid[0] || gid[i] != gid[0] {
			return r, ErrMixed
		}
	}
	return Rights{uid[0], gid[0], ids["Groups"]}, nil
}

// RightsOfOwner returns the rights of the user that a file belongs to.
func RightsOfOwner(st *unix.Stat_t) Rights {
	r := Rights{UID: int(st.Uid), GID: int(st.Gid)}
	u, err := user.LookupId(strconv.Itoa(r.UID))
	if err != nil {
		return r // nobody's by name
	}
	if gid, err := strconv.Atoi(u.Gid); err == nil {
		r.GID = gid
	}
	names, err := u.GroupIds()
	if err != nil {
		return r
	}
	for _, name := range names {
		if gid, err := strconv.Atoi(name); err == nil {
			r.Groups = append(r.Groups, gid)
		}
	}
	return r
}

// Use calls f with these rights and no others, on a thread of its own that ends with f:
// what f itself opens, writes, executes and signals the kernel judges by them. Goroutines
// that f starts have the rights of this process. Where these are f's rights already, f is
// called as it is.
func (r Rights) Use(f func()) error {
	if os.Geteuid() == r.UID {
		f()
		return nil
	}
	ended := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and the runtime starts no
		// other thread from one that is locked.
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The first thread never ends, and stands for the process: while it waits here
			// another one is found.
			defer runtime.UnlockOSThread()
			ended <- r.Use(f)
			return
		}
		err := r.assumeHere()
		if err == nil {
			f()
		}
		ended <- err
	}()
	return <-ended
}

// assumeHere gives this thread the rights, for good. The calls are the kernel's own, which
// are about one thread; those of package syscall are about all.
func (r Rights) assumeHere() error {
	groups := make([]uint32, 0, len(r.Groups)+1)
	for _, g := range r.Groups {
		groups = append(groups, uint32(g))
	}
	first := unsafe.Pointer(unsafe.SliceData(groups))
	if _, _, no := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); no != 0 {
		return fmt.Errorf("take the groups of user %d: %w", r.UID, no)
	}
	if _, _, no := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(r.GID), uintptr(r.GID), uintptr(r.GID)); no != 0 {
		return fmt.Errorf("take the group of user %d: %w", r.UID, no)
	}
	if _, _, no := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(r.UID), uintptr(r.UID), uintptr(r.UID)); no != 0 {
		return fmt.Errorf("take the rights of user %d: %w", r.UID, no)
	}
	// The kernel has taken the capabilities away, unless it was told to leave them.
	var none [2]unix.CapUserData
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("give up capabilities for user %d: %w", r.UID, err)
	}
	return nil
}

// Aside calls f with the rights that this process has, where [Rights.Use] has taken them
// from the caller, and returns when f has.
func Aside(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}
