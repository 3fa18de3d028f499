package upgrade_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/report"
	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/upgrade"
)

// A master of Baton tells what it knows, and so the upgrade tells what moved; nginx does
// not, and nothing is left of what the one listened on.
func TestMasterTellsOfItself(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, k)
			s.Configure(testbed.Conf{User: testbed.PackageUser(), Server: "location = /bad { return 500; }"})
			master := s.start("./nginx")
			const good, bad = 5, 3
			for range good {
				s.Get("/")
			}
			for range bad {
				s.Get("/bad")
			}
			if k.name == "nginx" {
				if r := s.look().Generations[0].Report; r != nil {
					t.Errorf("nginx reports %+v", r)
				}
				s.stop()
				return
			}
			var r *report.Report
			s.WaitFor("a report of all answers", func() bool { // they are counted when they are sent
				r = s.look().Generations[0].Report
				return r != nil && r.Counters.Answered >= good+bad
			})
			if r.Pid != master || r.Version != oldVersion || r.Phase != report.Serving || r.Upgraded || r.Successor != nil ||
				len(r.Generations) != 1 || r.Generations[0].State != "serving" || len(r.Generations[0].Workers) != 2 {
				t.Errorf("report = %+v", r)
			}
			if c := r.Counters; c.Answered != good+bad || c.Failed != bad || c.Requests != good+bad {
				t.Errorf("counters = %+v, want %d answers, %d of them failed", c, good+bad, bad)
			}

			c := s.open("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v, %v", resp, err)
			}
			var retired string
			outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
				o.Tell = func(e upgrade.Event) {
					if e.Event == "end" && e.Step == upgrade.Retire {
						retired = e.Text
					}
				}
			})
			if outcome != upgrade.Done || err != nil {
				t.Fatalf("upgrade: %s, %v", outcome, err)
			}
			if !strings.HasSuffix(retired, "; 1 connection moved, 0 drained, 0 closed") {
				t.Errorf("retire told %q, want one connection moved", retired)
			}
			if r := s.waitPhase(upgrade.Serving).Generations[0].Report; r == nil || r.Version != newVersion || r.Upgraded {
				t.Errorf("report after the upgrade = %+v", r)
			}
			s.stop()
			for _, f := range []string{s.PIDFile(), s.OldbinFile()} {
				if _, err := os.Lstat(report.Path(f)); !os.IsNotExist(err) {
					t.Errorf("%s: %v, want that it is gone", report.Path(f), err)
				}
			}
		})
	}
}

// A Baton that was told to go keeps its listening sockets until it does: that it cannot
// come back it says itself.
func TestOldBatonThatStays(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[1])
	old := s.start("./nginx")
	// To nginx nothing can be moved.
	c := s.open("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
	s.WaitFor("the connection", func() bool { return s.look().Generations[0].Connections == 1 })
	outcome, err := s.upgrade(nginxPath(t), func(o *upgrade.Options) {
		o.DrainTimeout, o.AllowMissingModules = 300*time.Millisecond, true
	})
	if outcome != upgrade.Done || err != nil {
		t.Fatalf("upgrade: %s, %v", outcome, err)
	}
	if st := s.waitPhase(upgrade.Committed); st.Generations[0].Master != old || st.Generations[0].Report.Phase != report.Draining {
		t.Errorf("generations = %+v, want the old master %d draining", st.Generations, old)
	}
	outcome, err = upgrade.Rollback(t.Context(), upgrade.Options{PidFile: s.PIDFile(), DrainTimeout: 300 * time.Millisecond})
	if upgrade.ExitStatus(outcome, err) != 4 || !strings.Contains(fmt.Sprint(err), "which cannot come back") {
		t.Errorf("rollback meanwhile: %s, %v; want exit status 4, and why", outcome, err)
	}
	s.Sh(fmt.Sprintf("kill -TERM %d", old)) // as it says
	c.Close()
	if outcome, err := s.takeOver(upgrade.Rollback); outcome != upgrade.Done || err != nil {
		t.Errorf("rollback after it: %s, %v", outcome, err)
	}
	s.wantVersion("baton/"+oldVersion, upgrade.Done)
	s.stop()
}
