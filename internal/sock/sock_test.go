package sock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
)

// tcp returns a Listen on a loopback address whose port nobody uses.
func tcp(t *testing.T, host string) conf.Listen {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return conf.Listen{
		Network: "tcp", Addr: ln.Addr().(*net.TCPAddr).AddrPort(), IPv6Only: true, Backlog: -1, FastOpen: -1, Rcvbuf: -1, Sndbuf: -1,
	}
}

func unixListen(t *testing.T) conf.Listen {
	t.Helper()
	dir, err := os.MkdirTemp("", "sock-") // t.TempDir may be too long for an address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return conf.Listen{Network: "unix", Path: filepath.Join(dir, "s"), Backlog: -1, FastOpen: -1, Rcvbuf: -1, Sndbuf: -1}
}

func release(t *testing.T, s *Set) {
	t.Cleanup(func() {
		if err := s.Release(nil, true); err != nil {
			t.Error(err)
		}
	})
}

func keys(sks []*Socket) (keys []string) {
	for _, sk := range sks {
		keys = append(keys, sk.Key)
	}
	return keys
}

func TestOpenEveryKind(t *testing.T) {
	ls := []conf.Listen{tcp(t, "127.0.0.1"), tcp(t, "::1"), unixListen(t)}
	var s Set
	release(t, &s)
	if err := s.Open(ls, 2); err != nil {
		t.Fatal(err)
	}
	for _, l := range ls {
		network, addr := l.Network, l.Path
		if network == "tcp" {
			addr = l.Addr.String()
		}
		conn, err := net.Dial(network, addr)
		if err != nil {
			t.Errorf("nobody listens on %s: %v", l.Key(), err)
			continue
		}
		conn.Close()
	}
	want := []string{ls[0].Key(), ls[1].Key(), ls[2].Key()}
	slices.Sort(want)
	if diff := cmp.Diff(want, keys(s.All())); diff != "" {
		t.Error(diff)
	}
	if fi, err := os.Stat(ls[2].Path); err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("mode of the unix socket: %v, %v", fi, err)
	}
	// Opening again opens nothing: the sockets are there.
	before := s.All()
	if err := s.Open(ls, 2); err != nil || !slices.Equal(before, s.All()) {
		t.Errorf("sockets changed: %v", err)
	}
}

// TestOpenUndoesItself: all or nothing.
func TestOpenUndoesItself(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := conf.Listen{Network: "tcp", Addr: busy.Addr().(*net.TCPAddr).AddrPort(), Backlog: -1}
	free, file := tcp(t, "127.0.0.1"), unixListen(t)
	var s Set
	err = s.Open([]conf.Listen{free, file, taken}, 1)
	var be *BindError
	if !errors.As(err, &be) || !be.Busy() {
		t.Fatalf("error is %v", err)
	}
	if want := fmt.Sprintf("bind() to %s failed (98: Address already in use)", busy.Addr()); err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	if len(s.All()) != 0 {
		t.Errorf("left open: %v", keys(s.All()))
	}
	if _, err := os.Lstat(file.Path); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}

