package sock

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
)

// The file of a unix socket that a killed server left is in nobody's way; one that
// somebody serves is.
func TestStaleUnixSocket(t *testing.T) {
	for _, tt := range []struct {
		name  string
		put   func(t *testing.T, path string)
		opens bool
	}{
		{"nobody listens any more", func(t *testing.T, path string) {
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			ln.SetUnlinkOnClose(false)
			ln.Close()
		}, true},
		{"of datagrams, closed", func(t *testing.T, path string) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			c.Close() // leaves the file
		}, true},
		{"somebody listens", func(t *testing.T, path string) {
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
		}, false},
		{"somebody listens whose queue is full", func(t *testing.T, path string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
			if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
				t.Fatal(err)
			}
			for { // until it is
				c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { unix.Close(c) })
				if unix.Connect(c, &unix.SockaddrUnix{Name: path}) == unix.EAGAIN {
					return
				}
			}
		}, false},
		{"somebody reads datagrams", func(t *testing.T, path string) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}, false},
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a link to a stale one", func(t *testing.T, path string) {
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path + ".x"})
			if err != nil {
				t.Fatal(err)
			}
			ln.SetUnlinkOnClose(false)
			ln.Close()
			if err := os.Symlink(path+".x", path); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a start that is about to listen on it", func(t *testing.T, path string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
			f, err := openFolder(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(f.close)
			if err := f.bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := unixListen(t)
			tt.put(t, l.Path)
			before, err := os.Lstat(l.Path)
			if err != nil {
				t.Fatal(err)
			}
			var s Set
			release(t, &s)
			err = s.Open([]conf.Listen{l}, 1)
			if tt.opens {
				if err != nil {
					t.Fatal(err)
				}
				c, err := net.Dial("unix", l.Path)
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				if fi, err := os.Lstat(l.Path); err != nil || fi.Mode().Perm() != 0o666 {
					t.Errorf("mode %v, %v", fi.Mode(), err)
				}
				return
			}
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%v, want that it is in use", err)
			}
			if after, err := os.Lstat(l.Path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it is gone: %v", err)
			}
		})
	}
}

// Of many that start over a stale file at once one gets the address, and keeps it.
func TestStaleUnixSocketIsTakenOnce(t *testing.T) {
	l := unixListen(t)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: l.Path})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	var sets [16]Set
	var errs [len(sets)]error
	var wg sync.WaitGroup
	for i := range sets {
		wg.Go(func() { errs[i] = sets[i].Open([]conf.Listen{l}, 1) })
	}
	wg.Wait()
	opened := 0
	for i, err := range errs {
		if err == nil {
			opened++
			release(t, &sets[i])
		} else if !errors.Is(err, syscall.EADDRINUSE) {
			t.Error(err)
		}
	}
	if opened > 1 {
		t.Errorf("%d got the address", opened)
	}
	if c, err := net.Dial("unix", l.Path); opened == 1 && err != nil {
		t.Error(err)
	} else if err == nil {
		c.Close()
	}
}

// A folder that is not there is told in nginx's words.
func TestUnixSocketWithoutAFolder(t *testing.T) {
	l := unixListen(t)
	l.Path = filepath.Join(filepath.Dir(l.Path), "none", "s")
	var s Set
	err := s.Open([]conf.Listen{l}, 1)
	if want := "bind() to unix:" + l.Path + " failed (2: No such file or directory)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
