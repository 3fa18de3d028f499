package proc

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Sealed returns a descriptor of anonymous memory that holds data and can never
// be changed. The caller owns the descriptor.
func Sealed(name string, data []byte) (fd int, err error) {
	fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("create memory %s: %w", name, err)
	}
	for off := 0; off < len(data) && err == nil; {
		var n int
		n, err = unix.Pwrite(fd, data[off:], int64(off))
		off += n
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
			keepsSize|unix.F_SEAL_WRITE)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("fill memory %s: %w", name, err)
	}
	return fd, nil
}

// ReadSealed returns the content of memory made by [Sealed], of at most limit bytes. f
// stays the caller's.
func ReadSealed(f *os.File, limit int64) ([]byte, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read memory: %w", err)
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("read memory: %d bytes, %d at most", fi.Size(), limit)
	}
	// All processes share the descriptor's position: read by offset.
	data := make([]byte, fi.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, fi.Size()), data); err != nil {
		return nil, fmt.Errorf("read memory: %w", err)
	}
	return data, nil
}

// keepsSize is what keeps memory as large as it is, for ever.
const keepsSize = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

// Shared returns a descriptor of zeroed anonymous memory of size bytes, to be
// mapped by several processes. None of them can change its size: to touch memory that
// somebody else has cut off is the end of a process. The caller owns the descriptor.
func Shared(name string, size int) (fd int, err error) {
	fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("create memory %s: %w", name, err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("size memory %s: %w", name, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, keepsSize); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("seal memory %s: %w", name, err)
	}
	return fd, nil
}

// KeepsSize reports whether fd is memory whose size nobody can change, as [Shared] makes
// it.
func KeepsSize(fd int) bool {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	return err == nil && seals&keepsSize == keepsSize
}

// Map maps the first size bytes of f for reading and writing, shared with every
// process that does the same. f may be closed afterwards.
func Map(f *os.File, size int) ([]byte, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	var mem []byte
	if cerr := rc.Control(func(fd uintptr) {
		mem, err = unix.Mmap(int(fd), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}); cerr != nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	return mem, nil
}
