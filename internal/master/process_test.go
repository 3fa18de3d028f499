package master_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

func TestMain(m *testing.M) {
	// These tests wait for other processes most of the time.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(testbed.Main(m))
}

const (
	oldVersion = "1.0.0"
	newVersion = "2.0.0"

	oneMaster = `
nginx: master process
  nginx: worker process
  nginx: worker process`

	twoMasters = `
nginx: master process
  nginx: worker process
  nginx: worker process
  nginx: master process
    nginx: worker process
    nginx: worker process`

	oldMasterAlone = `
nginx: master process
  nginx: master process
    nginx: worker process
    nginx: worker process`
)

// A server is a running server of the old version on a site of its own.
type server struct {
	*testbed.Site
	t      *testing.T
	master int
}

// start starts a server with two workers.
func start(t *testing.T, c testbed.Conf) *server {
	t.Helper()
	s := site(t, c)
	s.Sh(`$P/sbin/nginx`)
	s.WaitShape(oneMaster)
	s.master = s.Pid()
	return s
}

func site(t *testing.T, c testbed.Conf) *server {
	t.Helper()
	s := &server{Site: testbed.NewSite(t, testbed.BuildFor(t, oldVersion)), t: t}
	s.Configure(c)
	s.Setenv("NEW", testbed.BuildFor(t, newVersion))
	return s
}

// install puts the binary at path in the place of the running one.
func (s *server) install(path string) {
	s.t.Helper()
	if err := s.Install(path); err != nil {
		s.t.Fatal(err)
	}
}

// upgrade replaces the binary, sends USR2 and waits for both generations. It
// returns the new master.
func (s *server) upgrade() int {
	s.t.Helper()
	s.Sh(`cp -f $NEW $P/sbin/nginx`)
	s.Signal(s.master, syscall.SIGUSR2)
	s.WaitShape(twoMasters)
	return s.newMaster()
}

// newMaster waits until the pid file names another master and returns it.
func (s *server) newMaster() (pid int) {
	s.t.Helper()
	s.WaitFor("the pid file to name a new master", func() bool {
		var err error
		pid, err = s.PID()
		return err == nil && pid != s.master
	})
	return pid
}

// clients puts load on new connections, which must lose nothing whatever
// happens. Keep-alive clients of killed processes would.
func (s *server) clients() *load.Load {
	s.t.Helper()
	l := s.Load(load.Group{Name: "new connections", Clients: 2, MinPause: 1e6, MaxPause: 5e6})
	s.WaitAnswers(l, 5)
	return l
}

// stop ends the load; nothing may have been lost.
func (s *server) stop(l *load.Load) {
	s.t.Helper()
	s.WaitAnswers(l, 20)
	r := l.Stop()
	if g := r.Group("new connections"); g.Failed() > 0 {
		s.t.Errorf("%d requests failed:\n%s\n%s", g.Failed(), r, r.Trouble())
	}
}

// asBefore checks that the old generation serves as if nothing had happened:
// invariant 4. The proof of "able to upgrade again" is an upgrade.
func (s *server) asBefore() {
	s.t.Helper()
	s.WaitShape(oneMaster)
	// The end of the new master is logged before the pid file has its name again.
	s.WaitFor(fmt.Sprintf("pid file that names %d", s.master), func() bool {
		pid, err := s.PID()
		return err == nil && pid == s.master
	})
	s.gone(s.OldbinFile())
	if a := s.Get("/"); a.Status != 200 || a.Server != "baton/"+oldVersion {
		s.t.Errorf("answer %d of %s, want 200 of the old version", a.Status, a.Server)
	}
}

