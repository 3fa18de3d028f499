package master

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/errorlog"
)

// An action is something to be done. Its String is its line in a transcript.
type action interface{ String() string }

type (
	// logLine writes to the error log.
	logLine struct {
		level slog.Level
		text  string
	}
	// load reads the configuration and opens what it needs. Outcome: loaded or
	// loadFailed, with nothing changed.
	load struct{}
	// release lets go of a configuration that no generation uses any more: its
	// log files, its snapshot, and the sockets that only it wanted, which are there
	// still when it never came to serve.
	release struct {
		config int
		unlink bool // the files of unix sockets go too
	}
	// spawn starts a worker. Outcome: spawned or spawnFailed.
	spawn struct{ gen, slot, workers, config int }
	// retire tells a worker to give its connections away, drain the rest and exit.
	retire struct {
		pid   int
		heirs heirs
		taker int // worker of ours that takes, when heirs is toOwnWorkers
	}
	// passLink passes a hand-over link on that another master sent, to a worker of
	// ours; to 0, nobody serves here, it is closed.
	passLink struct{ link, pid int }
	// stop sends a process TERM.
	stop struct{ pid int }
	// kill sends a process KILL.
	kill struct{ pid int }
	// reopen opens all log files again and passes them to all workers.
	reopen struct{}
	// writePidFile makes the pid file of a configuration name us.
	// Outcome: pidWritten.
	writePidFile struct{ config int }
	// movePidFile renames it to .oldbin. Outcome: pidMoved.
	movePidFile struct{}
	// restorePidFile undoes movePidFile.
	restorePidFile struct{}
	// removePidFile removes ours, whatever it is called now.
	removePidFile struct{}
	// forgetParent removes what a dead old master left behind.
	forgetParent struct{}
	// readPidFile looks whom the pid file names. Outcome: pidFileNames.
	readPidFile struct{}
	// execute starts the binary on disk as new master. Outcome: executed.
	execute struct{}
	// bequeath gives a new master what it asked for: it inherits it.
	bequeath struct{ protocol int }
	// hangUp closes the control socket to a new master that has no ear for it.
	hangUp struct{}
	// reopenOther has the other master open its log files again: the new one when pid is
	// set, else the old one.
	reopenOther struct {
		pid    int
		signal bool // by USR1, not by a message
	}
	// dropSuccessor closes the control socket to a new master that is gone.
	dropSuccessor struct{}
	// setTimer starts a timer. Outcome, later: fired.
	setTimer struct {
		timer timerID
		after time.Duration
	}
	// dropTimer stops it; the event may be on its way all the same.
	dropTimer struct{ timer timerID }
	// tellReady tells whoever started us that we serve, and an old master that another
	// generation does; from the first time on nothing goes to the terminal any more.
	tellReady struct{}
	// tellFailed tells whoever started us that we never will.
	tellFailed struct{ stage, reason string }
	// notify tells systemd.
	notify struct{ assignments []string }
	// trimSockets closes the listening sockets that a configuration does not want.
	trimSockets struct {
		config int
		unlink bool
	}
	// closeSockets closes all listening sockets.
	closeSockets struct{ unlink bool }
	// keep lets go of all that a master has, and calls this process a keeper.
	keep struct{ pid int }
	// findHeir looks for the master that goes on after the one that we kept and that has
	// ended. Outcome: heirFound.
	findHeir struct{}
	// forward passes a signal on to another master.
	forward struct {
		pid int
		sig syscall.Signal
	}
	// exit ends Run.
	exit struct{ code int }
)

func (a logLine) String() string {
	return fmt.Sprintf("log %s: %s", errorlog.LevelName(a.level), a.text)
}
func (load) String() string { return "load configuration" }
func (a release) String() string {
	return fmt.Sprintf("release configuration %d unlink=%v", a.config, a.unlink)
}
func (a spawn) String() string {
	return fmt.Sprintf("spawn generation=%d slot=%d of %d configuration=%d", a.gen, a.slot, a.workers, a.config)
}
func (a retire) String() string {
	if a.heirs == toOwnWorkers {
		return fmt.Sprintf("retire %d to worker %d", a.pid, a.taker)
	}
	return fmt.Sprintf("retire %d to %s", a.pid, a.heirs)
}
func (a passLink) String() string { return fmt.Sprintf("pass link %d to worker %d", a.link, a.pid) }
func (a stop) String() string     { return fmt.Sprintf("signal TERM to %d", a.pid) }
func (a kill) String() string     { return fmt.Sprintf("signal KILL to %d", a.pid) }
func (reopen) String() string     { return "reopen logs" }
func (a writePidFile) String() string {
	return fmt.Sprintf("write pid file of configuration %d", a.config)
}
func (movePidFile) String() string    { return "rename pid file to .oldbin" }
func (restorePidFile) String() string { return "rename pid file back" }
func (removePidFile) String() string  { return "remove pid file" }
func (forgetParent) String() string   { return "remove .oldbin of the dead old master" }
func (readPidFile) String() string    { return "read pid file" }
func (execute) String() string        { return "execute binary on disk" }
func (bequeath) String() string       { return "give the new master what it inherits" }
func (hangUp) String() string         { return "close control socket: the new master has no ear" }
func (a reopenOther) String() string {
	who, how := "old master", "message"
	if a.pid != 0 {
		who = fmt.Sprintf("new master %d", a.pid)
	}
	if a.signal {
		how = "USR1"
	}
	return fmt.Sprintf("have the %s reopen logs, by %s", who, how)
}
func (dropSuccessor) String() string { return "close control socket of the new master" }
func (a setTimer) String() string    { return fmt.Sprintf("timer %s in %v", a.timer, a.after) }
func (a dropTimer) String() string   { return fmt.Sprintf("no timer %s", a.timer) }
func (tellReady) String() string     { return "tell starter: ready" }
func (a tellFailed) String() string {
	return fmt.Sprintf("tell starter: failed: %s: %s", a.stage, a.reason)
}
func (a notify) String() string { return "notify " + strings.Join(a.assignments, " ") }
func (a trimSockets) String() string {
	return fmt.Sprintf("close sockets that configuration %d does not name unlink=%v", a.config, a.unlink)
}
func (a closeSockets) String() string { return fmt.Sprintf("close sockets unlink=%v", a.unlink) }
func (a keep) String() string         { return fmt.Sprintf("keep master process %d", a.pid) }
func (findHeir) String() string       { return "find the next master" }
func (a forward) String() string {
	name, _ := signalText(a.sig)
	return fmt.Sprintf("pass %s on to %d", name, a.pid)
}
func (a exit) String() string { return fmt.Sprintf("exit %d", a.code) }

func (t timerID) String() string {
	switch t.name {
	case timerReady:
		return fmt.Sprintf("%s generation=%d", t.name, t.gen)
	case timerRespawn:
		return fmt.Sprintf("%s generation=%d slot=%d", t.name, t.gen, t.slot)
	}
	return t.name
}
