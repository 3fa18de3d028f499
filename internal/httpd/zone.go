package httpd

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/shm"
)

// A Zone is a shared zone that the configuration names. It can be used once a server runs.
type Zone struct {
	conf.Zone
	store *shm.Store
}

// Store is the memory of the zone, which the workers of a server share.
func (z *Zone) Store() *shm.Store { return z.store }

// Zone returns the zone of a name, for what kind says in nginx's word for messages. A size
// of 0 means that directive d only refers to it. The first one who tells a size says what
// it is.
func (b *Builder) Zone(d *conf.Directive, kind, name string, size int64) (*Zone, error) {
	for _, z := range b.site.zones {
		switch {
		case z.Name != name:
			continue
		case z.Kind != kind:
			return nil, conf.Errorf(d, "the shared memory zone \"%s\" is already declared for a different use", name)
		case z.Size == 0:
			z.Size = size
		case size != 0 && size != z.Size:
			return nil, conf.Errorf(d, "the size %d of shared memory zone \"%s\" conflicts with already declared size %d", size, name, z.Size)
		}
		return z, nil
	}
	z := &Zone{Zone: conf.Zone{Name: name, Kind: kind, Size: size}}
	b.site.zones = append(b.site.zones, z)
	return z, nil
}

// Zones returns what the master must know of the zones of the site. It fails for one that
// is referred to and has no size anywhere.
func (s *Site) Zones() (zones []conf.Zone, err error) {
	for _, z := range s.zones {
		if z.Size == 0 {
			e := conf.Errorf(nil, "zero size shared memory zone \"%s\"", z.Name)
			e.Late = true
			return nil, e
		}
		zones = append(zones, z.Zone)
	}
	return zones, nil
}

// openZones opens the zones of the site, and closes the files. One that cannot be opened
// is this worker's own.
func (s *Site) openZones(files map[string]*os.File, log *slog.Logger) {
	for _, z := range s.zones {
		if f := files[z.Name]; f != nil {
			store, err := shm.Open(f)
			if z.store = store; err != nil {
				log.Log(context.Background(), errorlog.Alert, fmt.Sprintf("shared memory zone \"%s\": %v", z.Name, err))
			}
		}
		if z.store == nil {
			z.store = shm.NewPrivate(z.Size)
		}
	}
	for _, f := range files {
		f.Close()
	}
}
