package upgrade

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/baton-deploy/baton/internal/report"
)

// maxDeaths is how many workers of a new master may die before it counts as broken:
// one may be killed for reasons that are not its own.
const maxDeaths = 3

// A crew is the workers of a new master, over several looks at them.
type crew struct {
	alive  map[int]process
	deaths int
	since  time.Time // the workers are the same ones since then
	told   []int     // of those that were seen to retire
	// load says which load of the configuration they serve, as a master of Baton counts
	// them; 0 when it does not tell.
	load int
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

// roll calls the workers that were there when the new master was ready. It returns those
// that are gone and were not seen to be told so, how many of the others stay, and how many
// came since.
func (c *crew) roll(g *generation) (died []process, left, joined int) {
	there := map[int]process{}
	for _, w := range g.workers {
		there[w.pid] = w
	}
	for pid, w := range c.alive {
		switch now := there[pid]; {
		case now.start == w.start && now.isRetiring():
			c.told = append(c.told, pid)
		case now.start == w.start:
			left++
		case !slices.Contains(c.told, pid):
			died = append(died, w)
		}
	}
	return died, left, g.serving() - left
}

// loadOf returns which load of its configuration a master serves; 0 when it does not tell.
func loadOf(r *report.Report) (load int) {
	if r == nil {
		return 0
	}
	for _, g := range r.Generations {
		load = max(load, g.ID)
	}
	return load
}

// wellNow finds that the new generation, or the way back, is not as it was when it was
// ready. A reload is no reason to go back: whoever watches for long sees one.
func (op *operation) wellNow(ctx context.Context) error {
	s, err := op.see()
	if err != nil {
		return err
	}
	died, left, joined := op.crew.roll(s.new)
	relieved := left == 0 && joined > 0
	switch {
	case len(died) == 0 && !relieved:
		return nil
	case len(died) > 0 && !op.reloaded(ctx, s.new, died, left, joined):
		return fmt.Errorf("worker %d of the new master %d died", died[0].pid, s.new.pid)
	case !relieved:
		return nil // the others have not heard of the reload yet
	}
	op.note("the new master %d has loaded its configuration again: %s", s.new.pid, count(s.new.serving(), "other worker"))
	op.crew = crew{load: loadOf(s.new.nowCalled(op.o.PidFile).ask(ctx))}
	return op.crew.look(s.new)
}

// killedLine is what nginx logs of a worker that did not go by itself, at level alert.
var killedLine = regexp.MustCompile(`worker process (\d+) exited (on signal|with fatal code)`)

// reloaded finds out whether there are other workers because of a reload, and not because
// some died. A reload starts all that it needs before it tells the first one to go.
func (op *operation) reloaded(ctx context.Context, g *generation, died []process, left, joined int) bool {
	if joined == 0 {
		return false
	}
	if now := loadOf(g.nowCalled(op.o.PidFile).ask(ctx)); now != 0 {
		return now > op.crew.load
	}
	if left > 0 && joined <= len(died) {
		return false // as many as were started again
	}
	if op.log.file == nil {
		return len(died) > 1 // all in one moment do not die
	}
	for _, line := range op.log.since() {
		m := killedLine.FindStringSubmatch(line)
		if m != nil && slices.ContainsFunc(died, func(w process) bool { return strconv.Itoa(w.pid) == m[1] }) {
			return false
		}
	}
	return true
}
