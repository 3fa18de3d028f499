package master

import (
	"log/slog"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/control"
)

// A roll-back is HUP to the old master and then WINCH to the new one, whose links
// the old master must not see before it was told to start workers.
func TestSignalComesBeforeLink(t *testing.T) {
	for range 100 {
		m := &Master{
			signals: make(chan os.Signal, 1), sent: make(chan *os.File, 1),
			links: map[int]*os.File{},
		}
		m.log, m.quiet = slog.New(slog.DiscardHandler), true
		m.sent <- nil
		m.signals <- syscall.SIGHUP
		if got := m.next(nil); got != nil || !m.state.reloadAgain || len(m.sent) == 0 {
			t.Fatalf("the next event is %#v, and not the signal", got)
		}
		if got, want := m.next(nil), (linkCame{1}); got != want {
			t.Fatalf("the event after it is %#v, want %#v", got, want)
		}
	}
}

// Two masters that share no version of the protocol say hello, ready and failed. A
// link that comes all the same may mean anything, and is closed: its giver drains.
func TestLinkOfAnotherProtocolIsClosed(t *testing.T) {
	for name, hello := range map[string]any{
		"same":    control.Hello{Min: control.ProtocolMin, Max: control.ProtocolMax + 3},
		"later":   control.Hello{Min: control.ProtocolMax + 1, Max: control.ProtocolMax + 3},
		"strange": "hello",
		"none":    nil, // no hello at all
	} {
		for _, side := range []string{"new", "old"} {
			t.Run(name+" "+side, func(t *testing.T) {
				peer, giver, sent, events := listenTo(t, side, hello)
				want := 0
				if name == "same" {
					want = control.ProtocolMax
				}
				if hello != nil {
					protocol := -1
					switch ev := (<-events).(type) {
					case successorSaid:
						protocol = ev.protocol
					case parentSaid:
						protocol = ev.protocol
					}
					if protocol != want {
						t.Errorf("protocol %d, want %d", protocol, want)
					}
				}
				if want > 0 {
					(<-sent).Close()
				}
				// The other end of the link sees it end: nobody has it open.
				if n, err := unix.Read(giver, make([]byte, 1)); n != 0 || err != nil {
					t.Errorf("read of the link: %d, %v, want its end", n, err)
				}
				peer.Close()
				if side == "old" {
					if ev := <-events; ev != (parentGone{}) {
						t.Errorf("%#v, want that the old master is gone", ev)
					}
				}
			})
		}
	}
}

// listenTo makes a master listen to another one, which says hello, unless that is nil,
// and sends a link. It returns that other master's end of the channel, the giving end
// of the link, and what the master hears.
func listenTo(t *testing.T, side string, hello any) (*control.Conn, int, chan *os.File, chan event) {
	t.Helper()
	peer, file, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	conn, err := control.Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	m := &Master{events: make(chan event), sent: make(chan *os.File, 1)}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		if side == "new" {
			m.hear(os.Getpid(), conn)
			return
		}
		m.o.Old = conn
		m.hearParent(0)
	}()
	t.Cleanup(func() { <-heard; conn.Close() })
	link, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(link[0]) })
	if err := unix.SetsockoptTimeval(link[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		t.Fatal(err)
	}
	if hello != nil {
		if err := peer.Send(control.KindHello, hello); err != nil {
			t.Fatal(err)
		}
	}
	if err := peer.Send(control.KindTake, nil, control.File{Name: control.FileTake, FD: link[1]}); err != nil {
		t.Fatal(err)
	}
	unix.Close(link[1])
	return peer, link[0], m.sent, m.events
}
