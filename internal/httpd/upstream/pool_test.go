package upstream

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/netconn"
)

// idleConn is a connection to p, and its other end.
func idleConn(t *testing.T, p *Peer) (c *Conn, other *netconn.Socket) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*netconn.Socket
	for i, fd := range fds {
		if ends[i], err = netconn.NewSocket(fd, "test"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ends[i].Close() })
	}
	return &Conn{Socket: ends[0], peer: p, opened: time.Now()}, ends[1]
}

func newPool(size int) *pool {
	return &pool{size: size, requests: 10, idle: time.Minute, age: time.Hour}
}

func TestPoolGivesTheLastUsedFirst(t *testing.T) {
	pl, a, b := newPool(3), &Peer{}, &Peer{}
	defer pl.close()
	a1, _ := idleConn(t, a)
	a2, _ := idleConn(t, a)
	b1, _ := idleConn(t, b)
	for _, c := range []*Conn{a1, a2, b1} {
		if !pl.keep(c, time.Now()) {
			t.Fatal("a good connection was not kept")
		}
	}
	for _, want := range []*Conn{a2, a1, nil} {
		if got := pl.take(a, nil, nil, time.Time{}); got != want {
			t.Errorf("took %p, want %p", got, want)
		}
	}
	if pl.take(b, nil, nil, time.Time{}) != b1 || pl.len() != 0 {
		t.Error("the other server's connection is gone")
	}
}

func TestPoolMakesRoomByAge(t *testing.T) {
	pl, p := newPool(2), &Peer{}
	defer pl.close()
	first, other := idleConn(t, p)
	second, _ := idleConn(t, p)
	third, _ := idleConn(t, p)
	for _, c := range []*Conn{first, second, third} {
		pl.keep(c, time.Now())
	}
	if !other.HungUp() {
		t.Error("the one that was idle longest is still open")
	}
	if pl.take(p, nil, nil, time.Time{}) != third || pl.take(p, nil, nil, time.Time{}) != second {
		t.Error("others than the last two were kept")
	}
}

func TestPoolKeepsNothingBad(t *testing.T) {
	pl, p := newPool(4), &Peer{}
	defer pl.close()
	worn, _ := idleConn(t, p)
	worn.requests = 10
	old, _ := idleConn(t, p)
	old.opened = time.Now().Add(-2 * time.Hour)
	if pl.keep(worn, time.Now()) || pl.keep(old, time.Now()) {
		t.Error("a connection was kept beyond keepalive_requests or keepalive_time")
	}
	dead, end := idleConn(t, p)
	talks, end2 := idleConn(t, p)
	pl.keep(dead, time.Now())
	pl.keep(talks, time.Now())
	if err := end2.Write([]byte("unasked"), nil, time.Second); err != nil {
		t.Fatal(err)
	}
	_ = end.Close()
	if c := pl.take(p, nil, nil, time.Time{}); c != nil {
		t.Error("a closed or talking connection was taken for an idle one")
	}
}

// Between two sweeps nothing is used that was idle for longer than keepalive_timeout.
func TestPoolGivesNothingThatWasIdleTooLong(t *testing.T) {
	pl, p := newPool(4), &Peer{}
	defer pl.close()
	now := time.Now()
	for _, repeatable := range []time.Time{{}, now} {
		old, other := idleConn(t, p)
		fresh, _ := idleConn(t, p)
		pl.keep(fresh, now)
		pl.keep(old, now)
		old.since = now.Add(-pl.idle)
		if c := pl.take(p, nil, nil, repeatable); c != fresh {
			t.Errorf("took %p, want the one that was used a moment ago", c)
		}
		if !other.HungUp() {
			t.Error("the other one is still open")
		}
	}
}

// "keepalive_timeout 0" keeps nothing.
func TestPoolWithoutTime(t *testing.T) {
	pl, p := newPool(4), &Peer{}
	defer pl.close()
	pl.idle = 0
	c, _ := idleConn(t, p)
	now := time.Now()
	pl.keep(c, now)
	if pl.take(p, nil, nil, now) != nil {
		t.Error("a connection was used again")
	}
}

func TestClosedPoolLetsGo(t *testing.T) {
	pl, p := newPool(4), &Peer{}
	c, other := idleConn(t, p)
	pl.keep(c, time.Now())
	pl.close()
	if !other.HungUp() {
		t.Error("an idle connection outlived its pool")
	}
	late, _ := idleConn(t, p)
	if pl.keep(late, time.Now()) {
		t.Error("a closed pool kept a connection")
	}
}

func TestSweepEndsSilentConnections(t *testing.T) {
	pl, p := newPool(4), &Peer{}
	defer pl.close()
	pl.idle = time.Millisecond
	c, other := idleConn(t, p)
	pl.keep(c, time.Now())
	for deadline := time.Now().Add(time.Minute); !other.HungUp(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection is still open")
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:80", "127.0.0.1:8080": "127.0.0.1:8080", "[::1]": "[::1]:80",
		"[::1]:81": "[::1]:81", "unix:/a/b": "unix:/a/b", "UNIX:/a": "unix:/a",
	} {
		a, err := ParseAddress(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		eps, err := a.endpoints(nil, 80)
		if err != nil || len(eps) != 1 || eps[0].name != want {
			t.Errorf("%s: %v %v, want %s", text, eps, err, want)
		}
	}
	for _, text := range []string{"", ":80", "a:", "a:0", "a:65536", "a:x", "[::1", "[x]", "[::1]x", "unix:"} {
		if a, err := ParseAddress(text); err == nil {
			t.Errorf("%q was read as %+v", text, a)
		}
	}
}
