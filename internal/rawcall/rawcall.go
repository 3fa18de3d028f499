// Package rawcall makes system calls that never wait, without telling Go's scheduler.
// Telling it costs more than the time that the call takes: it wakes the runtime's watching
// thread, and on one core each wake-up is two switches of context; and whenever another
// process has the core for a moment in the middle of a call, the scheduler takes the
// processor away from the thread and gives it to another one.
//
// A thread inside such a call cannot be stopped for the garbage collector, so only
// what is over in microseconds belongs here: reads and writes of sockets that are
// non-blocking, up to [MaxBytes] at once, fstat of an open file, close of one that is only
// read, and a few lines for a log. What may wait for a disk (open, pread, sendfile) does not.
//
// It knows descriptors and bytes, and nothing of what they are for. A call that a signal
// interrupts is made again. The caller keeps the descriptor open during the call.
package rawcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxBytes bounds what one call copies.
const MaxBytes = 64 << 10

// Recv is recv(2) from a non-blocking socket; read(2) takes a tenth longer to
// find out that it is one. It reads at most [MaxBytes] into p and returns how many bytes
// came, 0 at the end; unix.EAGAIN is the error when there are none yet.
func Recv(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(len(p), MaxBytes)]
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN: // as it is: no allocation, and what callers compare with
			return -1, unix.EAGAIN
		default:
			return -1, errno
		}
	}
}

// WouldBlock reports whether a read from a non-blocking socket would find neither
// input nor its end nor an error.
func WouldBlock(fd int) bool {
	var b [1]byte
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), 1, unix.MSG_PEEK, 0, 0)
		if errno != unix.EINTR {
			return errno == unix.EAGAIN
		}
	}
}

// Send is send(2) to a non-blocking socket. It returns how many bytes were written, at
// most [MaxBytes]; unix.EAGAIN is the error when there is no room. flags are MSG_MORE or 0.
func Send(fd int, p []byte, flags uintptr) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(len(p), MaxBytes)]
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])),
			uintptr(len(p)), flags|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

// Send2 is [Send] of two slices, neither of them empty, in one call. It returns how many
// bytes of both were written, at most [MaxBytes].
func Send2(fd int, a, b []byte) (int, error) {
	if len(a) >= MaxBytes {
		return Send(fd, a, 0)
	}
	b = b[:min(len(b), MaxBytes-len(a))]
	iov := [2]unix.Iovec{{Base: &a[0], Len: uint64(len(a))}, {Base: &b[0], Len: uint64(len(b))}}
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return -1, errno
		}
	}
}

// Write is write(2) to a regular file, of 1 to [MaxBytes] bytes. It returns how
// much was written, 0 for an error.
func Write(fd int, p []byte) int {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n)
		case unix.EINTR:
		default:
			return 0
		}
	}
}

// Fstat is fstat(2) of an open file. It returns 0 or the error.
func Fstat(fd int, st *unix.Stat_t) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(st)), 0)
	return errno
}

// Close is close(2) of a file that was open for reading.
func Close(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }
