package master

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/proc"
)

const (
	// exitPatience is how long a worker may live that has said its last word, or that has
	// closed its control socket and cannot be told to go any more.
	exitPatience = time.Minute
	// maxCount is more connections than a worker can have had.
	maxCount = 1 << 48
	// maxStage is longer than the name of any stage.
	maxStage = 16
)

// listen passes on what a worker says until it is silent for good, and then
// waits for its end. In this order its last word comes before its exit. A worker that
// breaks a rule is not one that runs our image undisturbed: it is killed.
func (m *Master) listen(pid int, conn *control.Conn) {
	for said := (manners{}); ; {
		msg, err := conn.Receive()
		if err != nil && !brokeRule(err) {
			break
		}
		var ev event
		if err == nil {
			ev, err = said.hear(pid, msg)
			msg.Close()
		}
		if err != nil {
			m.events <- misled{fmt.Sprintf("worker process %d breaks the rules, killing it", pid), err.Error()}
			m.kill(pid)
			break
		}
		m.events <- ev
	}
	m.awaitWorker(pid, conn.Closed())
	m.ended <- pid
}

// awaitWorker waits for a worker's end, with patience unless it was us who hung up: then
// it drains what it has.
func (m *Master) awaitWorker(pid int, hungUp bool) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		// The only failure is that it is no child of ours, which reap reports.
		_ = proc.Await(pid)
	}()
	if !hungUp {
		select {
		case <-gone:
		case <-time.After(m.exitPatience):
			m.events <- misled{fmt.Sprintf("worker process %d", pid), "it does not exit, killing it"}
			m.kill(pid)
		}
	}
	<-gone
}

// kill ends a child that nobody has reaped. It may be called by any goroutine that has not
// yet told that it ended.
func (m *Master) kill(pid int) {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		m.events <- misled{fmt.Sprintf("kill process %d", pid), err.Error()}
	}
}

// manners is what a worker has said so far: that it is ready and, when it goes, what
// became of its connections; or else that it failed. Nothing else, and nothing twice.
type manners struct{ ready, last bool }

// hear returns what a message of a worker means, or which rule it breaks.
func (w *manners) hear(pid int, msg control.Message) (event, error) {
	switch {
	case w.last:
		return nil, fmt.Errorf("%.20q after its last word", msg.Kind)
	case msg.Kind == control.KindReady && !w.ready:
		w.ready = true
		return workerReady{pid}, nil
	case msg.Kind == control.KindRetired && w.ready:
		w.last = true
		ev := workerRetired{pid: pid}
		if err := msg.Into(&ev.Retired); err != nil {
			return nil, err
		}
		for _, n := range []int64{int64(ev.Moved), int64(ev.Drained), int64(ev.Closed), ev.Millis} {
			if n < 0 || n > maxCount {
				return nil, fmt.Errorf("it counts %d connections or milliseconds", n)
			}
		}
		return ev, nil
	case msg.Kind == control.KindFailed && !w.ready:
		w.last = true
		f := control.Failed{Stage: "start", Reason: "unknown"}
		if err := msg.Into(&f); err != nil {
			return nil, err
		}
		if len(f.Stage) > maxStage {
			return nil, fmt.Errorf("it failed at a stage of %d bytes", len(f.Stage))
		}
		return workerFailed{pid, f.Stage, f.Reason}, nil
	}
	return nil, fmt.Errorf("unexpected %.20q", msg.Kind)
}
