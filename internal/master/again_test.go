package master_test

import (
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
)

// TestUpgradeAtOnceAfterCommit: USR2 counts as soon as the old master is gone, also
// when the new one has not heard of that.
func TestUpgradeAtOnceAfterCommit(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	pid := s.upgrade()
	s.Signal(pid, syscall.SIGSTOP) // what comes now comes all at once
	s.Signal(s.master, syscall.SIGKILL)
	s.WaitFor("end of the old master", func() bool {
		for _, p := range s.Processes() {
			if p.PID == s.master {
				return false
			}
		}
		return true
	})
	s.Signal(pid, syscall.SIGUSR2)
	s.Signal(pid, syscall.SIGCONT)
	s.master = pid
	s.WaitShape(twoMasters)
	if newest := s.newMaster(); newest == pid {
		t.Errorf("no new master but %d", newest)
	}
	s.Signal(pid, syscall.SIGQUIT)
	s.WaitShape(oneMaster)
	s.master = s.Pid()
	s.quit()
}
