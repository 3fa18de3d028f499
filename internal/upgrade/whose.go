package upgrade

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/report"
)

// What root does to a server of another user it does with that user's rights and no
// others: the user owns what is looked at, believed, executed and renamed, and could have
// it be anything. actFor calls f so. With root's own rights nothing is done then but to look
// into that user's processes, see [lookInto], to open the new binary that root has named, see
// [openFor], and to copy file capabilities, see [grant].
func actFor(pidFile string, f func()) error {
	r, err := whose(pidFile)
	if err != nil {
		return err
	}
	return r.Use(f)
}

// whose returns the rights with which the server of a pid file is looked at: those of its
// master, for root, and for everybody else his own.
func whose(pidFile string) (proc.Rights, error) {
	self := proc.Rights{UID: os.Geteuid()}
	if self.UID != 0 {
		return self, nil
	}
	r, err := rightsOfNamed(pidFile)
	if err == nil && r == nil {
		r, err = rightsOfLeft(pidFile), nil
	}
	if err != nil || r == nil {
		return self, err
	}
	return *r, linksOf(filepath.Dir(pidFile), r.UID)
}

// rightsOfNamed returns the rights of the masters that a pid file and its .oldbin name; nil
// when none runs. The file of a user names processes of that user, and nobody else's.
func rightsOfNamed(pidFile string) (found *proc.Rights, err error) {
	for _, name := range []string{pidFile, pidFile + oldBin} {
		pid, owner, err := proc.ReadPidFileOf(name)
		if errors.Is(err, proc.ErrNotRegular) || errors.Is(err, proc.ErrTooLarge) {
			return nil, err
		}
		if err != nil {
			continue // what it lacks is told by who looks for the master
		}
		p, err := look(pid)
		if err != nil || p.zombie() || !p.isMaster() {
			continue
		}
		r, err := proc.RightsOf(pid)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("look into master process %d: %w", pid, err)
		case owner != 0 && owner != r.UID:
			return nil, fmt.Errorf("%s belongs to user %d and names process %d of user %d: it is not believed", name, owner, pid, r.UID)
		case found != nil && found.UID != r.UID:
			return nil, fmt.Errorf("%s and %s%s name masters of different users, %d and %d", pidFile, pidFile, oldBin, found.UID, r.UID)
		}
		found = &r
	}
	return found, nil
}

// rightsOfLeft returns the rights of the user that a server belonged to when it ran, or
// runs still without its pid file: whoever owns what it left beside that. nil when it left
// nothing.
func rightsOfLeft(pidFile string) *proc.Rights {
	for _, name := range []string{report.Path(pidFile), pidFile + journalSuffix, pidFile, pidFile + oldBin} {
		var st unix.Stat_t
		if unix.Lstat(name, &st) == nil {
			r := proc.RightsOfOwner(&st)
			return &r
		}
	}
	return nil
}

// RightsToRead returns the rights with which a file that root has named is read, and what it
// names in turn: those of its owner. Everybody else reads with his own.
func RightsToRead(path string) (proc.Rights, error) {
	self := proc.Rights{UID: os.Geteuid()}
	var st unix.Stat_t
	if self.UID != 0 || unix.Stat(path, &st) != nil {
		return self, nil //nolint:nilerr // that it is not there is told by who reads it
	}
	return proc.RightsOfOwner(&st), linksOf(path, int(st.Uid))
}

// linksOf finds a link on the way to a file or folder that belongs to another user than root
// and user uid: it could lead to another server than the one that was meant.
func linksOf(path string, uid int) error {
	links, _, err := wayTo(path)
	if err != nil {
		return nil //nolint:nilerr // who needs what is there is told that it is not
	}
	for _, l := range links {
		var st unix.Stat_t
		if unix.Lstat(l.path, &st) == nil && st.Uid != 0 && int(st.Uid) != uid {
			return fmt.Errorf("%s is a link of user %d on the way to a server of user %d: it is not followed", l.path, st.Uid, uid)
		}
	}
	return nil
}

// openFor opens the new binary that root has named for the user whose server it is, who
// may not be able to: it may lie in root's home. Its content becomes that user's to read, so
// it is opened only when it is a program, and when nobody had a hand in what the name leads
// to but its owner and root. nil leaves it to that user.
func openFor(path string) *os.File {
	if os.Geteuid() != 0 {
		return nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	links, real, err := wayTo(path)
	if err != nil {
		return nil
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, real, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil
	}
	held := os.NewFile(uintptr(fd), path)
	defer held.Close()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || !onlyOf(real, links, st.Uid) {
		return nil
	}
	f, err := proc.OpenRegular(heldPath(held), os.O_RDONLY)
	if err != nil {
		return nil
	}
	magic := make([]byte, 4)
	if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != "\x7fELF" {
		f.Close()
		return nil
	}
	return f
}

// onlyOf reports whether all folders and links on the way to a file are root's or user
// uid's.
func onlyOf(real string, links []link, uid uint32) bool {
	var way []string
	for dir := real; dir != "/"; dir = filepath.Dir(dir) {
		way = append(way, filepath.Dir(dir))
	}
	for _, l := range links {
		way = append(way, l.path)
		if dir := filepath.Dir(l.path); !strings.HasPrefix(real, dir+"/") {
			way = append(way, dir)
		}
	}
	for _, path := range way {
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || st.Uid != 0 && st.Uid != uid {
			return false
		}
	}
	return true
}
