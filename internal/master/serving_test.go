package master_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/load"
)

// TestImageAndConfigurationAreHeld: a worker that is started after the binary
// and the files on disk have changed or gone is what its master is. Invariant 5.
func TestImageAndConfigurationAreHeld(t *testing.T) {
	t.Parallel()
	s := site(t, testbed.Conf{Server: "include extra/*.conf;"})
	s.Sh(`mkdir $P/conf/extra && echo 'location = /extra { return 204; }' > $P/conf/extra/a.conf`)
	s.Sh(`$P/sbin/nginx`)
	s.WaitShape(oneMaster)
	s.master = s.Pid()
	l := s.clients()

	s.Sh(`rm -r $P/conf/extra $P/sbin/nginx && echo nonsense > $P/conf/nginx.conf`)
	for _, w := range s.Workers(s.master) {
		s.Signal(w.PID, syscall.SIGQUIT) // it goes by itself, and is missed
		s.WaitFor("another worker", func() bool {
			ws := s.Workers(s.master)
			return len(ws) == 2 && ws[0].PID != w.PID && ws[1].PID != w.PID && !testbed.IsRetiring(ws[0])
		})
	}
	s.WaitFor("only new workers to answer", func() bool { return s.Get("/extra").Status == 204 })
	if a := s.Get("/"); a.Status != 200 || a.Server != "baton/"+oldVersion {
		t.Errorf("answer %d of %s", a.Status, a.Server)
	}
	s.stop(l)
	s.quit()
}

// TestReopenLogs: USR1 reaches every worker, also one that is shutting down,
// and the files belong to the workers' user.
func TestReopenLogs(t *testing.T) {
	t.Parallel()
	// A request that is under way keeps its worker from going after a reload.
	asked, answer := make(chan bool, 1), make(chan bool)
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- true
		<-answer
	}))
	t.Cleanup(backend.Close)
	s := start(t, testbed.Conf{Backend: backend.Listener.Addr().String()})
	conn := idleConnection(t, s)
	held, err := s.Tree.Holders(conn)
	if err != nil || len(held) != 1 {
		t.Fatal(held, err)
	}
	if _, err := fmt.Fprint(conn, "GET /backend/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-asked
	s.Signal(s.master, syscall.SIGHUP)
	s.WaitFor("a retiring worker", func() bool { return testbed.IsRetiring(s.Process(held[0].PID)) })

	s.Sh(`cd $P/logs && mv access.log access.log.1 && mv error.log error.log.1`)
	s.Sh(`kill -USR1 $(cat $P/logs/nginx.pid)`)
	s.WaitFor("every worker to have the new files", func() bool { return !s.holds(".log.1") })
	close(answer)
	s.WaitFor("the retiring worker's line in the new file", func() bool {
		b, err := os.ReadFile(s.Path("logs", "access.log"))
		return err == nil && strings.Contains(string(b), "GET /backend/last")
	})
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(s.Path("logs", "access.log"), &st); err != nil || strconv.Itoa(int(st.Uid)) != nobody.Uid {
			t.Errorf("the new file belongs to %d, %v; want %s", st.Uid, err, nobody.Uid)
		}
	}
	s.WaitShape(oneMaster)
	s.quit()
}

// holds reports whether any process has a file open whose name ends so.
func (s *server) holds(suffix string) bool {
	s.t.Helper()
	for _, p := range s.Processes() {
		ds, err := p.Descriptors()
		if err != nil {
			return true // it is just going: look again
		}
		for _, target := range ds {
			if strings.HasSuffix(target, suffix) {
				return true
			}
		}
	}
	return false
}

// TestWorkerUser: as root, workers are somebody else, in all their threads.
func TestWorkerUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		s := start(t, testbed.Conf{User: "nobody"})
		s.waitLog(`the "user" directive makes sense only if the master process runs with super-user privileges`)
		s.quit()
		return
	}
	s := start(t, testbed.Conf{User: "www-data"})
	u, err := user.Lookup("www-data")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range s.Workers(s.master) {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", w.PID))
		if err != nil || len(tasks) < 2 {
			t.Fatalf("threads: %v, %v", tasks, err)
		}
		for _, task := range tasks {
			b, err := os.ReadFile(task)
			if os.IsNotExist(err) {
				continue // the thread has ended
			}
			ids := fmt.Sprintf("\nUid:\t%s\t%s\t%s\t%s\nGid:\t%s\t%s\t%s\t%s\n", u.Uid, u.Uid, u.Uid, u.Uid, u.Gid, u.Gid, u.Gid, u.Gid)
			if err != nil || !strings.Contains(string(b), ids) {
				t.Errorf("%s: %v\n%s", task, err, b)
			}
		}
	}
	s.quit()
}

// TestShutdownTimeout: what does not end by itself is cut, and not before.
func TestShutdownTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	s := start(t, testbed.Conf{Main: "worker_shutdown_timeout 300ms;"})
	conn := idleConnection(t, s)
	began := time.Now()
	s.Signal(s.master, syscall.SIGQUIT)
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if took := time.Since(began); took < timeout-10*time.Millisecond {
		t.Errorf("the connection was cut after %v, want %v", took, timeout)
	}
	s.WaitShape("")
}

