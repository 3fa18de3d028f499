package master

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/shm"
)

const (
	// maxPassedZones is how many zones an old master passes to a new one at most, and
	// maxPassedBytes how much it says of them: a message has its bounds. The new one begins
	// with empty ones for the rest.
	maxPassedZones = 1000
	maxPassedBytes = 48 << 10
)

// A zone is a shared zone that this master has open, for one or more configurations. The
// master itself does not map it.
type zone struct {
	conf.Zone
	fd    int
	users int // configurations, and the list of what was inherited
}

// sharing is what a master knows of memory that workers share, besides what they count.
type sharing struct {
	// strangers is when to look again at workers that are not ours, nil for never.
	strangers <-chan time.Time
	// inherited are the zones that the old master passed, until the first configuration
	// has taken those that it wants.
	inherited []*zone
}

// zones returns the zones that a configuration wants: those of the newest configuration,
// or of the old master before there is one, where name, kind and size agree, and new ones.
// The caller releases them.
func (sh *sharing) zones(wanted []conf.Zone, configs map[int]*config, logf func(slog.Level, string, ...any)) (zones []*zone, err error) {
	var newest *config
	for id, c := range configs {
		if newest == nil || id > newest.facts.id {
			newest = c
		}
	}
	have := sh.inherited
	if newest != nil {
		have = newest.zones
	}
	for _, w := range wanted {
		z, why := find(have, w)
		switch {
		case z != nil && z.Key != w.Key && newest != nil:
			err = fmt.Errorf("%s \"%s\" uses the \"%s\" key while previously it used the \"%s\" key", w.Kind, w.Name, w.Key, z.Key)
		case z != nil && z.Key != w.Key:
			z, why = nil, "it had the key \""+z.Key+"\""
		}
		if why != "" {
			logf(errorlog.Notice, "shared memory zone \"%s\" begins empty: %s", w.Name, why)
		}
		if z == nil && err == nil {
			z = &zone{Zone: w}
			z.fd, err = shm.Create(w.Name, w.Size, w.Kind)
		}
		if err != nil {
			releaseZones(zones)
			return nil, err
		}
		z.users++
		zones = append(zones, z)
	}
	return zones, nil
}

// find returns the zone among have that can be used for w, or nil. why tells what speaks
// against one that seemed to be the right one, which an operator does not expect.
func find(have []*zone, w conf.Zone) (found *zone, why string) {
	for _, z := range have {
		if z.Name != w.Name || z.Kind != w.Kind || z.Size != w.Size {
			continue
		}
		if err := shm.Check(z.fd, z.Size, z.Kind); err != nil {
			return nil, err.Error()
		}
		return z, ""
	}
	return nil, ""
}

// releaseZones lets go of zones that a configuration had.
func releaseZones(zones []*zone) {
	for _, z := range zones {
		if z.users--; z.users == 0 {
			_ = unix.Close(z.fd) // nothing is written to it
		}
	}
}

// inherit takes a zone that the old master passed under a name, of which it says what
// zones tells. Anything else is left alone.
func (sh *sharing) inherit(zones []conf.Zone, name string, f *os.File) {
	name, ok := strings.CutPrefix(name, control.FileZone)
	for _, z := range zones {
		if !ok || z.Name != name {
			continue
		}
		fd, err := proc.FD(f)
		if err == nil {
			fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		}
		if err == nil {
			sh.inherited = append(sh.inherited, &zone{Zone: z, fd: fd, users: 1})
		}
		return
	}
}

// disinherit closes what the first configuration did not want of the old master's.
func (sh *sharing) disinherit() {
	releaseZones(sh.inherited)
	sh.inherited = nil
}

// zoneFiles returns zones as they travel.
func zoneFiles(zones []*zone) (files []control.File) {
	for _, z := range zones {
		files = append(files, control.File{Name: control.FileZone + z.Name, FD: z.fd})
	}
	return files
}

// fitting returns the first zones, as many as one message can tell of.
func fitting(zones []*zone) []*zone {
	bytes := 0
	for i, z := range zones {
		// Twice the name, and each byte of text may be written as six.
		if bytes += 6*(2*len(z.Name)+len(z.Key)+len(z.Kind)) + 100; bytes > maxPassedBytes || i == maxPassedZones {
			return zones[:i]
		}
	}
	return zones
}
