package upgrade

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/baton-deploy/baton/internal/report"
)

// ask returns what a master of Baton says of itself. nil says that it does not: it is
// none, or of an older release, or hung. Then it is looked at as any other.
func (g *generation) ask(ctx context.Context) *report.Report {
	if g.pidFile == "" {
		return nil
	}
	r, err := report.Ask(ctx, g.pidFile, g.pid)
	if err != nil {
		return nil
	}
	return &r
}

// asking returns g with what it says of itself.
func (g *generation) asking(ctx context.Context) *generation {
	now := *g
	now.report = g.ask(ctx)
	return &now
}

// endDrain is the command that ends what a master still has that was told to go. One that
// stays as a keeper takes TERM for the end of the server: its workers are ended.
func (g *generation) endDrain() string {
	words := []string{"kill", "-TERM"}
	if g.report != nil && g.report.Keeps {
		for _, w := range g.workers {
			words = append(words, strconv.Itoa(w.pid))
		}
	}
	if len(words) == 2 {
		words = append(words, strconv.Itoa(g.pid))
	}
	return command(words...)
}

// nowCalled returns g as it is named now: the pid file of an old master has another name
// in an upgrade.
func (g *generation) nowCalled(pidFile string) *generation {
	now := *g
	now.pidFile = pidFile
	return &now
}

// reportPatience is how long a master may take to hear what a worker said before it
// exited.
const reportPatience = time.Second

// retiredSince words what became of the connections of an old master's workers since
// before, when it had so many; "" when it does not tell.
func (g *generation) retiredSince(ctx context.Context, before *report.Report, workers int) string {
	if before == nil {
		return ""
	}
	b, n := before.Retired, report.Retired{}
	// One that was killed said nothing: then what the others did is told.
	_ = until(ctx, reportPatience, func() (bool, string, error) {
		now := g.ask(ctx)
		if now != nil {
			n = now.Retired
		}
		return now == nil || n.Workers-b.Workers >= workers, "", nil
	})
	if n.Workers == 0 {
		return ""
	}
	return fmt.Sprintf("; %s moved, %d drained, %d closed", count(n.Moved-b.Moved, "connection"), n.Drained-b.Drained, n.Closed-b.Closed)
}

// A ledger counts the answers of one generation from a moment on: by what its master
// says, else by access logs.
type ledger struct {
	g     *generation
	base  *report.Report
	logs  []logPlace
	tells bool      // the master does, unless it hangs
	told  time.Time // when it told something last
}

// openLedger begins to count; tells says that the master has told something before.
func (g *generation) openLedger(ctx context.Context, tells bool) ledger {
	base := g.ask(ctx)
	return ledger{g, base, accessLogs(g.process), tells || base != nil, time.Now()}
}

// answers returns what was counted since. A master that tells and has told nothing for
// patience hangs, and that is an error.
func (l *ledger) answers(ctx context.Context, patience time.Duration) (a answers, err error) {
	if !l.tells {
		for _, p := range l.logs {
			a.countNew(p)
		}
		return a, nil
	}
	now := l.g.ask(ctx)
	if now == nil && ctx.Err() == nil && time.Since(l.told) > patience {
		return a, fmt.Errorf("the new master %d has told nothing for %v: it hangs", l.g.pid, time.Since(l.told).Round(time.Second))
	}
	if now == nil {
		return a, nil
	}
	l.told = time.Now()
	if l.base == nil {
		l.base = now
	}
	a.all = int(now.Counters.Answered - l.base.Counters.Answered)
	a.failed = int(now.Counters.Failed - l.base.Counters.Failed)
	return a, nil
}

// answersSoFar returns how a generation answered until now.
func (g *generation) answersSoFar(ctx context.Context) (a answers) {
	if r := g.ask(ctx); r != nil {
		return answers{int(r.Counters.Answered), int(r.Counters.Failed)}
	}
	for _, p := range accessLogs(g.process) {
		a.count(p, 0, p.at)
	}
	return a
}