// gone waits until there is no such file: who removes it may have something else to do
// before, and be seen doing that.
func (s *server) gone(path string) {
	s.t.Helper()
	s.WaitFor("the end of "+path, func() bool {
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// quit ends the server by the pid file and waits until nothing is left of it.
func (s *server) quit() {
	s.t.Helper()
	s.Sh(`kill -QUIT $(cat $P/logs/nginx.pid)`)
	s.WaitShape("")
	s.gone(s.PIDFile())
	s.gone(s.OldbinFile())
}

func (s *server) waitLog(line string) {
	s.t.Helper()
	s.WaitFor(fmt.Sprintf("%q in the error log", line), func() bool { return strings.Contains(s.Log(), line) })
}

// descriptors counts the open descriptors of a process.
func (s *server) descriptors(p tree.Process) int {
	s.t.Helper()
	ds, err := p.Descriptors()
	if err != nil {
		s.t.Fatal(err)
	}
	return len(ds)
}

// TestNames: what operators and monitors look for, asked as they ask.
func TestNames(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	want := fmt.Sprintf("nginx: master process %s/sbin/nginx", s.Dir)
	if got := s.Sh(fmt.Sprintf(`ps -o args= -p %d`, s.master)); got != want {
		t.Errorf("ps shows the master as %q, want %q", got, want)
	}
	var pids []string
	for _, p := range s.Processes() {
		pids = append(pids, fmt.Sprint(p.PID))
		if p.Comm != "nginx" {
			t.Errorf("the short name of %d is %q", p.PID, p.Comm)
		}
	}
	for _, command := range []string{"pgrep -x nginx", "pgrep -f '^nginx: '", "pidof nginx", "ps -C nginx -o pid="} {
		found := strings.Fields(s.Sh(command))
		for _, pid := range pids {
			if !contains(found, pid) {
				t.Errorf("%s finds %v, not %s", command, found, pid)
			}
		}
	}

	// A worker that is shutting down says so, and nothing else changes.
	conn := idleConnection(t, s)
	worker, err := s.Tree.Holders(conn)
	if err != nil || len(worker) != 1 {
		t.Fatalf("holders of the connection: %v, %v", worker, err)
	}
	s.Signal(s.master, syscall.SIGQUIT)
	s.WaitFor("the worker to say that it is shutting down", func() bool {
		return s.Sh(fmt.Sprintf(`ps -o args= -p %d`, worker[0].PID)) == "nginx: worker process is shutting down"
	})
	conn.Close()
	s.WaitShape("")
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// idleConnection opens a connection, sends one request on it and leaves it
// open.
func idleConnection(t *testing.T, s *server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 4096)); err != nil || n == 0 {
		t.Fatalf("read answer: %d bytes, %v", n, err)
	}
	return conn
}

// TestStartCommand: it returns when the server serves, and says why when it
// never will.
func TestStartCommand(t *testing.T) {
	t.Parallel()
	t.Run("serves when it returns", func(t *testing.T) {
		t.Parallel()
		s := site(t, testbed.Conf{})
		s.Sh(`$P/sbin/nginx`)
		if a := s.Get("/"); a.Status != 200 {
			t.Errorf("the first answer is %d", a.Status)
		}
		s.quit()
	})
	t.Run("address taken", func(t *testing.T) {
		t.Parallel()
		s := site(t, testbed.Conf{})
		ln, err := net.Listen("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		s.refuses(fmt.Sprintf("nginx: [emerg] bind() to %s failed (98: Address already in use)", s.Addr))
		s.refuses("nginx: [emerg] still could not bind()")
	})
	t.Run("pid file not writable", func(t *testing.T) {
		t.Parallel()
		s := site(t, testbed.Conf{})
		s.Sh(`sed -i 's,^pid .*,pid /nonexistent/nginx.pid;,' $P/conf/nginx.conf`)
		s.refuses(`nginx: [emerg] open() "/nonexistent/nginx.pid" failed (2: No such file or directory)`)
	})
	t.Run("log file not writable", func(t *testing.T) {
		t.Parallel()
		s := site(t, testbed.Conf{})
		s.Sh(`sed -i 's,access_log .*,access_log /nonexistent/access.log;,' $P/conf/nginx.conf`)
		s.refuses(`nginx: [emerg] open() "/nonexistent/access.log" failed (2: No such file or directory)`)
	})
	t.Run("bad configuration", func(t *testing.T) {
		t.Parallel()
		s := site(t, testbed.Conf{Main: "foo;"})
		s.refuses(`nginx: [emerg] unknown directive "foo" in ` + s.ConfFile() + `:4`)
	})
	t.Run("workers cannot start", func(t *testing.T) {
		t.Parallel()
		// More descriptors than a worker needs to live: it cannot come up.
		s := site(t, testbed.Conf{Main: "worker_rlimit_nofile 4;"})
		s.refuses("nginx: [")
	})
}

// refuses starts the server and wants status 1 and text on stderr, and nothing
// left.
func (s *server) refuses(text string) {
	s.t.Helper()
	r := s.TrySh(`$P/sbin/nginx`)
	if r.Status != 1 || !strings.Contains(r.Stderr, text) {
		s.t.Errorf("start: status %d, stderr %q; want 1 and %q", r.Status, r.Stderr, text)
	}
	s.WaitShape("")
	s.gone(s.PIDFile())
}

// TestForeground: daemon off, stopped as a service manager or a terminal does.
func TestForeground(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := site(t, testbed.Conf{Main: "daemon off;"})
			p := s.Start(s.Binary())
			s.WaitShape(oneMaster)
			if pid := s.Pid(); pid != p.PID {
				t.Errorf("the pid file names %d, the process started is %d", pid, p.PID)
			}
			s.Signal(p.PID, sig)
			status, err := p.Wait(t.Context())
			if err != nil || status.ExitStatus() != 0 {
				t.Errorf("%v ends it with %v, %v", sig, status, err)
			}
			s.WaitShape("")
		})
	}
}

