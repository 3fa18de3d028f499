package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
	"github.com/baton-deploy/baton/internal/worker"
)

const envWorker = "WORKER_TEST_FD"

// TestMain lets the test binary stand in for a worker.
func TestMain(m *testing.M) {
	if fd, err := strconv.Atoi(os.Getenv(envWorker)); err == nil {
		os.Exit(worker.Run(fd, worker.Options{Decode: decode, NewLog: newLog, New: newService}))
	}
	os.Exit(m.Run())
}

// plan is what a "configuration" of these tests says.
type plan struct {
	DecodeFails, NewFails, StartFails string
	Drain                             bool // connections never end by themselves
	Shutdown                          time.Duration
	Nofile                            uint64
	Connections                       int
}

func decode(snapshot []byte) (*conf.Config, error) {
	var p plan
	if err := json.Unmarshal(snapshot, &p); err != nil {
		return nil, err
	}
	if p.DecodeFails != "" {
		return nil, errors.New(p.DecodeFails)
	}
	c := &conf.Config{Logs: []string{string(snapshot)}}
	c.Process.WorkerConnections = p.Connections
	c.Process.ShutdownTimeout, c.Process.Nofile, c.Process.Core = p.Shutdown, p.Nofile, -1
	return c, nil
}

func newLog(_ conf.Process, logs map[string]*os.File) (*slog.Logger, error) {
	return errorlog.New(errorlog.NewOutput(named(logs, "error.log"), errorlog.Info)), nil
}

// named returns the log file of that name, whatever folder it is in.
func named(logs map[string]*os.File, name string) *os.File {
	for path, f := range logs {
		if filepath.Base(path) == name {
			return f
		}
	}
	return nil
}

// A greeter tells every connection who it is and closes it.
type greeter struct {
	plan plan
	env  worker.Env
	lns  []net.Listener
	cut  chan struct{}
}

func newService(c *conf.Config, env worker.Env) (worker.Service, error) {
	g := &greeter{env: env, cut: make(chan struct{})}
	if err := json.Unmarshal([]byte(c.Logs[0]), &g.plan); err != nil {
		return nil, err
	}
	if g.plan.NewFails != "" {
		return nil, errors.New(g.plan.NewFails)
	}
	return g, nil
}

func (g *greeter) Start(listeners map[string][]net.Listener) error {
	if g.plan.StartFails != "" {
		return errors.New(g.plan.StartFails)
	}
	g.env.Stats[g.env.Slot] = 7
	for key, lns := range listeners {
		for _, ln := range lns {
			g.lns = append(g.lns, ln)
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					var lim unix.Rlimit
					_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &lim)
					fmt.Fprintf(conn, "%s slot=%d generation=%d procs=%d nofile=%d",
						key, g.env.Slot, g.env.Generation, runtime.GOMAXPROCS(0), lim.Cur)
					conn.Close()
				}
			}()
		}
	}
	return nil
}

func (g *greeter) Redirect(worker.Give) { g.Close() }

func (g *greeter) Wants(byte, []byte, int) bool { return false }

func (g *greeter) Take(byte, []byte, []int) error { return errors.New("not wanted") }

func (g *greeter) Retire(ctx context.Context, give worker.Give) worker.Result {
	fmt.Fprintf(named(g.env.Logs, "access.log"), "retires, gives %v\n", give != nil)
	for _, ln := range g.lns {
		ln.Close()
	}
	if !g.plan.Drain {
		return worker.Result{Drained: 2}
	}
	select {
	case <-ctx.Done():
	case <-g.cut:
	}
	return worker.Result{Drained: 2, Closed: 1}
}

func (g *greeter) Reopen(logs map[string]*os.File) {
	fmt.Fprintln(named(logs, "access.log"), "reopened")
}

func (g *greeter) Close() {
	select {
	case <-g.cut:
	default:
		close(g.cut)
	}
}

// A ward is a worker process under the eyes of a test that plays its master.
type ward struct {
	t     *testing.T
	pid   int
	conn  *control.Conn
	ln    *net.TCPListener
	dir   string
	stats []byte
}

// startWorker starts a worker and sends it all it needs.
func startWorker(t *testing.T, p plan) *ward {
	t.Helper()
	w := &ward{t: t, dir: t.TempDir()}
	conn, theirs, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	w.conn = conn
	fd, err := proc.FD(theirs)
	if err != nil {
		t.Fatal(err)
	}
	w.pid, err = proc.Start(proc.Spec{
		Path: proc.Image, Argv: proc.WorkerArgv("nginx"),
		Env: []string{envWorker + "=3", "GORACE=" + os.Getenv("GORACE")}, FDs: []int{0, 1, 2, fd},
	})
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() {
		conn.Close()
		if w.pid != 0 {
			_ = syscall.Kill(w.pid, syscall.SIGKILL)
			_, _ = proc.Reap(w.pid)
		}
	})
	w.equip(p)
	return w
}

