package conf

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// latePatience and maxLate bound a file that a worker reads for one connection.
	latePatience = 5 * time.Second
	maxLate      = 1 << 20
)

// ReadLate returns what is in a file now, relative to the folder of the main
// configuration file. It is for files whose names are known only when they are needed:
// they are not part of the snapshot, and the process needs the right to read them. A file
// that is too large, or that keeps its reader waiting, is an error.
func (c *Config) ReadLate(path string) ([]byte, error) {
	name := c.AbsConf(path)
	data, _, err := readWithin(name, maxLate, latePatience, latePatience)
	if err == nil && len(data) > maxLate {
		return nil, fmt.Errorf("read file %q: it is larger than %d MB", name, maxLate>>20)
	}
	return data, err
}

// readWithin returns the content of a file, of which it reads at most one byte more than
// most, or an error in nginx's words. It returns in time, whatever the file is: wait bounds
// how long it waits for somebody to write, to a FIFO or a terminal, and limit how long for
// the kernel, where a file may be that of a server that is gone. slow is how long it waited
// for somebody to write, 0 for a plain file.
func readWithin(name string, most int, wait, limit time.Duration) (data []byte, slow time.Duration, err error) {
	type result struct {
		data []byte
		slow time.Duration
		err  error
	}
	r, ok := within(limit, func() (r result) {
		r.data, r.slow, r.err = readDisk(name, most, time.Now().Add(wait))
		return r
	})
	if !ok {
		return nil, limit, fileError("read", name, unix.ETIMEDOUT)
	}
	return r.data, r.slow, r.err
}

// within returns what do returns. It reports false when that has not come in time; then do
// goes on in the kernel, which alone can end it.
func within[T any](limit time.Duration, do func() T) (result T, ok bool) {
	done := make(chan T, 1)
	go func() { done <- do() }()
	// What waits by itself ends at limit at the latest, and says more.
	timer := time.NewTimer(limit + time.Second)
	defer timer.Stop()
	select {
	case result = <-done:
		return result, true
	case <-timer.C:
		return result, false
	}
}

// readDisk is readWithin for what does not hang in the kernel.
func readDisk(name string, most int, end time.Time) (data []byte, slow time.Duration, err error) {
	// Not os.Open: that waits for whoever opens a FIFO for writing. A terminal must not
	// become that of this process.
	fd, err := openFile(name)
	if err != nil {
		return nil, 0, fileError("open", name, err)
	}
	defer unix.Close(fd)
	f := &diskFile{fd: fd, end: end}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, 0, fileError("fstat", name, err)
	}
	f.plain = st.Mode&unix.S_IFMT == unix.S_IFREG || st.Mode&unix.S_IFMT == unix.S_IFDIR
	began := time.Now()
	data, err = io.ReadAll(io.LimitReader(f, int64(most)+1))
	if !f.plain {
		slow = time.Since(began)
	}
	if errors.Is(err, unix.ETIMEDOUT) {
		return nil, slow, fileError("read", name, err)
	}
	if err != nil {
		return nil, slow, fileError("pread", name, err)
	}
	return data, slow, nil
}

func openFile(name string) (fd int, err error) {
	for {
		fd, err = unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// A diskFile is an open file, whose end is where its last writer closes it.
type diskFile struct {
	fd    int
	plain bool // a read does not wait
	end   time.Time
}

// Read waits until there is something or the file has ended, but not beyond f.end: then
// it returns ETIMEDOUT.
func (f *diskFile) Read(p []byte) (int, error) {
	for {
		if err := f.wait(); err != nil {
			return 0, err
		}
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN && !f.plain:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// wait waits until a read gives something. Of a FIFO that nobody has opened for writing a
// read says that it has ended; poll knows better.
func (f *diskFile) wait() error {
	for !f.plain {
		left := time.Until(f.end)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return nil
}

// A fileFault is a file that cannot be read. nginx reports one that opens and does
// not read, a folder, at another level and without the place that named it.
type fileFault struct {
	call, name string
	errno      syscall.Errno
}

func (e *fileFault) Error() string {
	// nginx prints strerror's text, which begins with a capital letter; Go's does not.
	text := e.errno.Error()
	return fmt.Sprintf("%s() \"%s\" failed (%d: %s)", e.call, e.name, int(e.errno), strings.ToUpper(text[:1])+text[1:])
}

func (e *fileFault) Unwrap() error { return e.errno }

// at returns the fault as an error that stands where d is; d may be nil.
func (e *fileFault) at(d *Directive) *Error {
	if e.call == "pread" {
		return &Error{Level: "crit", Msg: e.Error()}
	}
	return Errorf(d, "%s", e.Error())
}

func fileError(call, name string, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("%s %s: %w", call, name, err)
	}
	return &fileFault{call: call, name: name, errno: errno}
}
