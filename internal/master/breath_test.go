package master_test

import (
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
)

// inOneBreath sends the whole procedure of an upgrade without a pause. The kernel
// delivers QUIT first when all three wait.
func (s *server) inOneBreath() {
	s.t.Helper()
	for _, sig := range []syscall.Signal{syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGQUIT} {
		if err := syscall.Kill(s.master, sig); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestUpgradeInOneBreath: a script that says USR2, WINCH and QUIT without a pause gets its
// upgrade, and no client a refusal.
func TestUpgradeInOneBreath(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	l := s.clients()
	s.Sh(`cp -f $NEW $P/sbin/nginx`)
	for range 4 {
		s.inOneBreath()
		next := s.newMaster()
		s.WaitShape(oneMaster)
		s.gone(s.OldbinFile())
		if now := s.Pid(); now != next {
			t.Fatalf("the pid file names %d, want %d", now, next)
		}
		s.master = next
	}
	s.stop(l)
	s.quit()
}

// TestFailureInOneBreath: the same with a binary that never serves leaves the old
// generation as it was. Invariant 4.
func TestFailureInOneBreath(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]func(*server) string{
		"exits at once":      func(s *server) string { return testbed.Fixture(s.t, testbed.ExitsAtOnce) },
		"cannot be executed": func(s *server) string { return testbed.WrongArchitecture(s.t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testbed.Conf{})
			l := s.clients()
			s.install(path(s))
			s.inOneBreath()
			s.waitLog("the new binary process failed")
			s.asBefore()
			s.stop(l)
			s.again()
		})
	}
}
