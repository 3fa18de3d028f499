package netconn

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A short wait ends in time although the poller was told of a later end before.
func TestShortWaitEndsInTime(t *testing.T) {
	t.Parallel()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	tr, err := New(fds[0], "short")
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	const short = 100 * time.Millisecond
	tr.read.timeout = time.Minute
	tr.read.arm(tr, tr.file.SetReadDeadline) // as a wait does that something ends early
	var in Input
	if err := tr.Fill(&in, short); !errors.Is(err, ErrTimeout) {
		t.Fatalf("fill = %v", err)
	}
	if late := tr.read.set.Sub(tr.read.want); late > short {
		t.Errorf("the wait of %v was to end %v late", short, late)
	}
}
