package upstream

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/httpd"
)

// hashKey is the "hash" directive: memcached's way, or a ring of points as
// Cache::Memcached::Fast has it, so that a change of servers moves few keys.
func hashKey(key httpd.Template, consistent bool) method {
	m := method{name: "hash", noBackup: true}
	m.begin = func(k *Pick, r *httpd.Request) {
		k.key = key.Append(k.key[:0], r)
		if consistent {
			k.hash = k.g.ring.find(crc32.ChecksumIEEE(k.key))
		}
	}
	m.next = nextHash
	if consistent {
		m.next = nextOnRing
	}
	return m
}

func nextHash(k *Pick, now int64) *Peer {
	for k.missed <= maxMissed && len(k.key) > 0 && k.set.total > 0 {
		sum := uint32(0)
		if k.rehash > 0 {
			var digits [20]byte
			sum = crc32.Update(sum, crc32.IEEETable, strconv.AppendInt(digits[:0], int64(k.rehash), 10))
		}
		sum = crc32.Update(sum, crc32.IEEETable, k.key)
		k.hash += sum >> 16 & 0x7fff
		k.rehash++
		i := k.set.byWeight(int(k.hash % uint32(k.set.total)))
		if !k.wasTried(i) && k.set.list[i].usable(now) {
			return k.take(i, now)
		}
		k.missed++
	}
	return k.roundRobin(now)
}

// A ring is the points of consistent hashing, sorted.
type ring []point

type point struct {
	hash   uint32
	server string
}

const pointsPerWeight = 160

func newRing(list []*Peer) ring {
	var rg ring
	for _, p := range list {
		base := serverHash(p.server)
		var prev [4]byte
		for range p.weight * pointsPerWeight {
			h := crc32.Update(base, crc32.IEEETable, prev[:])
			rg = append(rg, point{h, p.server})
			binary.LittleEndian.PutUint32(prev[:], h)
		}
	}
	sort.SliceStable(rg, func(i, j int) bool { return rg[i].hash < rg[j].hash })
	return slices.CompactFunc(rg, func(a, b point) bool { return a.hash == b.hash })
}

// serverHash is the checksum of host, NUL, port: what the points of a server
// begin with.
func serverHash(server string) uint32 {
	host, port := server, ""
	if len(server) >= 5 && strings.EqualFold(server[:5], "unix:") {
		host = server[5:]
	} else if i := strings.LastIndexByte(server, ':'); i >= 0 && strings.Trim(server[i+1:], "0123456789") == "" {
		host, port = server[:i], server[i+1:]
	}
	return crc32.ChecksumIEEE([]byte(host + "\x00" + port))
}

// find returns the place of the first point at or after h.
func (rg ring) find(h uint32) uint32 {
	i := sort.Search(len(rg), func(i int) bool { return rg[i].hash >= h })
	return uint32(i)
}

func nextOnRing(k *Pick, now int64) *Peer {
	rg := k.g.ring
	for k.missed <= maxMissed && len(k.key) > 0 && len(rg) > 0 {
		server := rg[int(k.hash)%len(rg)].server
		best, total := -1, 0
		for i, p := range k.set.list {
			if p.server != server || k.wasTried(i) || !p.usable(now) {
				continue
			}
			total += p.raise()
			if best < 0 || p.current > k.set.list[best].current {
				best = i
			}
		}
		if best >= 0 {
			k.set.list[best].current -= total
			return k.take(best, now)
		}
		k.hash++
		k.missed++
	}
	return k.roundRobin(now)
}
