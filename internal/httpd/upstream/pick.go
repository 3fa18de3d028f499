package upstream

import (
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// A Pick is one request's walk over the servers of a group: which were tried, and
// how many tries are left. It can be used again after Begin.
type Pick struct {
	// Tries is how many more servers may be asked; it is kept as nginx keeps it, by
	// Next and Free, and a protocol may add one for a cached connection that turned
	// out to be dead.
	Tries int

	g     *Group
	set   *peers
	peer  *Peer
	tried []uint64
	// For the balancers that hash.
	key    []byte
	hash   uint32
	rehash int
	missed int // tries of the hash that led to nothing
}

// maxMissed is how often a hash is asked before round robin decides.
const maxMissed = 20

// Begin starts over with group g for request r. limit bounds the number of tries;
// 0 means one for each server.
func (k *Pick) Begin(g *Group, r *httpd.Request, limit int) {
	k.g, k.set, k.peer = g, &g.primary, nil
	k.Tries = g.primary.tries + g.backup.tries
	if limit > 0 && k.Tries > limit {
		k.Tries = limit
	}
	k.clearTried()
	k.hash, k.rehash, k.missed = 0, 0, 0
	if g.method.begin != nil {
		g.method.begin(k, r)
	}
}

func (k *Pick) clearTried() {
	words := (len(k.set.list) + 63) / 64
	if cap(k.tried) < words {
		k.tried = make([]uint64, words)
		return
	}
	k.tried = k.tried[:words]
	clear(k.tried)
}

func (k *Pick) wasTried(i int) bool { return k.tried[i/64]&(1<<(i%64)) != 0 }
func (k *Pick) markTried(i int)     { k.tried[i/64] |= 1 << (i % 64) }

// Next chooses the server for the next try, or returns nil when none is alive. A
// server that it returned must be given back with Free.
func (k *Pick) Next(now time.Time) *Peer {
	k.g.mu.Lock()
	defer k.g.mu.Unlock()
	sec := now.Unix()
	if k.g.method.next != nil && !k.set.single {
		k.peer = k.g.method.next(k, sec)
	} else {
		k.peer = k.roundRobin(sec)
	}
	return k.peer
}

// Outcome is what became of a try.
type Outcome uint8

const (
	// Worked: the server answered.
	Worked Outcome = iota
	// Moved: the server answered, and the next one is asked nevertheless.
	Moved
	// Failed: it did not answer, or with what counts as a failure.
	Failed
)

// Free gives the server of the last Next back. It reports whether this failure
// took it out of service.
func (k *Pick) Free(o Outcome, now time.Time) (disabled bool) {
	if k.peer == nil {
		return false
	}
	k.g.mu.Lock()
	defer k.g.mu.Unlock()
	p := k.peer
	k.peer = nil
	p.conns--
	if k.set.single {
		k.Tries = 0
		return false
	}
	if o == Failed {
		disabled = p.failed(now.Unix())
	} else {
		p.succeeded()
	}
	if k.Tries > 0 {
		k.Tries--
	}
	return disabled
}

// take makes peer i the one that is tried.
func (k *Pick) take(i int, now int64) *Peer {
	p := k.set.list[i]
	k.markTried(i)
	p.chosen(now)
	p.conns++
	return p
}

// roundRobin is nginx's smooth weighted round robin, over the backup servers when
// no primary one can be had.
func (k *Pick) roundRobin(now int64) *Peer {
	for {
		if p := k.roundRobinIn(now); p != nil {
			return p
		}
		if !k.toBackup() {
			return nil
		}
	}
}

// toBackup turns to the backup servers and reports whether there are any.
func (k *Pick) toBackup() bool {
	if k.set != &k.g.primary || len(k.g.backup.list) == 0 {
		return false
	}
	k.set = &k.g.backup
	k.clearTried()
	return true
}

func (k *Pick) roundRobinIn(now int64) *Peer {
	if k.set.single {
		p := k.set.list[0]
		if p.down || p.maxConns > 0 && p.conns >= p.maxConns {
			return nil
		}
		p.conns++
		return p
	}
	best, total := -1, 0
	for i, p := range k.set.list {
		if k.wasTried(i) || !p.usable(now) {
			continue
		}
		total += p.raise()
		if best < 0 || p.current > k.set.list[best].current {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	k.set.list[best].current -= total
	return k.take(best, now)
}