func (w *ward) equip(p plan) {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ln.Close() })
	w.ln = ln.(*net.TCPListener)
	snapshot, err := json.Marshal(p)
	if err != nil {
		w.t.Fatal(err)
	}
	files := w.logs()
	config, err := proc.Sealed("config", snapshot)
	if err != nil {
		w.t.Fatal(err)
	}
	defer unix.Close(config)
	shared, err := proc.Shared("stats", 4096)
	if err != nil {
		w.t.Fatal(err)
	}
	stats := os.NewFile(uintptr(shared), "stats")
	defer stats.Close()
	if w.stats, err = proc.Map(stats, 4096); err != nil {
		w.t.Fatal(err)
	}
	rc, err := w.ln.SyscallConn()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := rc.Control(func(fd uintptr) {
		files = append(files,
			control.File{Name: control.FileConfig, FD: config},
			control.File{Name: control.FileStats, FD: shared},
			control.File{Name: control.FileListen + "127.0.0.1:80", FD: int(fd)},
			control.File{Name: "of a later release", FD: config})
		err = w.conn.Send(control.KindStart, control.Start{Generation: 4, Seat: 9, Workers: 100, StatsBytes: 4096}, files...)
	}); err != nil {
		w.t.Fatal(err)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// logs opens the log files, as they travel.
func (w *ward) logs() []control.File {
	w.t.Helper()
	var files []control.File
	for _, name := range []string{"error.log", "access.log"} {
		f, err := proc.OpenLog(filepath.Join(w.dir, name), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { f.Close() })
		fd, err := proc.FD(f)
		if err != nil {
			w.t.Fatal(err)
		}
		files = append(files, control.File{Name: control.FileLog + filepath.Join(w.dir, name), FD: fd})
	}
	return files
}

// hear waits for the next message.
func (w *ward) hear(kind string) control.Message {
	w.t.Helper()
	if err := w.conn.SetReadTimeout(time.Minute); err != nil {
		w.t.Fatal(err)
	}
	m, err := w.conn.Receive()
	if err != nil || m.Kind != kind {
		w.t.Fatalf("the worker says %q %s, %v; want %q", m.Kind, m.Body, err, kind)
	}
	return m
}

func (w *ward) signal(sig syscall.Signal) {
	w.t.Helper()
	if err := syscall.Kill(w.pid, sig); err != nil {
		w.t.Fatal(err)
	}
}

// exits waits for the worker's end.
func (w *ward) exits(code int) {
	w.t.Helper()
	ended := make(chan proc.Exit, 1)
	go func(pid int) {
		exit, err := proc.Reap(pid)
		if err != nil {
			exit = proc.Exit{Code: -1}
		}
		ended <- exit
	}(w.pid)
	select {
	case exit := <-ended:
		w.pid = 0
		if exit != (proc.Exit{Code: code}) {
			w.t.Errorf("the worker %v, want code %d", exit, code)
		}
	case <-time.After(time.Minute):
		w.t.Fatal("the worker does not exit")
	}
}

func (w *ward) greeting() string {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.ln.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 200)
	n, err := conn.Read(buf)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(buf[:n])
}

func (w *ward) file(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func TestServes(t *testing.T) {
	w := startWorker(t, plan{Nofile: 777})
	w.hear(control.KindReady)
	if got, want := w.greeting(), "127.0.0.1:80 slot=9 generation=4 procs=1 nofile=777"; got != want {
		t.Errorf("the worker says %q, want %q", got, want)
	}
	if w.stats[9] != 7 {
		t.Error("the memory is not shared")
	}
}

// A worker has the kernel make room for the connections that it may get before they
// come: see proc.RoomForFiles.
func TestMakesRoomForConnections(t *testing.T) {
	w := startWorker(t, plan{Nofile: 3000, Connections: 1000})
	w.hear(control.KindReady)
	var room int
	for end := time.Now().Add(10 * time.Second); room < 2000 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "FDSize:")
		if room, err = strconv.Atoi(strings.Fields(rest)[0]); err != nil {
			t.Fatal(err)
		}
	}
	if room < 2000 {
		t.Errorf("room for %d descriptors, want some for 1000 connections", room)
	}
}

