package master

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/shm"
)

// A zone is the same over a reload when name, kind and size agree; with another key the
// configuration is refused.
func TestZonesOverAReload(t *testing.T) {
	var sh sharing
	var said []string
	logf := func(_ slog.Level, format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	z := func(name, kind, key string, size int64) conf.Zone {
		return conf.Zone{Name: name, Kind: kind, Key: key, Size: size}
	}
	first := []conf.Zone{z("a", "limit_req", "$x", 40000), z("b", "limit_req", "$x", 40000), z("c", "limit_req", "$x", 40000)}
	old, err := sh.zones(first, nil, logf)
	if err != nil {
		t.Fatal(err)
	}
	configs := map[int]*config{
		3: {facts: configFacts{id: 3}, zones: old},
		2: {facts: configFacts{id: 2}}, // an older one, that still drains
	}
	next, err := sh.zones([]conf.Zone{first[0], z("b", "limit_req", "$x", 50000), z("c", "other", "$x", 40000), z("d", "limit_req", "", 40000)}, configs, logf)
	if err != nil {
		t.Fatal(err)
	}
	for i, same := range []bool{true, false, false} {
		if (next[i] == old[i]) != same {
			t.Errorf("%+v becomes %+v", old[i], next[i])
		}
	}
	if _, err := sh.zones([]conf.Zone{z("b", "limit_req", "$x", 1<<20), z("a", "limit_req", "$y", 40000)}, configs, logf); err == nil ||
		err.Error() != `limit_req "a" uses the "$y" key while previously it used the "$x" key` {
		t.Errorf("with another key: %v", err)
	}
	if said != nil {
		t.Errorf("it is said that %q", said)
	}
	// Somebody has written over the head.
	if _, err := unix.Pwrite(old[0].fd, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	fresh, err := sh.zones(first[:1], configs, logf)
	if err != nil || fresh[0] == old[0] || len(said) != 1 || !strings.HasPrefix(said[0], `shared memory zone "a" begins empty: `) {
		t.Errorf("%v, and it is said that %q", err, said)
	}
	releaseZones(fresh)
	fd := old[0].fd
	releaseZones(old)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		t.Errorf("a zone that is used is closed: %v", err)
	}
	releaseZones(next)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
		t.Error("a zone that nobody uses is open")
	}
}

// Of what an old master passes a new one takes what it understands and wants.
func TestZonesAreInherited(t *testing.T) {
	var sh sharing
	var said []string
	logf := func(_ slog.Level, format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	var wanted []conf.Zone
	for _, name := range []string{"same", "later version", "other key", "unwanted"} {
		z := conf.Zone{Name: name, Kind: "limit_req", Key: "$x", Size: 40000}
		fd, err := shm.Create(name, z.Size, z.Kind)
		if err != nil {
			t.Fatal(err)
		}
		if name == "later version" {
			if _, err := unix.Pwrite(fd, []byte{99}, 12); err != nil {
				t.Fatal(err)
			}
		}
		f := os.NewFile(uintptr(fd), name)
		sh.inherit([]conf.Zone{z}, control.FileZone+name, f)
		sh.inherit([]conf.Zone{z}, control.FileZone+"never named", f)
		sh.inherit([]conf.Zone{z}, name, f)
		f.Close()
		if name == "other key" {
			z.Key = "$y"
		}
		wanted = append(wanted, z)
	}
	have := sh.inherited
	if len(have) != 4 {
		t.Fatalf("%d zones were taken", len(have))
	}
	zones, err := sh.zones(wanted[:3], nil, logf)
	if err != nil {
		t.Fatal(err)
	}
	if zones[0] != have[0] || zones[1] == have[1] || zones[2] == have[2] {
		t.Error("not the one zone that can be used is used")
	}
	if text := strings.Join(said, "\n"); len(said) != 2 || !strings.Contains(text, "version 1.99") || !strings.Contains(text, `it had the key "$x"`) {
		t.Errorf("it is said that %q", said)
	}
	sh.disinherit()
	if have[0].users != 1 || have[3].users != 0 {
		t.Errorf("zones are used %d and %d times", have[0].users, have[3].users)
	}
	releaseZones(zones)
}

// What does not fit one message is not passed.
func TestZonesThatFitAMessage(t *testing.T) {
	var many []*zone
	for i := range 2 * maxPassedZones {
		many = append(many, &zone{Zone: conf.Zone{Name: fmt.Sprint(i)}})
	}
	if n := len(fitting(many)); n == 0 || n > maxPassedZones {
		t.Errorf("%d of many zones are passed", n)
	}
	if n := len(fitting(many[:10])); n != 10 {
		t.Errorf("%d of 10 zones are passed", n)
	}
	many[0].Key = strings.Repeat("x", maxPassedBytes)
	if n := len(fitting(many)); n != 0 {
		t.Errorf("%d zones are passed behind a large one", n)
	}
}
