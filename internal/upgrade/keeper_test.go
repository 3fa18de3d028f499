package upgrade_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/upgrade"
)

// A server under a supervisor, whose first master stays as a keeper: it is upgraded by
// one command, and again, and goes back, as any other; the supervisor's child stays.
func TestUpgradeUnderASupervisor(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[1])
	p := s.Start(s.Binary(), "-p", s.Dir, "-g", "daemon off;")
	s.WaitFor("workers", func() bool { return len(s.Workers(p.PID)) == 2 })
	s.Pid() // it is written when they serve
	for range 2 {
		outcome, err := s.upgrade(s.new, func(o *upgrade.Options) { o.Soak = time.Millisecond })
		if outcome != upgrade.Done || err != nil {
			t.Fatalf("upgrade: %s, %v", outcome, err)
		}
		st := s.waitKept(p.PID)
		g := st.Generations[0]
		if g.Keeper != p.PID || g.Master == p.PID || !strings.HasPrefix(g.Version, s.kind.versions[1]) {
			t.Errorf("generation = %+v, want one of %s that %d keeps", g, s.kind.versions[1], p.PID)
		}
		if want := fmt.Sprintf("process %d keeps it", p.PID); !strings.Contains(st.String(), want) {
			t.Errorf("status is\n%swant %q in it", st, want)
		}
		outcome, err = upgrade.Rollback(t.Context(), upgrade.Options{
			PidFile: s.PIDFile(), ReadyTimeout: 20 * time.Second, DrainTimeout: 20 * time.Second, Pace: quick, Soak: time.Millisecond,
			Tell: func(e upgrade.Event) { t.Logf("%s %s %s%s", e.Event, e.Step, e.Text, e.Error) },
		})
		if outcome != upgrade.Done || err != nil {
			t.Fatalf("rollback: %s, %v", outcome, err)
		}
		if g := s.waitKept(p.PID).Generations[0]; g.Keeper != p.PID || !strings.HasPrefix(g.Version, s.kind.versions[0]) {
			t.Errorf("generation = %+v, want one of %s that %d keeps", g, s.kind.versions[0], p.PID)
		}
	}
	s.stop()
	if status, err := p.Wait(t.Context()); err != nil || status.ExitStatus() != 0 {
		t.Errorf("the supervisor's child ends with %v, %v", status, err)
	}
}

// waitKept waits until one master serves that keeper has as its child: a moment after the
// end of the one before.
func (s *site) waitKept(keeper int) (st *upgrade.Status) {
	s.t.Helper()
	s.WaitFor("a master that is kept", func() bool {
		st = s.look()
		return st.Phase == upgrade.Serving && st.Generations[0].Keeper == keeper
	})
	return st
}
