package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/errorlog"
	"github.com/baton-deploy/baton/internal/proc"
)

// A worker is the state of this process. It belongs to the goroutine of Run.
type worker struct {
	o     Options
	conn  *control.Conn
	title *proc.Title

	gear // what start made

	messages chan control.Message // closed at the end of the control socket
	signals  chan os.Signal
	retired  chan control.Retired // gets one when Retire returned
	retiring bool
	inbound  inbound // what predecessors give us
	givers   givers  // links to successors
}

// Run is the whole life of a worker process, whose end of the control socket
// is descriptor fd. It returns the exit status.
func Run(fd int, o Options) int {
	w := &worker{
		o:        o,
		messages: make(chan control.Message),
		signals:  make(chan os.Signal, 8),
		retired:  make(chan control.Retired, 1),
	}
	defer runtime.KeepAlive(newBallast())
	// First of all: the default of these signals is to die.
	signal.Ignore(syscall.SIGHUP, syscall.SIGWINCH, syscall.SIGUSR2, syscall.SIGPIPE)
	signal.Notify(w.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1)

	title, err := proc.WorkerTitle()
	if err == nil {
		w.title = title
		err = proc.SetComm(title.Word())
	}
	if err != nil {
		slog.New(slog.NewTextHandler(os.Stderr, nil)).Warn("worker without a name", "err", err)
	}
	if w.conn, err = control.Open(fd); err != nil {
		slog.New(slog.NewTextHandler(os.Stderr, nil)).Error("worker without a master", "err", err)
		return 1
	}
	defer w.conn.Close()
	return w.run()
}

func (w *worker) run() int {
	m, err := w.conn.Receive()
	if err != nil {
		return 1 // the master went before it said anything
	}
	if err := w.start(m); err != nil {
		var f *failure
		if !errors.As(err, &f) {
			f = &failure{stage: "start", err: err}
		}
		// The master logs it; there may be no log here yet.
		_ = w.conn.Send(control.KindFailed, control.Failed{Stage: f.stage, Reason: f.err.Error()})
		return 2
	}
	if err := w.conn.Send(control.KindReady, nil); err != nil {
		w.service.Close()
		return 1
	}
	go w.receive()
	w.serve()
	return 0
}

// receive passes messages on until the control socket ends. It ends with the
// process: nothing waits for it.
func (w *worker) receive() {
	defer close(w.messages)
	for {
		m, err := w.conn.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.log.Error("control socket failed", "err", err)
			}
			return
		}
		w.messages <- m
	}
}

// serve reacts to the master and to signals until there is nothing left to do.
func (w *worker) serve() {
	ctx, cut := context.WithCancel(context.Background())
	defer cut()
	messages := w.messages
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				messages = nil // a nil channel is never ready again
				if !w.retiring {
					w.log.Log(ctx, errorlog.Notice, "master process is gone, gracefully shutting down")
				}
				w.retire(ctx, nil)
				continue
			}
			w.handle(ctx, m)
		case s := <-w.signals:
			switch s {
			case syscall.SIGQUIT:
				w.retire(ctx, nil)
			case syscall.SIGUSR1:
				w.reopenMine()
			default:
				w.log.Log(ctx, errorlog.Notice, "exiting")
				cut()
				w.service.Close()
				w.log.Log(ctx, errorlog.Notice, "exit")
				return
			}
		case r := <-w.retired:
			w.log.Log(ctx, errorlog.Notice, "exiting")
			// The master may be gone; then nobody wants to know.
			_ = w.conn.Send(control.KindRetired, r)
			w.service.Close()
			w.log.Log(ctx, errorlog.Notice, "exit")
			return
		}
	}
}

func (w *worker) handle(ctx context.Context, m control.Message) {
	switch m.Kind {
	case control.KindRetire:
		w.retire(ctx, only(m, control.FileGive))
	case control.KindTake:
		w.take(ctx, only(m, control.FileTake))
	case control.KindReopen:
		if err := w.reopen(m); err != nil {
			w.log.Error("reopening logs failed", "err", err)
		}
	default: // a newer master's word
		m.Close()
	}
}

// retire begins to give away and to drain, once; after that another link is one to
// another successor, for what is left. link, which it owns, may be nil.
func (w *worker) retire(ctx context.Context, link *os.File) {
	if w.retiring {
		if link != nil {
			go w.giveOn(ctx, link)
		}
		return
	}
	w.retiring = true
	if w.title != nil {
		w.title.ShuttingDown()
	}
	w.log.Log(ctx, errorlog.Notice, "gracefully shutting down")
	go func() { w.retired <- w.leave(ctx, link) }()
}

// leave is the whole retirement.
func (w *worker) leave(ctx context.Context, link *os.File) control.Retired {
	began := time.Now()
	if timeout := w.config.Process.ShutdownTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	w.inbound.refuse(ctx)
	give := w.outbound(ctx, link)
	defer w.givers.close(w.log)
	r := w.service.Retire(ctx, give)
	took := time.Since(began).Round(time.Millisecond)
	w.log.Log(ctx, errorlog.Notice, fmt.Sprintf("retired: %d connections moved, %d drained, %d closed in %v",
		r.Moved, r.Drained, r.Closed, took))
	return control.Retired{Moved: r.Moved, Drained: r.Drained, Closed: r.Closed, Millis: took.Milliseconds()}
}

// A failure is why a worker does not come to serve.
type failure struct {
	stage string
	err   error
}

func (f *failure) Error() string { return fmt.Sprintf("%s: %v", f.stage, f.err) }
func (f *failure) Unwrap() error { return f.err }
