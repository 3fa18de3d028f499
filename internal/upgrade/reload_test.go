package upgrade_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
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

// The new version loads the configuration that is on disk, which may be one that the
// running master has never loaded: check says so.
func TestCheckTellsWhatWasNotLoaded(t *testing.T) {
	t.Parallel()
	s := newSite(t, kinds()[1])
	s.start("$P/sbin/nginx")
	const told = "the new version loads what master "
	for _, changed := range []bool{false, true} {
		if changed {
			s.Configure(testbed.Conf{User: testbed.PackageUser(), HTTP: "# another one"})
			s.waitChanged()
		}
		var notes []string
		outcome, err := s.upgrade(s.new, func(o *upgrade.Options) {
			o.DryRun = true
			o.Tell = func(e upgrade.Event) { notes = append(notes, e.Text) }
		})
		if outcome != upgrade.Done || err != nil {
			t.Fatalf("dry run: %s, %v", outcome, err)
		}
		has := slices.ContainsFunc(notes, func(text string) bool {
			return strings.HasPrefix(text, told) && strings.Contains(text, s.ConfFile()+" changed since")
		})
		if has != changed {
			t.Errorf("changed %v, and it said %q", changed, notes)
		}
	}
	s.stop()
}

// waitChanged waits until the master tells that files have changed: it does not look at
// each question.
func (s *site) waitChanged() {
	s.t.Helper()
	s.WaitFor("changed files", func() bool {
		r := s.look().Generations[0].Report
		return r != nil && len(r.Changed) > 0
	})
}
