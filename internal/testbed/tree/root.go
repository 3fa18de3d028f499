package tree

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// rootName is argv[0] of a tree's root: what ps shows, and how [Main] knows.
const rootName = "testbed: root of a process tree"

// A request is one line from the planter to the root.
type request struct {
	ID   int      `json:"id"`
	Op   string   `json:"op"` // "start" or "uproot"
	Path string   `json:"path,omitempty"`
	Args []string `json:"args,omitempty"`
	Dir  string   `json:"dir,omitempty"`
	Env  []string `json:"env,omitempty"`
	Out  string   `json:"out,omitempty"` // file that gets standard output
	Err  string   `json:"err,omitempty"` // file that gets standard error
}

// A report is one line from the root to the planter: the answer to a request
// (ID > 0), or the end of a process (Exited > 0).
type report struct {
	ID     int       `json:"id,omitempty"`
	PID    int       `json:"pid,omitempty"`
	Failed string    `json:"failed,omitempty"`
	Left   []Process `json:"left,omitempty"`
	Exited int       `json:"exited,omitempty"`
	Status uint32    `json:"status,omitempty"` // as wait4(2) gave it
}

// Main makes this process the root of a tree if a tree started it as one. It
// returns false at once in every other process; when it returns true the tree
// is uprooted and the caller must exit with status.
func Main() (status int, wasRoot bool) {
	if os.Args[0] != rootName {
		return 0, false
	}
	if err := serveRoot(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "testbed: root: %v\n", err)
		return 1, true
	}
	return 0, true
}

// root is the process between a planter and everything it started. One
// goroutine does all the work, so that a child's end can never be waited for
// before its start was told.
type root struct {
	out *json.Encoder
}

// serveRoot obeys requests until "uproot" or the end of in; no descendant
// lives when it returns.
func serveRoot(in io.Reader, out io.Writer) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	// What ends the planter must not end the root before its descendants. Not
	// signal.Ignore: ignoring survives exec, and every server would do so too.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	deaths := make(chan os.Signal, 1)
	signal.Notify(deaths, syscall.SIGCHLD)

	r := &root{out: json.NewEncoder(out)}
	requests := readRequests(in)
	r.out.Encode(report{PID: os.Getpid()}) // ready; a planter that is gone shows up as the end of in
	for {
		select {
		case <-deaths:
			r.reap()
		case q, more := <-requests:
			switch {
			case !more:
				return r.uproot(0)
			case q.Op == "uproot":
				return r.uproot(q.ID)
			default:
				r.out.Encode(r.start(q))
			}
		}
	}
}

// readRequests decodes in until it ends, then closes the channel.
func readRequests(in io.Reader) <-chan request {
	requests := make(chan request)
	go func() { // ends with the process: the root's life is that of its input
		defer close(requests)
		for dec := json.NewDecoder(bufio.NewReader(in)); ; {
			var q request
			if dec.Decode(&q) != nil {
				return
			}
			requests <- q
		}
	}()
	return requests
}

func (r *root) start(q request) report {
	pid, err := forkExec(q)
	if err != nil {
		return report{ID: q.ID, Failed: err.Error()}
	}
	return report{ID: q.ID, PID: pid}
}

func forkExec(q request) (pid int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("open standard input: %w", err)
	}
	defer null.Close()
	const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	stdout, err := os.OpenFile(q.Out, flags, 0o644)
	if err != nil {
		return 0, fmt.Errorf("open standard output: %w", err)
	}
	defer stdout.Close()
	stderr, err := os.OpenFile(q.Err, flags, 0o644)
	if err != nil {
		return 0, fmt.Errorf("open standard error: %w", err)
	}
	defer stderr.Close()
	// Not os/exec: its Wait would compete with reap, which waits for all.
	pid, err = syscall.ForkExec(q.Path, q.Args, &syscall.ProcAttr{
		Dir: q.Dir, Env: q.Env,
		Files: []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", q.Path, err)
	}
	return pid, nil
}

// reap waits for every child that has exited, adopted ones too. It reports
// whether children are left.
func (r *root) reap() (left bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return false // ECHILD: none left
		case pid == 0:
			return true
		default:
			r.out.Encode(report{Exited: pid, Status: uint32(status)})
		}
	}
}

// uproot kills every descendant, waits for all of them and reports those that
// were alive when it began as the answer to request id.
func (r *root) uproot(id int) error {
	r.reap()
	left, err := Descendants(os.Getpid())
	if err != nil {
		return err
	}
	for r.reap() {
		found, err := Descendants(os.Getpid())
		if err != nil {
			return err
		}
		for _, p := range found {
			if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, ErrGone) {
				return err
			}
		}
		// Every descendant was killed or is new; so some child ends. Its own
		// children come to us then: look again.
		var info unix.Siginfo
		err = unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ECHILD) {
			return fmt.Errorf("wait for descendants: %w", err)
		}
	}
	r.out.Encode(report{ID: id, Left: alive(left)})
	return nil
}

func alive(found []Process) (living []Process) {
	for _, p := range found {
		if !p.Zombie() {
			living = append(living, p)
		}
	}
	return living
}
