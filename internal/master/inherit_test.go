package master_test

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// TestNginxInheritsSocketsOnly: a new binary that is nginx gets the listening sockets, and
// one end of a channel that nobody reads any more. Its workers keep what it got, and they
// run as somebody else.
func TestNginxInheritsSocketsOnly(t *testing.T) {
	t.Parallel()
	x := startExchange(t, baton(t, oldVersion), nginx(t))
	young := x.upgrade()
	for _, p := range append(x.Workers(young), x.Process(young)) {
		for name := range x.environ(p.PID) {
			if name == "BATON_STATS" || name == "BATON_TICKETS" {
				t.Errorf("%s has %s in its environment", p.Title, name)
			}
		}
		ds, err := p.Descriptors()
		if err != nil {
			t.Fatal(err)
		}
		for fd, target := range ds {
			if strings.HasPrefix(target, "/memfd:") {
				t.Errorf("%s has %d -> %s", p.Title, fd, target)
			}
		}
		if text, ok := x.environ(young)["BATON_CONTROL"]; ok {
			fd, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			x.deaf(p, fd)
		}
	}
	x.Signal(x.master, syscall.SIGUSR1) // reaches nginx, too
	x.waitLog(fmt.Sprintf("%d#%d: reopening logs", young, young))
	x.Signal(young, syscall.SIGQUIT)
	x.asBefore()
	x.quit()
}

// deaf checks that nobody reads what process p sends on its descriptor fd.
func (x *exchange) deaf(p tree.Process, fd int) {
	x.t.Helper()
	pidfd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	defer unix.Close(pidfd)
	mine, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	defer unix.Close(mine)
	x.WaitFor("the channel to "+p.Title+" to be closed", func() bool {
		return unix.Sendto(mine, []byte(`{"kind":"inherit"}`), unix.MSG_NOSIGNAL, nil) == unix.EPIPE
	})
}

// TestReopenReachesBothGenerations: logs are moved away during an upgrade, and one of the
// two masters is told. Nobody goes on writing to what was moved away.
func TestReopenReachesBothGenerations(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	young := s.upgrade()
	for n, pid := range []int{s.master, young} {
		moved := fmt.Sprintf(".log.%d", n)
		s.Sh(fmt.Sprintf(`cd $P/logs && mv access.log access%s && mv error.log error%[1]s`, moved))
		s.Signal(pid, syscall.SIGUSR1)
		s.WaitFor("every process of both generations to have the new files", func() bool { return !s.holds(moved) })
	}
	s.Signal(s.master, syscall.SIGQUIT)
	s.WaitShape(oneMaster)
	s.quit()
}

// TestWorkersReopenWithTheirOwnRights: USR1 to a worker, which whoever runs as its user may
// send, has no file opened, made or given away that this user could not.
func TestWorkersReopenWithTheirOwnRights(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{User: testbed.PackageUser()})
	if os.Geteuid() != 0 {
		s.quit()
		return // the workers are who the master is
	}
	if err := os.Chmod(s.Path("logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Sh(`cd $P/logs && mv access.log access.log.1`)
	for _, w := range s.Workers(s.master) {
		s.Signal(w.PID, syscall.SIGUSR1)
		s.waitLog(fmt.Sprintf(`[emerg] %d#%d: open() "%s" failed (13: Permission denied)`, w.PID, w.PID, s.Path("logs", "access.log")))
	}
	s.gone(s.Path("logs", "access.log"))
	if text := fmt.Sprintf("%d#%d: reopening logs", s.master, s.master); strings.Contains(s.Log(), text) {
		t.Error("a worker had its master open files")
	}
	s.quit()
}

// TestLogsInAStrangersFolder: the master opens no log by way of a link that the workers'
// user has put there, at the start, on HUP and on USR1.
func TestLogsInAStrangersFolder(t *testing.T) {
	t.Parallel()
	c := testbed.Conf{User: testbed.PackageUser(), HTTP: "access_log spool/access.log;"}
	s := site(t, c)
	s.Sh(`mkdir $P/spool`)
	s.Sh(`$P/sbin/nginx`)
	s.WaitShape(oneMaster)
	s.master = s.Pid()
	if os.Geteuid() != 0 {
		s.quit()
		return // every link is our own
	}
	u, err := user.Lookup(testbed.PackageUser())
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	path, victim := s.Path("spool", "access.log"), s.Path("victim")
	s.Sh(`rm $P/spool/access.log`)
	for _, name := range []string{s.Path("spool"), path} {
		if name == path {
			if err := os.Symlink(victim, path); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Lchown(name, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	refused := fmt.Sprintf("open() %q failed (40: Too many levels of symbolic links)", path)
	for n, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP} {
		s.Signal(s.master, sig)
		s.WaitFor("the link to be refused", func() bool { return strings.Count(s.Log(), refused) > n })
	}
	if a := s.Get("/"); a.Status != 200 {
		t.Errorf("status %d", a.Status)
	}
	s.Signal(s.master, syscall.SIGQUIT)
	s.WaitShape("")
	s.refuses(refused)
	s.gone(victim)
}

// TestStrangersVariables: variables that name descriptors are believed only when they
// come with a socket that the parent made for this process.
func TestStrangersVariables(t *testing.T) {
	t.Parallel()
	for _, env := range []string{
		"BATON_WORKER=3", "BATON_CONTROL=3 BATON_STATS=1:4:512 BATON_TICKETS=4", "BATON_STARTER=3 BATON_LISTEN='3;'",
		"BATON_WORKER=0", "BATON_CONTROL=x", "BATON_STATS=1:3:0 BATON_TICKETS=3 BATON_LISTEN='9;' BATON_CONFIG=3",
	} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			s := site(t, testbed.Conf{})
			// 3 is a socket, and not one of ours.
			s.Sh(`exec 4</dev/null 3</dev/null; ` + env + ` $P/sbin/nginx`)
			s.WaitShape(oneMaster)
			s.master = s.Pid()
			for name := range s.environ(s.master) {
				if strings.HasPrefix(name, "BATON_") && name != "BATON_STARTER" && name != "BATON_CONFIG" {
					t.Errorf("the master has %s", name)
				}
			}
			s.quit()
		})
	}
}
