package upstream

import "time"

// A Peer is one address of one server. Its name and server do not change; what
// else is in it is guarded by its group's lock.
type Peer struct {
	endpoint
	server string // as the configuration names it

	weight      int
	maxConns    int
	maxFails    int
	failTimeout int64 // seconds
	down        bool

	current   int // smooth weighted round robin
	effective int // weight, less after failures
	conns     int
	fails     int
	accessed  int64 // of the last failure, unix seconds
	checked   int64 // when it was last given a chance after a failure
}

// Name is the address: "127.0.0.1:8080", "[::1]:80", "unix:/path".
func (p *Peer) Name() string { return p.name }

// peers are the primary servers of a group, or its backup ones.
type peers struct {
	list   []*Peer
	single bool // it is the only server: it is never given up
	total  int  // sum of weights
	tries  int  // servers that are not down
}

func (ps *peers) add(p *Peer) {
	ps.list = append(ps.list, p)
	ps.total += p.weight
	if !p.down {
		ps.tries++
	}
}

// usable reports whether p may be chosen now.
func (p *Peer) usable(now int64) bool {
	switch {
	case p.down:
		return false
	case p.maxFails > 0 && p.fails >= p.maxFails && now-p.checked <= p.failTimeout:
		return false
	case p.maxConns > 0 && p.conns >= p.maxConns:
		return false
	}
	return true
}

// raise counts a turn of smooth weighted round robin, in which the peer is one to
// choose from, and returns its share.
func (p *Peer) raise() int {
	p.current += p.effective
	share := p.effective
	if p.effective < p.weight {
		p.effective++
	}
	return share
}

// chosen notes that p is tried now: after fail_timeout one request may find out
// whether it lives again.
func (p *Peer) chosen(now int64) {
	if now-p.checked > p.failTimeout {
		p.checked = now
	}
}

// failed accounts a failure and reports whether it is the one that takes the peer
// out of service.
func (p *Peer) failed(now int64) bool {
	p.fails++
	p.accessed, p.checked = now, now
	if p.maxFails == 0 {
		return false
	}
	p.effective = max(0, p.effective-p.weight/p.maxFails)
	return p.fails >= p.maxFails
}

func (p *Peer) succeeded() {
	if p.accessed < p.checked {
		p.fails = 0
	}
}

// defaults of a server without parameters.
const (
	defaultMaxFails    = 1
	defaultFailTimeout = 10 * time.Second
)

func newPeer(server string, e endpoint) *Peer {
	return &Peer{
		endpoint: e, server: server, weight: 1, effective: 1,
		maxFails: defaultMaxFails, failTimeout: int64(defaultFailTimeout / time.Second),
	}
}
