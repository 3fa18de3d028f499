package shm

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/proc"
)

// A zone begins with a head, which the master writes when it creates the zone. Numbers are
// native; everything behind the head is zero in the beginning, which is an empty store.
//
//	offset size
//	0      8    "batonshm"
//	8      4    version of the head, always 1
//	12     4    version of what follows, see Store
//	16     8    size of the zone in bytes, the head included
//	24     16   secret of the hashes of keys
//	40     32   kind: what it holds, padded with zeros
//	72     8    lock: the owner, 0 for none; see lock
//	80     4    1 when somebody waits for the lock
//	84     4    1 when the store is to be repaired
//	88     40   zero
//	128         the store
const (
	magic       = "batonshm"
	headVersion = 1

	headSecret  = 24
	headKind    = 40
	headLock    = 72
	headWaiting = 80
	headRepair  = 84
	headBytes   = 128

	maxKind = headLock - headKind
)

// ErrUnknown is what [Check] returns for memory that is no zone, or one of a version that
// this release does not know.
var ErrUnknown = errors.New("not a zone that is known here")

// newHead returns the head of a zone.
func newHead(size int, kind string) ([]byte, error) {
	if len(kind) > maxKind || strings.Contains(kind, "\x00") {
		return nil, fmt.Errorf("kind %q does not fit", kind)
	}
	b := make([]byte, headBytes)
	copy(b, magic)
	binary.NativeEndian.PutUint32(b[8:], headVersion)
	binary.NativeEndian.PutUint32(b[12:], storeVersion)
	binary.NativeEndian.PutUint64(b[16:], uint64(size))
	copy(b[headKind:headLock], kind)
	if _, err := rand.Read(b[headSecret:headKind]); err != nil {
		return nil, err
	}
	return b, nil
}

// Create returns a descriptor of a zone of at least size bytes for entries of this kind. It
// is sealed: nobody can change its size. The caller owns the descriptor.
func Create(name string, size int64, kind string) (fd int, err error) {
	size = pages(size)
	head, err := newHead(int(size), kind)
	if err != nil {
		return -1, fmt.Errorf("create zone %s: %w", name, err)
	}
	if fd, err = proc.Shared("zone "+shortened(name), int(size)); err != nil {
		return -1, err
	}
	n, err := unix.Pwrite(fd, head, 0)
	if err == nil && n < len(head) {
		err = io.ErrShortWrite
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("create zone %s: write head: %w", name, err)
	}
	return fd, nil
}

// shortened is a name that memfd_create(2) takes: it allows 249 bytes.
func shortened(name string) string { return name[:min(len(name), 200)] }

// pages rounds a size up to whole pages.
func pages(size int64) int64 {
	page := int64(unix.Getpagesize())
	return (size + page - 1) / page * page
}

// Check reports whether fd is a zone of this size and kind that this release understands:
// nil, or an error that wraps [ErrUnknown], or that of a system call.
func Check(fd int, size int64, kind string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at zone: %w", err)
	}
	switch {
	case st.Size != pages(size):
		return fmt.Errorf("%w: it has %d bytes", ErrUnknown, st.Size)
	case !proc.KeepsSize(fd):
		return fmt.Errorf("%w: its size can be changed", ErrUnknown)
	}
	b := make([]byte, headBytes)
	if n, err := unix.Pread(fd, b, 0); err != nil {
		return fmt.Errorf("read head of zone: %w", err)
	} else if n < len(b) {
		return fmt.Errorf("%w: its head is damaged", ErrUnknown)
	}
	head, store := binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint32(b[12:])
	switch {
	case string(b[:8]) != magic:
		return fmt.Errorf("%w: it has no head", ErrUnknown)
	case head != headVersion || store != storeVersion:
		return fmt.Errorf("%w: it is of version %d.%d", ErrUnknown, head, store)
	case binary.NativeEndian.Uint64(b[16:]) != uint64(st.Size):
		return fmt.Errorf("%w: its head is damaged", ErrUnknown)
	case strings.TrimRight(string(b[headKind:headLock]), "\x00") != kind:
		return fmt.Errorf("%w: it holds something else", ErrUnknown)
	}
	return nil
}
