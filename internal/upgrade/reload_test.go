package upgrade_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/tree"
	"github.com/baton-deploy/baton/internal/upgrade"
)

// Whoever reloads the configuration in the soak, as those do that renew certificates, does
// not end the upgrade: the workers that serve then are watched.
func TestReloadInTheSoak(t *testing.T) {
	for _, tc := range []struct {
		name string
		then bool // a worker dies after it
		want upgrade.Outcome
		err  string
	}{
		{"and no more", false, upgrade.Done, ""},
		{"and a worker that dies", true, upgrade.Failed, "of the new master"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, s *site) {
				s.start("$P/sbin/nginx")
				reloaded := ""
				outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
					o.Soak = 2 * time.Second
					tell := o.Tell
					o.Tell = func(e upgrade.Event) {
						tell(e)
						switch {
						case e.Event == "progress" && e.Step == upgrade.Soak && e.Count == 0 && reloaded == "":
							reloaded = "told"
							s.Signal(s.Pid(), syscall.SIGHUP)
						case strings.Contains(e.Text, "has loaded its configuration again: 2 other workers"):
							reloaded = "seen"
							if tc.then {
								s.Signal(s.Workers(s.Pid())[0].PID, syscall.SIGKILL)
							}
						}
					}
				})
				if outcome != tc.want || tc.err == "" && err != nil || tc.err != "" && !strings.Contains(err.Error(), tc.err) {
					t.Errorf("upgrade: %s, %v; want %s %q", outcome, err, tc.want, tc.err)
				}
				if reloaded != "seen" {
					t.Errorf("the reload was %s", reloaded)
				}
				s.stop()
			})
		})
	}
}

// One worker hears of a reload later than another that has gone already: no reason to take
// that one for dead.
func TestReloadInTheSoakThatIsSlow(t *testing.T) {
	eachKind(t, func(t *testing.T, s *site) {
		s.start("$P/sbin/nginx")
		deaf, looks := 0, 0
		outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
			o.Soak = 2 * time.Second
			tell := o.Tell
			o.Tell = func(e upgrade.Event) {
				tell(e)
				if e.Event != "progress" || e.Step != upgrade.Soak {
					return
				}
				switch looks++; looks {
				case 1:
					quick, slow := s.Workers(s.Pid())[0].PID, s.Workers(s.Pid())[1].PID
					deaf = slow
					s.Signal(slow, syscall.SIGSTOP)
					s.Signal(s.Pid(), syscall.SIGHUP)
					s.WaitFor("the end of the quick worker", func() bool {
						return !slices.ContainsFunc(s.Workers(s.Pid()), func(p tree.Process) bool { return p.PID == quick })
					})
				case 2:
					s.Signal(deaf, syscall.SIGCONT)
				}
			}
		})
		if looks < 2 {
			s.Signal(deaf, syscall.SIGCONT)
		}
		if outcome != upgrade.Done || err != nil {
			t.Errorf("upgrade: %s, %v", outcome, err)
		}
		s.stop()
	})
}
