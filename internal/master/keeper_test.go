package master_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A container is a server whose first master is process 1 of a space of its own, as in
// docker. Pid files have the numbers of that space.
type container struct {
	*server
	p *tree.Proc // what started process 1, and ends as it ends
}

func startContainer(t *testing.T) *container {
	t.Helper()
	c := &container{server: site(t, testbed.Conf{Main: "daemon off;"})}
	c.p = c.Start("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", c.Binary())
	c.WaitFor("an answer", func() bool { return c.answers(oldVersion) })
	if pid := c.Pid(); pid != 1 {
		t.Fatalf("the pid file names %d, want 1", pid)
	}
	return c
}

// answers reports whether this version serves.
func (s *server) answers(version string) bool {
	a, err := testbed.Ask(s.t.Context(), nil, s.Addr, "/")
	return err == nil && a.Status == 200 && a.Server == "baton/"+version
}

// outer returns the process that the container numbers pid.
func (c *container) outer(pid int) tree.Process {
	c.t.Helper()
	for _, p := range c.Processes() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		if err == nil && strings.Contains(string(text), fmt.Sprintf("\nNSpid:\t%d\t%d\n", p.PID, pid)) {
			return p
		}
	}
	c.t.Fatalf("process %d of the container is not there:\n%s", pid, c.PS())
	return tree.Process{}
}

// tell sends a signal to process 1, as docker kill does.
func (c *container) tell(sig syscall.Signal) {
	c.t.Helper()
	c.Signal(c.outer(1).PID, sig)
}

// commits upgrades to what lies in the place of the binary, by signals to process 1 only,
// and returns the new master.
func (c *container) commits(old int) (pid int) {
	c.t.Helper()
	c.tell(syscall.SIGUSR2)
	c.WaitFor("a new master", func() bool {
		var err error
		pid, err = c.PID()
		return err == nil && pid != old
	})
	c.tell(syscall.SIGWINCH)
	c.tell(syscall.SIGQUIT)
	c.WaitFor("the commit", func() bool {
		_, err := os.Lstat(c.OldbinFile())
		return os.IsNotExist(err) && strings.Contains(c.outer(1).Title, "nginx: keeper process "+c.Binary())
	})
	return pid
}

// ends waits for the end of the container, which must have this exit status.
func (c *container) ends(want int) {
	c.t.Helper()
	status, err := c.p.Wait(c.t.Context())
	if err != nil || status.ExitStatus() != want {
		c.t.Errorf("the container ends with %v, %v, want exit status %d", status, err, want)
	}
}

// TestContainer: process 1 is upgraded, twice, and passes on what docker kill sends it.
// docker stop ends the container when the last connection is served.
func TestContainer(t *testing.T) {
	t.Parallel()
	c := startContainer(t)
	l := c.clients()
	c.Sh(`cp -f $NEW $P/sbin/nginx`)
	second := c.commits(1)
	if !c.answers(newVersion) {
		t.Error("the new version does not serve")
	}
	workers := c.Workers(c.outer(second).PID)
	c.tell(syscall.SIGHUP)
	c.WaitFor("other workers", func() bool {
		now := c.Workers(c.outer(second).PID)
		return len(now) == len(workers) && now[0].PID != workers[0].PID
	})
	third := c.commits(second)
	if p := c.outer(third); p.PPID != c.outer(1).PID {
		t.Errorf("the third master's parent is %d, want the keeper", p.PPID)
	}
	c.stop(l)
	// Who loses its parent in a container comes to process 1.
	c.Sh(fmt.Sprintf(`nsenter -t %d -p -m sh -c '(sleep 0.1; exit 0) & exit 0'`, c.outer(1).PID))
	c.WaitFor("the end of strangers", func() bool {
		for _, p := range c.Processes() {
			if p.Zombie() || p.Comm == "sleep" || p.Comm == "sh" {
				return false
			}
		}
		return true
	})
	c.tell(syscall.SIGQUIT)
	c.ends(0)
	c.gone(c.PIDFile())
}

// TestContainerEndsAsTheMaster: a crash of the current master ends the container, and its
// restart policy sees a failure.
func TestContainerEndsAsTheMaster(t *testing.T) {
	t.Parallel()
	c := startContainer(t)
	c.Sh(`cp -f $NEW $P/sbin/nginx`)
	second := c.commits(1)
	c.Signal(c.outer(second).PID, syscall.SIGKILL)
	c.ends(128 + int(syscall.SIGKILL))
}

// TestContainerStopsInUpgrade: TERM to process 1 while both generations serve ends both.
func TestContainerStopsInUpgrade(t *testing.T) {
	t.Parallel()
	c := startContainer(t)
	c.Sh(`cp -f $NEW $P/sbin/nginx`)
	c.tell(syscall.SIGUSR2)
	c.WaitFor("a new master", func() bool {
		pid, err := c.PID()
		return err == nil && pid != 1
	})
	c.tell(syscall.SIGTERM)
	c.ends(0)
	c.gone(c.PIDFile())
	c.gone(c.OldbinFile())
}

const kept = `
nginx: keeper process
  nginx: master process
    nginx: worker process
    nginx: worker process`

// TestSupervised: a supervisor that starts again what ends sees nothing of upgrades, and
// the end of the last master as that of the first.
func TestSupervised(t *testing.T) {
	t.Parallel()
	s := site(t, testbed.Conf{Main: "daemon off;"})
	p := s.Start(s.Binary())
	s.WaitShape(oneMaster)
	s.master = p.PID
	l := s.clients()
	for range 2 {
		next := s.upgrade2()
		s.Signal(s.master, syscall.SIGQUIT)
		s.WaitShape(kept)
		s.master = next
	}
	s.stop(l)
	if !s.answers(newVersion) {
		t.Error("the new version does not serve")
	}
	// Whoever looks for masters finds the one that serves.
	if found := strings.Fields(s.Sh(`pgrep -f "^nginx: master process $P/"`)); len(found) != 1 || found[0] != fmt.Sprint(s.master) {
		t.Errorf("pgrep finds masters %v, want %d", found, s.master)
	}
	s.Sh(`kill -TERM $(cat $P/logs/nginx.pid)`)
	status, err := p.Wait(t.Context())
	if err != nil || status.ExitStatus() != 0 {
		t.Errorf("the supervisor's child ends with %v, %v", status, err)
	}
	s.WaitShape("")
	s.gone(s.PIDFile())
}

// upgrade2 is upgrade for a master that may have a keeper.
func (s *server) upgrade2() int {
	s.t.Helper()
	s.Sh(`cp -f $NEW $P/sbin/nginx`)
	s.Signal(s.master, syscall.SIGUSR2)
	return s.newMaster()
}
