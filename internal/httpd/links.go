package httpd

import (
	"bytes"
	"strings"

	"github.com/baton-deploy/baton/internal/conf"
	"golang.org/x/sys/unix"
)

// What disable_symlinks allows.
const (
	linksFollow  = iota // off
	linksNone           // on: none in any part of the name
	linksOfOwner        // if_not_owner: only those that belong to the owner of what they point to
)

// A linkRule is a location's disable_symlinks.
type linkRule struct {
	mode int
	from Template // the part of the name that is not checked
}

// setLinks reads "disable_symlinks off | on | if_not_owner [from=part]".
func (b *Builder) setLinks(s *conf.Scope, f *fileSettings) error {
	d := s.One("disable_symlinks")
	if d == nil {
		return nil
	}
	chosen, from := "", false
	for _, a := range d.Args {
		value, isFrom := strings.CutPrefix(a, "from=")
		mode, known := linkModes[a]
		switch {
		case isFrom:
			from = true
			var err error
			if f.links.from, err = b.Template(d, value); err != nil {
				return err
			}
		case !known:
			return conf.Errorf(d, "invalid parameter \"%s\"", a)
		case chosen != "":
			return conf.Errorf(d, "duplicate parameters \"%s %s\"", chosen, a)
		default:
			chosen, f.links.mode = a, mode
		}
	}
	switch {
	case chosen == "":
		return conf.Errorf(d, "\"disable_symlinks\" must have \"off\", \"on\" or \"if_not_owner\" parameter")
	case from && f.links.mode == linksFollow:
		return conf.Errorf(d, "\"from=\" cannot be used with \"off\" parameter")
	}
	return nil
}

var linkModes = map[string]int{"off": linksFollow, "on": linksNone, "if_not_owner": linksOfOwner}

func cutParameter(arg string) (name, value string, ok bool) { return strings.Cut(arg, "=") }

// openChecked is OpenFile under a disable_symlinks. It opens the name part by
// part, each relative to the one before, so that nothing can be exchanged for a
// link between the check and the opening. The cache is not used: what it knows of
// a name says nothing of the links on the way.
func (r *Request) openChecked(path []byte) (File, OpenFault) {
	rule := &r.core().files.links
	name := path[:len(path)-1]
	trusted := 0
	if from := rule.from.Append(nil, r); len(from) > 0 && bytes.HasPrefix(name, from) {
		if len(from) == len(name) {
			f, _, fault := openFile(path) // nothing of it is to be checked
			return f, fault
		}
		trusted = len(bytes.TrimRight(from, "/"))
		if trusted < len(name) && name[trusted] != '/' {
			trusted = 0
		}
	}
	dir := unix.AT_FDCWD
	if trusted > 0 || len(name) > 0 && name[0] == '/' {
		start := "/"
		if trusted > 0 {
			start = string(name[:trusted])
		}
		fd, errno := openat(unix.AT_FDCWD, append([]byte(start), 0), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
		if errno != 0 {
			return File{FD: -1}, OpenFault{errno, "open()"}
		}
		dir = fd
	}
	fd, errno := walk(dir, name[trusted:], rule.mode)
	if errno != 0 {
		return File{FD: -1}, OpenFault{errno, "openat()"}
	}
	f, _, fault := statFD(fd)
	return f, fault
}

// walk opens name below dir, which it closes, for reading.
func walk(dir int, name []byte, mode int) (int, unix.Errno) {
	closeDir := func() {
		if dir != unix.AT_FDCWD {
			_ = unix.Close(dir)
		}
	}
	parts := bytes.FieldsFunc(name, func(c rune) bool { return c == '/' })
	if len(parts) == 0 || name[len(name)-1] == '/' {
		parts = append(parts, []byte(".")) // the part before it is a folder, or nothing is there
	}
	for i, part := range parts {
		flags := unix.O_PATH | unix.O_DIRECTORY
		if i == len(parts)-1 {
			flags = unix.O_RDONLY | unix.O_NONBLOCK
		}
		fd, errno := openPart(dir, append(bytes.Clone(part), 0), flags|unix.O_CLOEXEC, mode)
		closeDir()
		if errno != 0 {
			return -1, errno
		}
		dir = fd
	}
	return dir, 0
}

// openPart opens one part of a name.
func openPart(dir int, part []byte, flags, mode int) (int, unix.Errno) {
	fd, errno := openat(dir, part, flags|unix.O_NOFOLLOW)
	// With O_DIRECTORY a link is ENOTDIR.
	if errno == 0 || errno != unix.ELOOP && errno != unix.ENOTDIR {
		return fd, errno
	}
	var link, target unix.Stat_t
	name := string(part[:len(part)-1])
	if unix.Fstatat(dir, name, &link, unix.AT_SYMLINK_NOFOLLOW) != nil || link.Mode&unix.S_IFMT != unix.S_IFLNK {
		return -1, errno
	}
	if mode != linksOfOwner {
		return -1, errno // of a link to a folder 404, of one to a file 403
	}
	if fd, errno = openat(dir, part, flags); errno != 0 {
		return -1, errno
	}
	if err := unix.Fstat(fd, &target); err != nil || target.Uid != link.Uid {
		_ = unix.Close(fd)
		return -1, unix.ELOOP
	}
	return fd, 0
}
