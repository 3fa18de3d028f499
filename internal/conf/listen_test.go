package conf

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseListen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		key  string
		set  func(*Listen) // differs from newListen in this
	}{
		{[]string{"8080"}, "0.0.0.0:8080", nil},
		{[]string{"*:8080"}, "0.0.0.0:8080", nil},
		{[]string{"127.0.0.1"}, "127.0.0.1:80", nil},
		{[]string{"127.0.0.1:81"}, "127.0.0.1:81", nil},
		{[]string{"localhost:81"}, "127.0.0.1:81", nil},
		{[]string{"[::]:80"}, "[::]:80", nil},
		{[]string{"[0:0::0]"}, "[::]:80", nil},
		{[]string{"[::1]:82", "ipv6only=off"}, "[::1]:82", func(l *Listen) { l.IPv6Only, l.Explicit = false, true }},
		{[]string{"unix:/run/a.sock"}, "unix:/run/a.sock", nil},
		{[]string{"UNIX:/run/a.sock", "default"}, "unix:/run/a.sock", func(l *Listen) { l.Default = true }},
		{[]string{"80", "default_server"}, "0.0.0.0:80", func(l *Listen) { l.Default = true }},
		{[]string{"443", "ssl", "default_server"}, "0.0.0.0:443", func(l *Listen) { l.Default, l.SSL = true, true }},
		{
			[]string{"80", "bind", "deferred", "reuseport", "backlog=7", "fastopen=3", "rcvbuf=8k", "sndbuf=1m"}, "0.0.0.0:80",
			func(l *Listen) {
				l.Explicit, l.Deferred, l.Reuseport, l.Backlog, l.FastOpen, l.Rcvbuf, l.Sndbuf = true, true, true, 7, 3, 8<<10, 1<<20
			},
		},
		{[]string{"80", "so_keepalive=off"}, "0.0.0.0:80", func(l *Listen) { l.Explicit, l.KeepAlive = true, KeepAlive{Set: true} }},
		{[]string{"80", "so_keepalive=30m::10"}, "0.0.0.0:80", func(l *Listen) {
			l.Explicit, l.KeepAlive = true, KeepAlive{Set: true, On: true, Idle: 30 * time.Minute, Count: 10}
		}},
		{[]string{"80", "so_keepalive=:5s:"}, "0.0.0.0:80", func(l *Listen) {
			l.Explicit, l.KeepAlive = true, KeepAlive{Set: true, On: true, Every: 5 * time.Second}
		}},
	} {
		got, err := ParseListen(&Directive{Name: "listen", Args: c.args, File: "f", Line: 3})
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
			continue
		}
		want := newListen()
		want.Network, want.Addr, want.Path = got.Network, got.Addr, got.Path // the key tells
		want.File, want.Line = "f", 3
		if c.set != nil {
			c.set(&want)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(sameAddr)); diff != "" || got.Key() != c.key {
			t.Errorf("%q: key %q, want %q, difference:\n%s", c.args, got.Key(), c.key, diff)
		}
	}
}

func TestListenParametersBatonHasNotAreRefused(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"proxy_protocol": `the "proxy_protocol" parameter of the "listen" directive is not supported by baton in f:3`,
		"setfib=1":       `the "setfib" parameter of the "listen" directive needs FreeBSD in f:3`,
	} {
		_, err := ParseListen(&Directive{Name: "listen", Args: []string{"80", arg}, File: "f", Line: 3})
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", arg, err, want)
		}
	}
	for arg, fault := range map[string]string{"8010-8000": "invalid port range", "8000-70000": "invalid port", "[::1]:8000-0": "invalid port"} {
		_, err := ParseListen(&Directive{Name: "listen", Args: []string{arg}, File: "f", Line: 3})
		if want := fault + ` in "` + arg + `" of the "listen" directive in f:3`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func sameAddr(a, b netip.AddrPort) bool { return a == b }

// keys loads servers and returns the keys of the sockets to open.
func keys(t *testing.T, servers string) []string {
	t.Helper()
	c := mustLoad(t, "events {}\nhttp {\n"+servers+"\n}\n", nil)
	var ks []string
	for _, l := range c.Listens {
		ks = append(ks, l.Key())
	}
	return ks
}

func TestSocketsToOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		servers string
		want    []string
	}{
		{"", nil},
		{"server { listen 81; } server { listen 82; listen 81; }", []string{"0.0.0.0:81", "0.0.0.0:82"}},
		{"server { listen 127.0.0.1:81; } server { listen 81; } server { listen 127.0.0.1:82; }", []string{"0.0.0.0:81", "127.0.0.1:82"}},
		{"server { listen 127.0.0.1:81 bind; } server { listen 81; }", []string{"127.0.0.1:81", "0.0.0.0:81"}},
		{"server { listen [::1]:81; } server { listen 81; } server { listen [::]:82; listen [::1]:82; }", []string{"[::1]:81", "0.0.0.0:81", "[::]:82"}},
		{"server { listen 81-83; listen [::1]:84-85; } server { listen 82; listen 127.0.0.1:86-86; listen localhost:87-88; listen 127.0.0.1:83-84; listen unix:/a:1-2; }",
			[]string{"0.0.0.0:81", "0.0.0.0:82", "0.0.0.0:83", "[::1]:84", "[::1]:85", "127.0.0.1:86", "127.0.0.1:87", "127.0.0.1:88", "127.0.0.1:84", "unix:/a:1-2"}},
		{"server { listen unix:/a; } server { listen unix:/b; listen unix:/a; }", []string{"unix:/a", "unix:/b"}},
	} {
		if got := keys(t, c.servers); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.servers, got, c.want)
		}
	}
}

func TestOptionsOfASocketComeFromTheServerThatGivesThem(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "events {}\nhttp {\nserver { listen 81 default_server; }\nserver { listen 81 backlog=9; }\nserver { listen 81; }\n}", nil)
	l := c.Listens[0]
	if len(c.Listens) != 1 || l.Backlog != 9 || !l.Default || l.Line != 4 {
		t.Errorf("got %+v", c.Listens)
	}
}

func TestServerWithoutListenHasThePortOfTheUser(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "events {}\nhttp { server { } }", nil)
	for root, want := range map[bool]string{true: "0.0.0.0:80", false: "0.0.0.0:8000"} {
		c.Snapshot.root = root
		again, err := c.Snapshot.Load(testTable(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Listens[0].Key(); got != want {
			t.Errorf("root %v: listens on %s, want %s", root, got, want)
		}
	}
}

func TestErrorsHaveNoPlaceOnlyWhenThereIsNone(t *testing.T) {
	t.Parallel()
	e, ok := errors.AsType[*Error](mustLoad(t, "", nil).CheckEvents())
	if !ok || e.File != "" || e.Error() != `no "events" section in configuration` {
		t.Errorf("got %#v", e)
	}
}
