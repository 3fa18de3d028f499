package proc

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// openOwn opens path without following a symbolic link that is another user's than root's
// or that of this process, in any part of path: whoever may put a link into a folder must
// not choose which file this process creates, changes or gives away. The error is ELOOP
// then, as nginx's disable_symlinks has it. It never waits for the other end of a FIFO.
//
// Nothing is asked by name twice, so that it does not matter who renames what meanwhile.
// The caller owns the descriptor, which is close-on-exec. ours tells that nobody else may
// rename what is in the folder where it lies.
func openOwn(path string, flags int, mode uint32) (fd int, ours bool, err error) {
	flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	w := walk{dir: unix.AT_FDCWD, uid: uint32(os.Geteuid())}
	defer w.leave()
	w.ahead(path)
	for {
		name, last := w.next()
		if last {
			fd, err = w.open(name, flags, mode)
		} else {
			fd, err = -1, w.enter(name)
		}
		if fd >= 0 || err != nil {
			return fd, w.ours(), err
		}
	}
}

// A walk is on its way through the folders of a path.
type walk struct {
	dir   int      // descriptor of the folder that it is in
	rest  []string // names that are still to be entered, the last one is what is looked for
	links int
	uid   uint32
}

func (w *walk) leave() {
	if w.dir >= 0 {
		_ = unix.Close(w.dir) // nothing was written
	}
}

func (w *walk) move(dir int) {
	w.leave()
	w.dir = dir
}

// ahead puts the names of path in front of what is left, at the root when it is absolute.
func (w *walk) ahead(path string) {
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(names) == 0 {
		names = []string{"."}
	}
	if strings.HasSuffix(path, "/") {
		names[len(names)-1] += "/"
	}
	if filepath.IsAbs(path) {
		names[0] = "/" + names[0]
	}
	w.rest = append(names, w.rest...)
}

// next takes the next name.
func (w *walk) next() (name string, last bool) {
	name, w.rest = w.rest[0], w.rest[1:]
	return name, len(w.rest) == 0
}

// enter goes into folder name, or looks where a link of that name leads.
func (w *walk) enter(name string) error {
	fd, err := openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	target, err := w.link(fd)
	if target == "" && err == nil {
		w.move(fd) // what is no folder fails with the next name
		return nil
	}
	_ = unix.Close(fd)
	if err == nil {
		w.ahead(target)
	}
	return err
}

// open opens name, the last one. When it is a link the walk goes on where it leads, and fd
// is -1; a link of /proc has no path and is followed at once.
func (w *walk) open(name string, flags int, mode uint32) (fd int, err error) {
	fd, err = openat(w.dir, name, flags|unix.O_NOFOLLOW, mode)
	if err != unix.ELOOP && err != unix.ENOTDIR { // what a link is told, depending on flags
		return fd, err
	}
	at, lerr := openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if lerr != nil {
		return -1, lerr
	}
	defer func() { _ = unix.Close(at) }()
	target, lerr := w.link(at)
	switch {
	case lerr != nil:
		return -1, lerr
	case target == "":
		return -1, err
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(at, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC {
		return openat(w.dir, name, flags, mode)
	}
	w.ahead(target)
	return -1, nil
}

func openat(dir int, name string, flags int, mode uint32) (fd int, err error) {
	for {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// ours reports whether only root and the user of this process may rename what is in the
// folder where the walk is.
func (w *walk) ours() bool {
	var st unix.Stat_t
	if unix.Fstatat(w.dir, "", &st, unix.AT_EMPTY_PATH) != nil {
		return false
	}
	return (st.Uid == 0 || st.Uid == w.uid) && (st.Mode&0o022 == 0 || st.Mode&unix.S_ISVTX != 0)
}

// link returns where fd leads, "" when it is no link, an error when it may not be followed.
func (w *walk) link(fd int) (target string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", nil
	}
	w.links++
	if w.links > maxLinks || st.Uid != 0 && st.Uid != w.uid {
		return "", unix.ELOOP
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", unix.ENOENT
	}
	return string(buf[:n]), nil
}
