package master

import (
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/control"
	"github.com/baton-deploy/baton/internal/proc"
)

// An event is something that happened. Some come from outside, some are the
// outcome of an action; those are handled before anything else.
type event interface{ isEvent() }

type (
	// began: the first configuration is loaded and its sockets are open.
	began struct {
		config configFacts
		// parent: an old master lives, whose sockets we took.
		parent bool
		// keep: our end is the end of the server for whoever started us.
		keep bool
	}
	// signalled: somebody sent us a signal.
	signalled struct{ sig syscall.Signal }
	// loaded is the outcome of [load].
	loaded struct{ config configFacts }
	// loadFailed is the other one.
	loadFailed struct{ reason string }
	// spawned is the outcome of [spawn].
	spawned struct{ gen, slot, pid int }
	// spawnFailed is the other one.
	spawnFailed struct {
		gen, slot int
		reason    string
	}
	// workerReady: it serves.
	workerReady struct{ pid int }
	// workerFailed: it cannot serve, says why, and exits.
	workerFailed struct {
		pid           int
		stage, reason string
	}
	// workerRetired: it tells what became of its connections, and exits.
	workerRetired struct {
		pid int
		control.Retired
	}
	// misled: what came from a process that we started breaks a rule.
	misled struct{ who, reason string }
	// deaf: a process of ours does not read what it is told.
	deaf struct{ who, reason string }
	// exited: a child is gone, a worker or the new master.
	exited struct {
		pid   int
		exit  proc.Exit
		lived time.Duration
	}
	// fired: a timer ran out.
	fired struct{ timer timerID }
	// pidMoved is the outcome of [movePidFile]; reason is "" on success.
	pidMoved struct{ reason string }
	// pidWritten is the outcome of [writePidFile]; reason is "" on success.
	pidWritten struct{ reason string }
	// executed is the outcome of [execute]; reason is "" on success.
	executed struct {
		pid    int
		path   string
		reason string
	}
	// pidFileNames is the outcome of [readPidFile]; 0 when it names nobody.
	pidFileNames struct{ pid int }
	// successorSaid: the new master spoke on the control socket.
	successorSaid struct {
		kind          string // "hello", "ready", "failed", "inherit", "reopen"
		protocol      int    // of "hello": the version that we both speak, 0 for none
		stage, reason string // of "failed"
	}
	// parentSaid: the old master said hello. protocol is as above.
	parentSaid struct{ protocol int }
	// otherReopens: the old master was told to open log files again.
	otherReopens struct{}
	// linkCame: the other master has connections to give; its link waits under this
	// number for [passLink].
	linkCame struct{ link int }
	// heirFound is the outcome of [findHeir]; 0 when nobody goes on.
	heirFound struct{ pid int }
	// parentGone: the old master is no more.
	parentGone struct{}
)

func (began) isEvent()         {}
func (signalled) isEvent()     {}
func (loaded) isEvent()        {}
func (loadFailed) isEvent()    {}
func (spawned) isEvent()       {}
func (spawnFailed) isEvent()   {}
func (workerReady) isEvent()   {}
func (workerFailed) isEvent()  {}
func (workerRetired) isEvent() {}
func (misled) isEvent()        {}
func (deaf) isEvent()          {}
func (exited) isEvent()        {}
func (fired) isEvent()         {}
func (pidMoved) isEvent()      {}
func (pidWritten) isEvent()    {}
func (executed) isEvent()      {}
func (pidFileNames) isEvent()  {}
func (successorSaid) isEvent() {}
func (parentSaid) isEvent()    {}
func (otherReopens) isEvent()  {}
func (linkCame) isEvent()      {}
func (heirFound) isEvent()     {}
func (parentGone) isEvent()    {}

// configFacts is what the decisions need to know of a configuration.
type configFacts struct {
	id             int // counts the loads of this master, from 1
	workers        int
	upgradeTimeout time.Duration
}

// A timerID names a timer; setting it again starts it anew.
type timerID struct {
	name      string
	gen, slot int
}

// The timers.
const (
	timerReady    = "ready"     // of generation gen: it should serve by now
	timerRespawn  = "respawn"   // of slot in gen: a dead worker is started again
	timerStop     = "stop"      // workers that were told to exit should be gone
	timerUpgrade  = "upgrade"   // the new master should be ready by now
	timerEndNew   = "end-new"   // the new master that was told to exit should be gone
	timerBreath   = "breath"    // what was said in one breath with USR2 has come by now
	timerPidFile  = "pid-file"  // look whether the pid file names the new master
	timerLinks    = "links"     // links that wait for workers have waited long enough
	timerWatchdog = "watch-dog" // tell systemd that we are well
)
