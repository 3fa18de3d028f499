package upgrade

import (
	"fmt"
	"time"
)

// maxDeaths is how many workers of a new master may die before it counts as broken:
// one may be killed for reasons that are not its own.
const maxDeaths = 3

// A crew is the workers of a new master, over several looks at them.
type crew struct {
	alive  map[int]process
	deaths int
	since  time.Time // the workers are the same ones since then
}

// look notes who is there now. It fails when too many have died.
func (c *crew) look(g *generation) error {
	now := map[int]process{}
	for _, w := range g.workers {
		if !w.isRetiring() {
			now[w.pid] = w
		}
	}
	changed := len(now) != len(c.alive)
	for pid, w := range c.alive {
		if now[pid].start != w.start {
			c.deaths++
			changed = true
		}
	}
	if changed || c.since.IsZero() {
		c.since = time.Now()
	}
	c.alive = now
	if c.deaths >= maxDeaths {
		return fmt.Errorf("workers of the new master %d die: %d did", g.pid, c.deaths)
	}
	return nil
}

// settled reports whether there are workers, the same ones for so long.
func (c *crew) settled(long time.Duration) bool {
	return len(c.alive) > 0 && time.Since(c.since) >= long
}

// steady returns how many workers there are.
func (c *crew) steady() int { return len(c.alive) }

// lost finds that a worker is gone that was there when the new master was ready.
func (c *crew) lost(g *generation) error {
	there := map[int]uint64{}
	for _, w := range g.workers {
		there[w.pid] = w.start
	}
	for pid, w := range c.alive {
		if there[pid] != w.start {
			return fmt.Errorf("worker %d of the new master %d died", pid, g.pid)
		}
	}
	return nil
}
