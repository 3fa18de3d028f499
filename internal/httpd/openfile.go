package httpd

import (
	"unsafe"

	"github.com/baton-deploy/baton/internal/rawcall"
	"golang.org/x/sys/unix"
)

// A File is a file that was looked up by name: open for reading when it is a
// regular one. It is a plain value; Close must be called once.
type File struct {
	// FD is open for reading, or -1: directories and special files are not kept
	// open. It belongs to the File.
	FD int
	// Size in bytes and Modified in seconds since 1970.
	Size     int64
	Modified int64
	// Dir and Regular say what it is; neither for a device, a pipe, a socket.
	Dir, Regular bool
	// Mode is st_mode.
	Mode uint32

	cached *cachedFile
}

// Close lets go of the file. The descriptor must not be used afterwards.
func (f *File) Close() {
	switch {
	case f.cached != nil:
		f.cached.release()
		f.cached = nil
	case f.FD >= 0:
		rawcall.Close(f.FD)
	}
	f.FD = -1
}

// An OpenFault is why a file could not be had. The zero OpenFault is none.
type OpenFault struct {
	Errno unix.Errno
	Call  string // "open()", as nginx's log has it
}

// Status is what nginx answers for the fault.
func (f OpenFault) Status() int {
	switch f.Errno {
	case unix.ENOENT, unix.ENOTDIR, unix.ENAMETOOLONG:
		return 404
	case unix.EACCES, unix.EMLINK, unix.ELOOP:
		return 403
	}
	return 500
}

// Missing reports whether the fault says that there is no such file.
func (f OpenFault) Missing() bool { return f.Status() == 404 }

// LogFault writes the fault to the error log as nginx does, unless the file is
// only missing and log_not_found is off.
func (r *Request) LogFault(f OpenFault, path []byte) {
	level := levelError
	switch f.Status() {
	case 404:
		if !r.core().files.logMissing {
			return
		}
	case 500:
		level = levelCrit
	}
	if e := r.beginLog(level); e != nil {
		e.Text(f.Call)
		e.Text(" \"")
		e.Text(string(path))
		e.Text("\" failed")
		e.Cause(f.Errno)
		r.endLog(e, "")
	}
}

// OpenFile looks up the file at path, through open_file_cache where that is on.
// path must end in a NUL byte, which is not part of the name. When there is no
// fault the caller must Close the File.
func (r *Request) OpenFile(path []byte) (File, OpenFault) {
	files := &r.core().files
	if files.links.mode != linksFollow {
		return r.openChecked(path)
	}
	if files.cache != nil {
		return files.cache.open(files, path)
	}
	f, _, fault := openFile(path)
	return f, fault
}

// An identity tells one file from another that later has its name.
type identity struct{ dev, ino uint64 }

// openFile opens path and looks at what it is.
func openFile(path []byte) (File, identity, OpenFault) {
	// O_NONBLOCK: opening a pipe must not wait for its other end.
	fd, errno := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if errno != 0 {
		return File{FD: -1}, identity{}, OpenFault{errno, "open()"}
	}
	return statFD(fd)
}

// statFD makes a File of fd, which it owns from then on.
func statFD(fd int) (File, identity, OpenFault) {
	var st unix.Stat_t
	if errno := rawcall.Fstat(fd, &st); errno != 0 {
		rawcall.Close(fd)
		return File{FD: -1}, identity{}, OpenFault{errno, "fstat()"}
	}
	f := fileOf(&st)
	if f.Regular {
		f.FD = fd
	} else {
		rawcall.Close(fd)
	}
	return f, identity{st.Dev, st.Ino}, OpenFault{}
}

// statFile looks at path without opening it.
func statFile(path []byte) (File, identity, OpenFault) {
	var st unix.Stat_t
	for {
		_, _, errno := unix.Syscall6(unix.SYS_NEWFSTATAT, atCWD, uintptr(unsafe.Pointer(&path[0])),
			uintptr(unsafe.Pointer(&st)), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return File{FD: -1}, identity{}, OpenFault{errno, "stat()"}
		}
		return fileOf(&st), identity{st.Dev, st.Ino}, OpenFault{}
	}
}

func fileOf(st *unix.Stat_t) File {
	kind := st.Mode & unix.S_IFMT
	return File{
		FD: -1, Size: st.Size, Modified: st.Mtim.Sec,
		Mode: st.Mode, Dir: kind == unix.S_IFDIR, Regular: kind == unix.S_IFREG,
	}
}

// atCWD is AT_FDCWD as a system call's argument.
const atCWD = ^uintptr(99)

// openat is unix.Openat without the copy that it makes of each name: path ends in
// a NUL already.
func openat(dir int, path []byte, flags int) (int, unix.Errno) {
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
			uintptr(flags), 0, 0, 0)
		if errno != unix.EINTR {
			return int(fd), errno
		}
	}
}

// TestFile looks at what lies at path, which ends in a NUL as for OpenFile, without
// opening it. There is nothing to close.
func (r *Request) TestFile(path []byte) (File, OpenFault) {
	files := &r.core().files
	if files.links.mode == linksFollow && files.cache == nil {
		f, _, fault := statFile(path)
		return f, fault
	}
	f, fault := r.OpenFile(path)
	if fault.Errno == 0 {
		f.Close()
	}
	return f, fault
}

// LogsMissing is log_not_found.
func (l *Location) LogsMissing() bool { return l.core.files.logMissing }