// TestMasterKilled: its workers do not hold the port as orphans, but answer what
// they have.
func TestMasterKilled(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	conn := idleConnection(t, s)
	s.Signal(s.master, syscall.SIGKILL)
	s.WaitFor("one worker to be left", func() bool { return len(s.Processes()) == 1 })
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil || !strings.Contains(string(b[:n]), "Connection: close") {
		t.Errorf("the request on the idle connection got %q, %v; want a last answer", b[:n], err)
	}
	s.WaitShape("")
	// The address is free and the stale pid file in nobody's way.
	s.Sh(`$P/sbin/nginx`)
	s.WaitShape(oneMaster)
	s.quit()
}

// TestWorkerKilled: another one takes its place, and new connections do not
// notice.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	l := s.clients()
	for range 3 {
		victim := s.Workers(s.master)[0]
		s.Signal(victim.PID, syscall.SIGKILL)
		s.WaitFor("another worker", func() bool {
			ws := s.Workers(s.master)
			return len(ws) == 2 && ws[0].PID != victim.PID && ws[1].PID != victim.PID
		})
		s.waitLog(fmt.Sprintf("worker process %d exited on signal 9", victim.PID))
	}
	// What the killed ones were answering at that moment is lost; that the
	// others went on is what counts here.
	s.WaitAnswers(l, 20)
	if g := l.Stop().Group("new connections"); g.Refused > 0 {
		t.Errorf("%d connections were refused", g.Refused)
	}
	s.quit()
}

// TestReload: a bad configuration changes nothing, the next good one works;
// addresses come and go.
func TestReload(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	l := s.clients()
	before := s.Workers(s.master)

	s.Configure(testbed.Conf{HTTP: "nonsense on;"})
	s.Signal(s.master, syscall.SIGHUP)
	s.waitLog(`unknown directive "nonsense"`)
	if after := s.Workers(s.master); after[0].PID != before[0].PID || after[1].PID != before[1].PID {
		t.Errorf("workers changed from %v to %v", before, after)
	}

	// The address of a new listen is taken: nothing changes either.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Configure(testbed.Conf{Listen: []string{s.Addr, taken.Addr().String()}})
	s.Signal(s.master, syscall.SIGHUP)
	s.waitLog(fmt.Sprintf("bind() to %s failed (98: Address already in use)", taken.Addr()))
	taken.Close()

	// Now it is free.
	s.Signal(s.master, syscall.SIGHUP)
	s.WaitFor("the new address to answer", func() bool {
		a, err := testbed.Ask(t.Context(), nil, taken.Addr().String(), "/")
		return err == nil && a.Status == 200
	})
	s.WaitShape(oneMaster)

	// And gone again.
	s.Configure(testbed.Conf{})
	s.Signal(s.master, syscall.SIGHUP)
	s.WaitFor("the removed address to refuse", func() bool {
		conn, err := net.Dial("tcp", taken.Addr().String())
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	s.WaitShape(oneMaster)
	s.stop(l)
	s.quit()
}
