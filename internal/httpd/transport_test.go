package httpd

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A short wait ends in time although the poller was told of a later end before: what is
// small waits for more so, see fillShortly.
func TestShortWaitEndsInTime(t *testing.T) {
	t.Parallel()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	tr, err := newTransport(fds[0], "short")
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	tr.read.timeout = firstLook
	tr.read.arm(tr, tr.file.SetReadDeadline) // as a wait does that something ends early
	var in inbuf
	if err := tr.fill(&in, shortly); !errors.Is(err, errTimeout) {
		t.Fatalf("fill = %v", err)
	}
	if late := tr.read.set.Sub(tr.read.want); late > shortly {
		t.Errorf("the wait of %v was to end %v late", shortly, late)
	}
}
