package master_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A worker that hangs does not keep its master from what others need: signals are
// obeyed at once, however many messages wait for it.
func TestHungWorkersDelayNobody(t *testing.T) {
	t.Parallel()
	var logs strings.Builder
	for i := range 100 {
		fmt.Fprintf(&logs, "access_log logs/access-%d.log;\n", i)
	}
	s := start(t, testbed.Conf{HTTP: logs.String()}) // so that messages are large
	hung := s.Workers(s.master)
	for _, w := range hung {
		s.Signal(w.PID, syscall.SIGSTOP)
	}
	reopened := func() int { return strings.Count(s.Log(), "(SIGUSR1) received, reopening logs") }
	// More than a socket and what is kept for it have room for.
	for n := 1; !hungUp(s.Log()); n++ {
		if n > 2000 {
			t.Fatal("the master never notices that a worker is hung")
		}
		sent := time.Now()
		s.Signal(s.master, syscall.SIGUSR1)
		s.WaitFor("the signal to be obeyed", func() bool { return reopened() >= n })
		if took := time.Since(sent); took > time.Second {
			t.Fatalf("signal %d was obeyed after %v", n, took)
		}
	}
	// They were hung up on. When they wake up they go, and others come.
	for _, w := range hung {
		s.Signal(w.PID, syscall.SIGCONT)
	}
	s.WaitFor("other workers", func() bool {
		ws := s.Workers(s.master)
		return len(ws) == 2 && !slices.ContainsFunc(ws, func(w tree.Process) bool { return w.PID == hung[0].PID || w.PID == hung[1].PID })
	})
	s.WaitShape(oneMaster)
	if a := s.Get("/"); a.Status != 200 {
		t.Errorf("status %d", a.Status)
	}
	s.quit()
}

// hungUp reports whether a master has given both workers up, for either of its reasons.
func hungUp(log string) bool {
	return strings.Count(log, "messages are not read")+strings.Count(log, "does not read what it is told") >= 2
}
