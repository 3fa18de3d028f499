package upgrade

import (
	"context"
	"fmt"

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

// nowCalled returns g as it is named now: the pid file of an old master has another name
// in an upgrade.
func (g *generation) nowCalled(pidFile string) *generation {
	now := *g
	now.pidFile = pidFile
	return &now
}

// retiredSince words what became of the connections of old workers since before; ""
// when the master does not tell.
func retiredSince(before, now *report.Report) string {
	if before == nil || now == nil {
		return ""
	}
	b, n := before.Retired, now.Retired
	return fmt.Sprintf("; %s moved, %d drained, %d closed", count(n.Moved-b.Moved, "connection"), n.Drained-b.Drained, n.Closed-b.Closed)
}

// A ledger counts the answers of one generation from a moment on: by what its master
// says, else by access logs.
type ledger struct {
	g    *generation
	base *report.Report
	logs []logPlace
}

func (g *generation) openLedger(ctx context.Context) ledger {
	return ledger{g, g.ask(ctx), accessLogs(g.pid)}
}

// answers returns what was counted since.
func (l ledger) answers(ctx context.Context) (a answers) {
	if now := l.g.ask(ctx); l.base != nil && now != nil {
		a.all = int(now.Counters.Answered - l.base.Counters.Answered)
		a.failed = int(now.Counters.Failed - l.base.Counters.Failed)
		return a
	}
	for _, p := range l.logs {
		a.countNew(p)
	}
	return a
}

// answersSoFar returns how a generation answered until now.
func (g *generation) answersSoFar(ctx context.Context) (a answers) {
	if r := g.ask(ctx); r != nil {
		return answers{int(r.Counters.Answered), int(r.Counters.Failed)}
	}
	for _, p := range accessLogs(g.pid) {
		a.count(p, 0, p.at)
	}
	return a
}
