package worker

import (
	"context"
	"log/slog"
	"net"
	"os"

	"github.com/baton-deploy/baton/internal/conf"
)

// A Service serves connections. Its methods are called from one goroutine,
// except Close, and Reopen during Retire.
type Service interface {
	// Start begins to accept on the listeners, which the Service owns from then
	// on, also when Start fails. The key is conf.Listen.Key; there are several
	// for one key when the address has more sockets than there are workers
	// (reuseport). Start returns when the Service accepts.
	Start(listeners map[string][]net.Listener) error

	// Retire stops accepting, gives away what it can when give is not nil, answers
	// what else waits for its next request with "Connection: close", and returns
	// when no connection is left. When ctx is done it closes the rest at once and
	// returns. A listener is only ever closed, never shut down: others accept on
	// the same socket.
	Retire(ctx context.Context, give Give) Result

	// Redirect gives what is left of a Service that retires to another successor. It
	// may be called by any goroutine, as soon as Retire is about to be called.
	Redirect(give Give)

	// Wants reports whether Take would serve a connection that a predecessor
	// offers, in this state and with so many descriptors. It may be called at any
	// time, by any goroutine, and false is the answer once Retire was called.
	Wants(kind byte, state []byte, fds int) bool

	// Take serves a connection that a predecessor gave. The descriptors are the
	// Service's from then on, also when it fails. May be called as Wants may.
	Take(kind byte, state []byte, fds []int) error

	// Reopen is called when the log files of Env.Logs were opened again: the
	// *os.File of a path is the same as before and now writes to the new file.
	// What the Service has buffered may go to either. logs is Env.Logs.
	Reopen(logs map[string]*os.File)

	// Close closes everything at once. It may be called at any time, by any
	// goroutine, more than once.
	Close()
}

// Give offers a connection to the successor: its state, and descriptors that stay
// the caller's, who closes them after nil, and goes on serving after an error. It
// may be called by many goroutines at once. See package handoff.
type Give = func(kind byte, state []byte, fds ...int) error

// Result is what became of the connections of a retired Service.
type Result struct {
	Moved   int // went to the successor
	Drained int // came to their natural end
	Closed  int // were cut
}

// Env is what a worker gives its Service besides the configuration.
type Env struct {
	Log *slog.Logger
	// Logs is every log file of the configuration, open for appending, by path.
	Logs map[string]*os.File
	// Zones are the shared zones of the configuration, by name, for package shm. They may
	// be closed when they were opened there.
	Zones map[string]*os.File
	// Stats is memory that all workers of a master share, zeroed when the master
	// starts.
	Stats []byte
	// Slot is a small number, from 0, that no other living worker of the master
	// has: its place in Stats. A worker may find there what a dead one left.
	Slot int
	// Tickets is what all processes of the server make the keys of TLS session tickets
	// of, in the form of package ticketkeys; nil when the master has none.
	Tickets []byte
	// Generation counts the loads of a configuration by this master, from 1.
	Generation int
}

// Options is what makes a worker serve something.
type Options struct {
	// Decode turns the bytes of a snapshot into the configuration.
	Decode func(snapshot []byte) (*conf.Config, error)
	// NewLog returns the error log of a configuration, on log files opened by
	// the master.
	NewLog func(p conf.Process, logs map[string]*os.File) (*slog.Logger, error)
	// New makes the Service. It opens nothing and accepts nothing yet.
	New func(c *conf.Config, env Env) (Service, error)
}