// TestTakeOver: a socket that another process opened is the same queue, found by
// its address.
func TestTakeOver(t *testing.T) {
	ls := []conf.Listen{tcp(t, "127.0.0.1"), tcp(t, "::1"), unixListen(t)}
	var old, young Set
	release(t, &young)
	if err := old.Open(ls, 1); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", ls[0].Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var fds []int
	for _, sk := range old.All() {
		fd, err := unix.Dup(sk.FD) // as exec passes it on: not close-on-exec
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	if err := young.Take(fds); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keys(old.All()), keys(young.All())); diff != "" {
		t.Error(diff)
	}
	if err := young.Open(ls, 1); err != nil { // nothing to open
		t.Fatal(err)
	}
	if err := old.Release(nil, false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(ls[2].Path); err != nil {
		t.Errorf("the file of the unix socket is gone: %v", err)
	}
	for _, sk := range young.All() {
		flags, err := unix.FcntlInt(uintptr(sk.FD), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s leaks through exec: %v", sk.Key, err)
		}
	}
	// The connection that waited in the queue is there for the new owner.
	fd, _, err := unix.Accept(young.ForWorker(ls[:1], 0, 1)[0].FD)
	if err != nil {
		t.Fatalf("the waiting connection is lost: %v", err)
	}
	unix.Close(fd)
}

func TestTakeRefusesWhatDoesNotListen(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	l := tcp(t, "127.0.0.1")
	var old, s Set
	release(t, &old)
	if err := old.Open([]conf.Listen{l}, 1); err != nil {
		t.Fatal(err)
	}
	good, err := unix.Dup(old.All()[0].FD)
	if err != nil {
		t.Fatal(err)
	}
	release(t, &s)
	if err := s.Take([]int{int(null.Fd()), pair[0], good, 987654}); err == nil {
		t.Error("no error for what is no listening socket")
	}
	if diff := cmp.Diff([]string{l.Key()}, keys(s.All())); diff != "" {
		t.Error(diff)
	}
	if _, err := unix.FcntlInt(uintptr(pair[0]), unix.F_GETFD, 0); err != nil {
		t.Error("a descriptor that is not ours was closed")
	}
}

func TestReuseport(t *testing.T) {
	l := tcp(t, "127.0.0.1")
	var s Set
	release(t, &s)
	if err := s.Open([]conf.Listen{l}, 3); err != nil {
		t.Fatal(err)
	}
	l.Reuseport = true // by a reload
	for _, workers := range []int{3, 4, 2} {
		if err := s.Open([]conf.Listen{l}, workers); err != nil {
			t.Fatalf("%d workers: %v", workers, err)
		}
		// Nobody's queue is forgotten, and nobody is without one.
		seen := map[*Socket]bool{}
		for slot := range workers {
			mine := s.ForWorker([]conf.Listen{l}, slot, workers)
			if len(mine) == 0 {
				t.Errorf("worker %d of %d has no socket", slot, workers)
			}
			for _, sk := range mine {
				seen[sk] = true
			}
		}
		if len(seen) != len(s.All()) || len(seen) < workers {
			t.Errorf("%d workers listen on %d of %d sockets", workers, len(seen), len(s.All()))
		}
	}
	if n := len(s.All()); n != 4 {
		t.Errorf("%d sockets, want 4: none is closed while the address is wanted", n)
	}
	for _, sk := range s.All() {
		if d, err := Describe(sk.FD); err != nil || !d.Reuseport {
			t.Errorf("described as %+v, %v", d, err)
		}
	}
}

func TestReleaseKeepsWhatIsWanted(t *testing.T) {
	a, b := tcp(t, "127.0.0.1"), unixListen(t)
	var s Set
	release(t, &s)
	if err := s.Open([]conf.Listen{a, b}, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Release([]conf.Listen{a}, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{a.Key()}, keys(s.All())); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Lstat(b.Path); !os.IsNotExist(err) {
		t.Errorf("the file of the unix socket is left: %v", err)
	}
}

// TestUnlinkOnlyOurs: somebody has put another socket in its place.
func TestUnlinkOnlyOurs(t *testing.T) {
	l := unixListen(t)
	var s Set
	if err := s.Open([]conf.Listen{l}, 1); err != nil {
		t.Fatal(err)
	}
	// The number of the old file must not be given to the new one.
	if err := os.Rename(l.Path, l.Path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(nil, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(l.Path); err != nil {
		t.Errorf("a stranger's file is gone: %v", err)
	}
}

func TestAdjust(t *testing.T) {
	l := tcp(t, "127.0.0.1")
	var s Set
	release(t, &s)
	if err := s.Open([]conf.Listen{l}, 1); err != nil {
		t.Fatal(err)
	}
	l.Backlog, l.Deferred = 7, true
	l.KeepAlive = conf.KeepAlive{Set: true, On: true, Idle: 90 * time.Second, Every: 5 * time.Second, Count: 3}
	if err := s.Adjust([]conf.Listen{l}); err != nil {
		t.Fatal(err)
	}
	fd := s.All()[0].FD
	for _, tt := range []struct {
		name               string
		level, option, min int
	}{
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 90},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1},
	} {
		if got, err := unix.GetsockoptInt(fd, tt.level, tt.option); err != nil || got < tt.min {
			t.Errorf("%s is %d, %v; want %d", tt.name, got, err, tt.min)
		}
	}
	// For a listening socket the kernel tells the backlog as tcpi_sacked.
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.Sacked != 7 {
		t.Errorf("backlog is %d, %v; want 7", info.Sacked, err)
	}
}

func TestKeysAreThoseOfTheConfiguration(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:80", "[::1]:80"} {
		l := conf.Listen{Network: "tcp", Addr: netip.MustParseAddrPort(addr)}
		if l.Key() != addr {
			t.Errorf("key of %s is %s", addr, l.Key())
		}
	}
}

func TestBusyUnixSocket(t *testing.T) {
	l := unixListen(t)
	if err := os.WriteFile(l.Path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var s Set
	err := s.Open([]conf.Listen{l}, 1)
	if want := "bind() to unix:" + l.Path + " failed (98: Address already in use)"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Error("the system's error is lost")
	}
	if _, err := os.Lstat(l.Path); err != nil {
		t.Errorf("a stranger's file is gone: %v", err)
	}
}

func TestParseList(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  []int
		bad   string
	}{
		{"", nil, ""},
		{"5;6;", []int{5, 6}, ""},
		{"5:6;", []int{5, 6}, ""},
		{"5;6", []int{5}, ""},
		{"5;x;7;", []int{5}, `"x"`},
		{"-5;", nil, `"-5"`},
		{";", nil, `""`},
		{"99999999999999999999;", nil, `"99999999999999999999"`},
	} {
		got, err := ParseList(tt.value)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.value, diff)
		}
		if (err != nil) != (tt.bad != "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%q: error %v, want one about %s", tt.value, err, tt.bad)
		}
	}
	if got := FormatList(3, 2); got != "3;4;" {
		t.Errorf("FormatList: %q", got)
	}
}

func TestActivated(t *testing.T) {
	for _, tt := range []struct {
		pid, n string
		want   []int
	}{
		{"7", "2", []int{3, 4}},
		{"8", "2", nil},
		{"", "2", nil},
		{"7", "x", nil},
		{"7", "-1", nil},
		{"7", "0", nil},
		{"7", "99999999", nil},
	} {
		if diff := cmp.Diff(tt.want, Activated(7, tt.pid, tt.n)); diff != "" {
			t.Errorf("%+v: %s", tt, diff)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("3;4;")
	f.Add("3:x;")
	f.Fuzz(func(t *testing.T, value string) {
		fds, err := ParseList(value)
		for _, fd := range fds {
			if fd < 0 {
				t.Errorf("%q holds descriptor %d", value, fd)
			}
		}
		var b strings.Builder
		for _, fd := range fds {
			fmt.Fprintf(&b, "%d;", fd)
		}
		if again, aerr := ParseList(b.String()); err == nil && (aerr != nil || !slices.Equal(fds, again)) {
			t.Errorf("%q gives %v, which gives %v, %v", value, fds, again, aerr)
		}
	})
}
