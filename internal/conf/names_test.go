package conf

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A fakeDNS answers with one more address each time that it is asked.
type fakeDNS struct{ asked []string }

func (f *fakeDNS) resolve(host string) ([]netip.Addr, error) {
	switch host {
	case "none.test":
		return nil, nil
	case "fails.test":
		return nil, errors.New("name server is silent")
	}
	f.asked = append(f.asked, host)
	return []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(len(f.asked))})}, nil
}

func loadWith(t *testing.T, resolve Resolve) *Config {
	t.Helper()
	c, err := Load(testTable(t), Options{Prefix: newPrefix(t, "events {}", nil), Resolve: resolve})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantHost(t *testing.T, c *Config, host, want string) {
	t.Helper()
	ips, err := c.LookupHost(host)
	if err != nil {
		t.Errorf("%s: %v", host, err)
		return
	}
	if diff := cmp.Diff([]netip.Addr{netip.MustParseAddr(want)}, ips, cmp.Comparer(sameIP)); diff != "" {
		t.Errorf("%s: %s", host, diff)
	}
}

// TestNamesAreLookedUpOnce defends invariant 5 for the addresses of hosts: whoever
// loads the snapshot gets what the master got, and has no way to ask again.
func TestNamesAreLookedUpOnce(t *testing.T) {
	t.Parallel()
	var dns fakeDNS
	c := loadWith(t, dns.resolve)
	for range 2 {
		wantHost(t, c, "app.test", "192.0.2.1")
		wantHost(t, c, "APP.test", "192.0.2.1")
		wantHost(t, c, "db.test", "192.0.2.2")
	}
	wire, err := c.Snapshot.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := DecodeSnapshot(wire)
	if err != nil {
		t.Fatal(err)
	}
	later, err := s.Load(testTable(t))
	if err != nil {
		t.Fatal(err)
	}
	wantHost(t, later, "app.test", "192.0.2.1")
	wantHost(t, later, "Db.test", "192.0.2.2")
	if _, err := later.LookupHost("new.test"); !errors.Is(err, errNotRecorded) {
		t.Errorf("a host that the master did not look up: %v, want %v", err, errNotRecorded)
	}
	if diff := cmp.Diff([]string{"app.test", "db.test"}, dns.asked); diff != "" {
		t.Error(diff)
	}
	if twice, err := later.Snapshot.Encode(); err != nil || string(twice) != string(wire) {
		t.Errorf("the snapshot of the snapshot differs: %v", err)
	}
}

// TestEachLoadLooksNamesUpAnew is what HUP is sent for.
func TestEachLoadLooksNamesUpAnew(t *testing.T) {
	t.Parallel()
	var dns fakeDNS
	wantHost(t, loadWith(t, dns.resolve), "app.test", "192.0.2.1")
	wantHost(t, loadWith(t, dns.resolve), "app.test", "192.0.2.2")
}

func TestNamesThatCannotBeLookedUp(t *testing.T) {
	t.Parallel()
	var dns fakeDNS
	c := loadWith(t, dns.resolve)
	for host, want := range map[string]string{"none.test": "host not found", "fails.test": "name server is silent"} {
		if _, err := c.LookupHost(host); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", host, err, want)
		}
	}
	if _, err := loadWith(t, nil).LookupHost("app.test"); !errors.Is(err, errNoResolve) {
		t.Errorf("without Resolve: %v, want %v", err, errNoResolve)
	}
	if len(c.Snapshot.names) != 0 {
		t.Errorf("recorded: %v", c.Snapshot.names)
	}
}

func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	many := make([]netip.Addr, maxAddresses/2+1)
	for i := range many {
		many[i] = netip.IPv6Loopback()
	}
	c := loadWith(t, func(string) ([]netip.Addr, error) { return many, nil })
	if _, err := c.LookupHost("a.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.LookupHost("b.test"); err == nil {
		t.Errorf("two times %d addresses are accepted", len(many))
	}
	c = loadWith(t, func(string) ([]netip.Addr, error) { return many[:1], nil })
	for i := range maxNames {
		if _, err := c.LookupHost(strconv.Itoa(i) + ".test"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.LookupHost("one.more.test"); err == nil {
		t.Errorf("%d names are accepted", maxNames+1)
	}
}

// TestHostnameIsTheMasters: $hostname is the same in every worker.
func TestHostnameIsTheMasters(t *testing.T) {
	t.Parallel()
	c := loadWith(t, nil)
	if host, err := os.Hostname(); err != nil || c.Hostname != strings.ToLower(host) {
		t.Errorf("%q, want %q (%v)", c.Hostname, host, err)
	}
	c.Snapshot.hostname = "renamed"
	later, err := c.Snapshot.Load(testTable(t))
	if err != nil || later.Hostname != "renamed" || later.Snapshot.hostname != "renamed" {
		t.Errorf("%q, %v, want what was recorded", later.Hostname, err)
	}
}
