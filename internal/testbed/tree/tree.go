package tree

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// ErrUprooted says that the tree's root has ended.
var ErrUprooted = errors.New("tree is uprooted")

// A Tree starts processes and owns all their descendants. Its methods may be
// called from any goroutine.
type Tree struct {
	cmd  *exec.Cmd
	dir  string        // holds the outputs of started processes
	gone chan struct{} // closed when the root's reports have ended

	// mu guards what follows. Writing a request blocks at most for a pipe's
	// buffer while it is held; nothing else is locked.
	mu      sync.Mutex
	in      io.WriteCloser
	lastID  int
	answers map[int]chan report
	exits   map[int]syscall.WaitStatus
	changed chan struct{} // closed and replaced when exits grows
}

// Plant starts a tree. The caller must end it with [Tree.Uproot].
func Plant() (*Tree, error) {
	dir, err := os.MkdirTemp("", "testbed-")
	if err != nil {
		return nil, fmt.Errorf("plant tree: %w", err)
	}
	t, err := plant(dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("plant tree: %w", err)
	}
	return t, nil
}

func plant(dir string) (*Tree, error) {
	cmd := exec.Command("/proc/self/exe")
	// A test binary whose TestMain does not call Main must not run its tests
	// again as a root: the flag makes it run none, and the greeting is missing.
	cmd.Args = []string{rootName, "-test.run=^$"}
	cmd.Stderr = os.Stderr
	// The race detector's runtime would sleep a second in the root's exit.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of reach of Ctrl-C
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t := &Tree{
		cmd: cmd, dir: dir, in: in,
		gone:    make(chan struct{}),
		answers: make(map[int]chan report),
		exits:   make(map[int]syscall.WaitStatus),
		changed: make(chan struct{}),
	}
	dec := json.NewDecoder(out)
	var hello report
	if err := dec.Decode(&hello); err != nil {
		in.Close()
		cmd.Wait()
		return nil, fmt.Errorf("hear from root (does main or TestMain call tree.Main?): %w", err)
	}
	go t.listen(dec)
	return t, nil
}

// listen takes the root's reports until they end. Uproot waits for it.
func (t *Tree) listen(dec *json.Decoder) {
	defer close(t.gone)
	for {
		var r report
		if dec.Decode(&r) != nil {
			return
		}
		t.mu.Lock()
		if r.Exited > 0 {
			t.exits[r.Exited] = syscall.WaitStatus(r.Status)
			close(t.changed)
			t.changed = make(chan struct{})
		} else if answer := t.answers[r.ID]; answer != nil {
			delete(t.answers, r.ID)
			delete(t.exits, r.PID) // an earlier process had the same number
			answer <- r            // buffered for the one answer
		}
		t.mu.Unlock()
	}
}

// Root returns the process id that orphans of the tree get as their parent,
// the tree's own process 1.
func (t *Tree) Root() int { return t.cmd.Process.Pid }

// ask sends q and waits for its answer.
func (t *Tree) ask(q request) (report, error) {
	answer := make(chan report, 1)
	t.mu.Lock()
	t.lastID++
	q.ID = t.lastID
	t.answers[q.ID] = answer
	line, err := json.Marshal(q)
	if err == nil {
		_, err = t.in.Write(append(line, '\n'))
	}
	t.mu.Unlock()
	if err != nil {
		return report{}, errors.Join(ErrUprooted, err)
	}
	select {
	case r := <-answer:
		return r, nil
	case <-t.gone:
	}
	select { // the answer may have been the last report
	case r := <-answer:
		return r, nil
	default:
		return report{}, ErrUprooted
	}
}

// A Command is what [Tree.Start] starts.
type Command struct {
	Args []string // Args[0] is looked up in PATH when it has no slash
	Dir  string   // working directory; "" means this process's
	Env  []string // whole environment; nil means this process's
}

// Start starts a process as a child of the root. Its standard input is empty,
// and its output is kept until the tree is uprooted.
func (t *Tree) Start(c Command) (*Proc, error) {
	if len(c.Args) == 0 {
		return nil, errors.New("start process: no arguments")
	}
	path := c.Args[0]
	if !strings.Contains(path, "/") {
		found, err := exec.LookPath(path)
		if err != nil {
			return nil, fmt.Errorf("start process: %w", err)
		}
		path = found
	}
	if c.Env == nil {
		c.Env = os.Environ()
	}
	dir, err := os.MkdirTemp(t.dir, filepath.Base(path)+"-")
	if err != nil {
		return nil, fmt.Errorf("start process: %w", err)
	}
	p := &Proc{tree: t, out: filepath.Join(dir, "stdout"), err: filepath.Join(dir, "stderr")}
	r, err := t.ask(request{Op: "start", Path: path, Args: c.Args, Dir: c.Dir, Env: c.Env, Out: p.out, Err: p.err})
	if err != nil {
		return nil, fmt.Errorf("start process: %w", err)
	}
	if r.Failed != "" {
		return nil, fmt.Errorf("start process: %s", r.Failed)
	}
	p.PID = r.PID
	return p, nil
}

// Wait waits until pid, a child of the root by birth or adoption, has ended,
// and returns its status.
func (t *Tree) Wait(ctx context.Context, pid int) (syscall.WaitStatus, error) {
	for {
		t.mu.Lock()
		status, ended := t.exits[pid]
		changed := t.changed
		t.mu.Unlock()
		if ended {
			return status, nil
		}
		select {
		case <-changed:
		case <-t.gone:
			return 0, fmt.Errorf("wait for process %d: %w", pid, ErrUprooted)
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for process %d: %w", pid, ctx.Err())
		}
	}
}

// Processes returns every living process of the tree and every zombie, in the
// order of [Descendants].
func (t *Tree) Processes() ([]Process, error) { return Descendants(t.Root()) }

// Uproot kills what is left of the tree and returns what was alive. After it
// nothing of the tree exists. Calling it again returns nothing.
func (t *Tree) Uproot() (left []Process, err error) {
	r, askErr := t.ask(request{Op: "uproot"})
	t.mu.Lock()
	t.in.Close()
	t.mu.Unlock()
	<-t.gone
	if errors.Is(askErr, ErrUprooted) && t.cmd.ProcessState != nil {
		return nil, nil
	}
	waitErr := t.cmd.Wait()
	rmErr := os.RemoveAll(t.dir)
	if err := errors.Join(askErr, waitErr, rmErr); err != nil {
		return nil, fmt.Errorf("uproot tree: %w", err)
	}
	return r.Left, nil
}

// A Proc is one process that a Tree started itself.
type Proc struct {
	PID  int
	tree *Tree
	out  string
	err  string
}

// Wait waits until the process has ended and returns its status.
func (p *Proc) Wait(ctx context.Context) (syscall.WaitStatus, error) { return p.tree.Wait(ctx, p.PID) }

// Stdout returns what the process, and whoever inherited its standard output,
// has written to it so far.
func (p *Proc) Stdout() string { return readAll(p.out) }

// Stderr is like [Proc.Stdout] for standard error.
func (p *Proc) Stderr() string { return readAll(p.err) }

func readAll(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("(output is lost: %v)", err)
	}
	return string(bytes.ToValidUTF8(text, []byte("?")))
}
