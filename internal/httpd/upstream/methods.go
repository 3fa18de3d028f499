package upstream

import (
	"math/rand/v2"
	"net/netip"

	"github.com/baton-deploy/baton/internal/httpd"
)

// A method is a way to choose a server. The zero method is round robin. next is
// called with the group's lock held.
type method struct {
	name     string
	begin    func(k *Pick, r *httpd.Request)
	next     func(k *Pick, now int64) *Peer
	noBackup bool // the parameter "backup" of a server is refused
}

func leastConn() method { return method{name: "least_conn", next: nextLeastConn} }

// nextLeastConn takes the server with the fewest connections for its weight;
// among equals round robin decides.
func nextLeastConn(k *Pick, now int64) *Peer {
	list := k.set.list
	best, many := -1, false
	for i, p := range list {
		if k.wasTried(i) || !p.usable(now) {
			continue
		}
		switch {
		case best < 0 || p.conns*list[best].weight < list[best].conns*p.weight:
			best, many = i, false
		case p.conns*list[best].weight == list[best].conns*p.weight:
			many = true
		}
	}
	if best < 0 {
		if !k.toBackup() {
			return nil
		}
		return nextLeastConn(k, now)
	}
	if many {
		best = k.fewestInTurn(best, now)
	}
	return k.take(best, now)
}

// fewestInTurn chooses by round robin among the peers from first on with as few
// connections as it.
func (k *Pick) fewestInTurn(first int, now int64) int {
	list := k.set.list
	best, total := first, 0
	for i := first; i < len(list); i++ {
		p := list[i]
		if k.wasTried(i) || p.conns*list[best].weight != list[best].conns*p.weight || !p.usable(now) {
			continue
		}
		total += p.raise()
		if p.current > list[best].current {
			best = i
		}
	}
	list[best].current -= total
	return best
}

func ipHash() method {
	return method{name: "ip_hash", begin: beginIPHash, next: nextIPHash, noBackup: true}
}

func beginIPHash(k *Pick, r *httpd.Request) {
	k.hash = 89
	k.key = append(k.key[:0], 0, 0, 0)
	ip, err := netip.ParseAddr(r.RemoteAddr())
	switch {
	case err != nil:
	case ip.Is4():
		b := ip.As4()
		k.key = append(k.key[:0], b[:3]...)
	default:
		b := ip.As16()
		k.key = append(k.key[:0], b[:]...)
	}
}

func nextIPHash(k *Pick, now int64) *Peer {
	for k.missed <= maxMissed && k.set.total > 0 {
		for _, b := range k.key {
			k.hash = (k.hash*113 + uint32(b)) % 6271
		}
		i := k.set.byWeight(int(k.hash) % k.set.total)
		if !k.wasTried(i) && k.set.list[i].usable(now) {
			return k.take(i, now)
		}
		k.missed++
	}
	return k.roundRobin(now)
}

// byWeight returns the peer in whose share of the total weight w falls.
func (ps *peers) byWeight(w int) int {
	for i, p := range ps.list {
		if w < p.weight {
			return i
		}
		w -= p.weight
	}
	return len(ps.list) - 1
}

// random takes a server by chance, by weight. two takes two and of those the one
// with fewer connections for its weight.
func random(two bool) method {
	next := nextRandom
	if two {
		next = nextOfTwo
	}
	return method{name: "random", next: next, noBackup: true}
}

// maxDraws bounds how often chance is asked before round robin decides.
const maxDraws = 20

func (k *Pick) draw(now int64) int {
	for range maxDraws {
		i := k.set.byWeight(rand.IntN(max(1, k.set.total)))
		if !k.wasTried(i) && k.set.list[i].usable(now) {
			return i
		}
	}
	return -1
}

func nextRandom(k *Pick, now int64) *Peer {
	if i := k.draw(now); i >= 0 {
		return k.take(i, now)
	}
	return k.roundRobin(now)
}

func nextOfTwo(k *Pick, now int64) *Peer {
	first := k.draw(now)
	if first < 0 {
		return k.roundRobin(now)
	}
	second := first
	for range maxDraws {
		if second = k.draw(now); second != first {
			break
		}
	}
	if second >= 0 && second != first {
		a, b := k.set.list[first], k.set.list[second]
		// Of two that are equally busy nginx takes the second: light servers get more
		// than their weight.
		if b.conns*a.weight <= a.conns*b.weight {
			first = second
		}
	}
	return k.take(first, now)
}
