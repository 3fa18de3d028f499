package master

import (
	"log/slog"
	"os"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/report"
	"github.com/baton-deploy/baton/internal/ticketkeys"
)

// Options is what a master is told by the command line.
type Options struct {
	Argv    []string // as started, without our title
	Dir     string   // the working directory at the start
	Env     []string // the environment at the start, without our own variables
	Version string
	Self    int // our pid
	Parent  int // our parent's

	// Keep: whoever started us takes our end for the end of the server, so this process
	// stays for it when another master has taken over.
	Keep bool

	// Load reads the configuration and checks all of it.
	Load func() (*Config, error)
	// NewLog returns the error log of a configuration, on open log files.
	NewLog func(p conf.Process, logs map[string]*os.File) (*slog.Logger, error)
	// Count reads the memory in which all workers count. nil means that nobody knows how.
	Count func(shared []byte) report.Counters
	// ClearSeat empties what a worker that is gone was doing in the memory in which all
	// workers count; what it counted in total stays.
	ClearSeat func(counts []byte, seat int)
	// StartLog is the log until the first configuration names its own; then it is
	// closed. Never nil.
	StartLog      *slog.Logger
	CloseStartLog func()
	// Terminal gets what goes wrong from then on until the workers are ready, in
	// addition to the configuration's log. Never nil.
	Terminal *slog.Logger

	// Upgrade: an old master started us; Inherited is the descriptors that it
	// passed in the variable NGINX, whose text is InheritedText.
	Upgrade       bool
	Inherited     []int
	InheritedText string
	// Activated is the descriptors that systemd passed.
	Activated []int
	// Tickets is what the old master's processes make the keys of TLS session tickets
	// of; nil: there is none, or it did not say.
	Tickets *ticketkeys.Ring
	// Old is the control socket to an old master, nil when there is none or it is
	// nginx. Run closes it.
	Old *control.Conn
	// Stats is the value of EnvStats, "" for none.
	Stats string
	// Starter is the control socket to the command that started us, or nil. Run
	// closes it.
	Starter *control.Conn
}

// Config is what a master needs to know of a configuration. The tree of
// directives is not part of it, so that the memory it takes is free again.
type Config struct {
	Process  conf.Process
	Listens  []conf.Listen // one for each key
	Logs     []string
	Temps    []conf.TempFolder
	Zones    []conf.Zone // each once
	Warnings []string
	Snapshot []byte // what workers get
	// Changed names files that are otherwise on disk by now than when they were read. It is
	// called on goroutines of its own, may take long, and may be nil.
	Changed func() []string
}