func TestCannotServe(t *testing.T) {
	for _, tt := range []struct {
		plan plan
		want control.Failed
	}{
		{plan{DecodeFails: "no such directive"}, control.Failed{Stage: "config", Reason: "no such directive"}},
		{plan{NewFails: "bad value"}, control.Failed{Stage: "config", Reason: "bad value"}},
		{plan{StartFails: "cannot accept"}, control.Failed{Stage: "listen", Reason: "cannot accept"}},
	} {
		t.Run(tt.want.Reason, func(t *testing.T) {
			w := startWorker(t, tt.plan)
			var got control.Failed
			if err := w.hear(control.KindFailed).Into(&got); err != nil || got != tt.want {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
			w.exits(2)
		})
	}
}

// TestRetires by every way that it can be told.
func TestRetires(t *testing.T) {
	for name, tell := range map[string]func(w *ward) error{
		"message": func(w *ward) error { return w.conn.Send(control.KindRetire, control.Retire{Successor: true}) },
		"QUIT":    func(w *ward) error { return syscall.Kill(w.pid, syscall.SIGQUIT) },
	} {
		t.Run(name, func(t *testing.T) {
			w := startWorker(t, plan{})
			w.hear(control.KindReady)
			if err := tell(w); err != nil {
				t.Fatal(err)
			}
			var r control.Retired
			if err := w.hear(control.KindRetired).Into(&r); err != nil || r != (control.Retired{Drained: 2, Millis: r.Millis}) {
				t.Errorf("%+v, %v", r, err)
			}
			w.exits(0)
			log := w.file("error.log")
			// The log says what the master hears.
			told := fmt.Sprintf("retired: 0 connections moved, 2 drained, 0 closed in %v\n", time.Duration(r.Millis)*time.Millisecond)
			for _, line := range []string{"[notice]", "gracefully shutting down", told, "exiting", "exit\n"} {
				if !strings.Contains(log, line) {
					t.Errorf("the log lacks %q:\n%s", line, log)
				}
			}
		})
	}
	t.Run("master gone", func(t *testing.T) {
		w := startWorker(t, plan{})
		w.hear(control.KindReady)
		w.conn.Close()
		w.exits(0)
	})
	t.Run("timeout", func(t *testing.T) {
		w := startWorker(t, plan{Drain: true, Shutdown: 50 * time.Millisecond})
		w.hear(control.KindReady)
		w.signal(syscall.SIGQUIT)
		var r control.Retired
		if err := w.hear(control.KindRetired).Into(&r); err != nil || r.Closed != 1 || r.Millis < 50 {
			t.Errorf("%+v, %v", r, err)
		}
		w.exits(0)
	})
	t.Run("TERM cuts it short", func(t *testing.T) {
		w := startWorker(t, plan{Drain: true})
		w.hear(control.KindReady)
		w.signal(syscall.SIGQUIT)
		waitFor(t, "its title to say so", func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", w.pid))
			return err == nil && strings.TrimRight(string(b), "\x00") == "nginx: worker process is shutting down"
		})
		w.signal(syscall.SIGTERM)
		w.exits(0)
	})
}

// TestIgnores what is not for a worker: signals that operators send to all of a
// server's processes, and messages of a later release.
func TestIgnores(t *testing.T) {
	w := startWorker(t, plan{})
	w.hear(control.KindReady)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGWINCH, syscall.SIGUSR2, syscall.SIGPIPE} {
		w.signal(sig)
	}
	if err := w.conn.Send("of a later release", map[string]int{"x": 1}, w.logs()...); err != nil {
		t.Fatal(err)
	}
	if got := w.greeting(); got == "" {
		t.Error("no greeting")
	}
	w.signal(syscall.SIGTERM)
	w.exits(0)
}

// TestReopens: log files that the master opened again take the place of the old ones, in
// every hand that holds them. USR1 does the same with the rights of the worker: it asks the
// master for nothing, and what it cannot open stays.
func TestReopens(t *testing.T) {
	w := startWorker(t, plan{})
	w.hear(control.KindReady)
	for n, how := range []string{"by the master", "by a signal"} {
		for _, name := range []string{"error.log", "access.log"} {
			if err := os.Rename(filepath.Join(w.dir, name), filepath.Join(w.dir, fmt.Sprint(name, ".", n))); err != nil {
				t.Fatal(err)
			}
		}
		if n == 0 {
			if err := w.conn.Send(control.KindReopen, nil, w.logs()...); err != nil {
				t.Fatal(err)
			}
		} else {
			w.signal(syscall.SIGUSR1)
		}
		waitFor(t, "the service to write to the new file "+how, func() bool {
			b, _ := os.ReadFile(filepath.Join(w.dir, "access.log"))
			return string(b) == "reopened\n"
		})
		if log := w.file(fmt.Sprint("error.log.", n)); !strings.Contains(log, "reopening logs") {
			t.Errorf("%s: the old log does not say that it is over:\n%s", how, log)
		}
	}
	if err := os.Remove(filepath.Join(w.dir, "access.log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.dir, "access.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.signal(syscall.SIGUSR1)
	waitFor(t, "the worker to tell what it cannot open", func() bool {
		return strings.Contains(w.file("error.log"), `open() "`+w.dir+`/access.log" failed (21: Is a directory)`)
	})
	w.signal(syscall.SIGQUIT)
	w.hear(control.KindRetired)
	w.exits(0)
	if log := w.file("error.log"); !strings.Contains(log, "gracefully shutting down") {
		t.Errorf("the new log holds %q", log)
	}
}

// waitFor calls ok until it reports true, and fails the test after 5s.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}