// TestReuseport: every worker has a queue of its own; their number changes by
// reload and upgrade, and nothing that waits in one of them is lost.
func TestReuseport(t *testing.T) {
	t.Parallel()
	conf := func(s *server, workers int) testbed.Conf {
		return testbed.Conf{Workers: workers, Listen: []string{s.Addr + " reuseport"}}
	}
	s := site(t, testbed.Conf{})
	s.Configure(conf(s, 3))
	s.Sh(`$P/sbin/nginx`)
	workers := func(n int) {
		t.Helper()
		s.WaitFor(fmt.Sprintf("%d workers", n), func() bool {
			ps := s.Processes()
			return len(ps) == n+1 && len(testbed.Masters(ps)) == 1
		})
	}
	workers(3)
	s.master = s.Pid()
	l := s.clients()
	for _, n := range []int{1, 4, 2} {
		s.Configure(conf(s, n))
		s.Signal(s.master, syscall.SIGHUP)
		workers(n)
		s.WaitAnswers(l, 20)
	}
	s.Configure(conf(s, 1))
	s.Sh(`cp -f $NEW $P/sbin/nginx`)
	s.Signal(s.master, syscall.SIGUSR2)
	pid := s.newMaster()
	s.Signal(s.master, syscall.SIGQUIT)
	workers(1)
	s.master = pid
	s.stop(l)
	s.quit()
}

// TestUnixSocket: a reload adds and removes one; a stale file is in the way as
// it is in nginx's.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	s := start(t, testbed.Conf{})
	path := s.Path("s.sock")
	l := s.clients()
	s.Configure(testbed.Conf{Listen: []string{s.Addr, "unix:" + path}})
	s.Signal(s.master, syscall.SIGHUP)
	s.WaitFor("the unix socket to answer", func() bool {
		a, err := testbed.Ask(t.Context(), nil, path, "/")
		return err == nil && a.Status == 200
	})
	ul := s.Load(load.Group{Name: "unix", Addr: path, Clients: 2, MinPause: 1e6, MaxPause: 5e6})
	s.WaitShape(oneMaster)
	young := s.upgrade()
	s.Signal(s.master, syscall.SIGQUIT)
	s.WaitShape(oneMaster)
	s.WaitAnswers(ul, 20)
	if g := ul.Stop().Group("unix"); g.Failed() > 0 {
		t.Errorf("%d failures on the unix socket: %+v", g.Failed(), g.Failures)
	}
	s.master = young
	s.Configure(testbed.Conf{})
	s.Signal(s.master, syscall.SIGHUP)
	s.WaitFor("the file of the removed socket to go", func() bool {
		_, err := os.Lstat(path)
		return os.IsNotExist(err)
	})
	s.WaitShape(oneMaster)
	s.stop(l)
	s.quit()

	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s.Configure(testbed.Conf{Listen: []string{"unix:" + path}})
	s.refuses("bind() to unix:" + path + " failed (98: Address already in use)")
}

// TestEnvironment: a new master gets what the first one was started with, a
// worker only what it is meant to have.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	s := site(t, testbed.Conf{Main: "env BATON_TEST_LISTED;\nenv BATON_TEST_SET=by-conf;"})
	s.Setenv("BATON_TEST_LISTED", "listed")
	s.Setenv("BATON_TEST_SECRET", "secret")
	s.Setenv("TZ", "UTC")
	// Found by PATH, started from elsewhere.
	s.Sh(`cd / && PATH=$P/sbin:$PATH nginx -p $P -c $P/conf/nginx.conf`)
	s.WaitShape(oneMaster)
	s.master = s.Pid()
	s.Setenv("BATON_TEST_SECRET", "changed")
	check := func(master int) {
		t.Helper()
		env := s.environ(master)
		if env["BATON_TEST_SECRET"] != "secret" || env["BATON_TEST_LISTED"] != "listed" {
			t.Errorf("environment of the master: %v", env)
		}
		env = s.environ(s.Workers(master)[0].PID)
		if env["BATON_TEST_LISTED"] != "listed" || env["BATON_TEST_SET"] != "by-conf" || env["TZ"] != "UTC" {
			t.Errorf("environment of a worker: %v", env)
		}
		if _, ok := env["BATON_TEST_SECRET"]; ok {
			t.Error("a worker has what was not meant for it")
		}
	}
	check(s.master)
	// PATH of the master still finds the binary, whatever the shell's is by now.
	young := s.upgrade()
	check(young)
	s.Signal(s.master, syscall.SIGQUIT)
	s.WaitShape(oneMaster)
	s.quit()
}

// environ reads the environment a process was started with. A worker that
// changed its user is readable again for whoever it is.
func (s *server) environ(pid int) map[string]string {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	env := map[string]string{}
	for _, kv := range strings.Split(string(b), "\x00") {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return env
}

// TestTerminalLetsGo: a daemon holds nothing of the terminal or pipe that it was
// started from, so that "out=$(nginx)" returns.
func TestTerminalLetsGo(t *testing.T) {
	t.Parallel()
	s := site(t, testbed.Conf{})
	out := s.Sh(`out=$($P/sbin/nginx 2>&1); echo "[$out]"`)
	if out != "[]" {
		t.Errorf("the start command prints %q", out)
	}
	s.WaitShape(oneMaster)
	for _, p := range s.Processes() {
		ds, err := p.Descriptors()
		if err != nil {
			t.Fatal(err)
		}
		for fd, target := range ds {
			if strings.HasPrefix(target, "pipe:") {
				t.Errorf("%s holds %d -> %s", p.Title, fd, target)
			}
		}
		for fd, want := range map[int]string{0: os.DevNull, 1: os.DevNull, 2: s.ErrorLog()} {
			if ds[fd] != want {
				t.Errorf("%s has %d -> %s, want %s", p.Title, fd, ds[fd], want)
			}
		}
	}
	s.quit()
}
