// Package master is the process that owns the listening sockets, the pid file
// and the signals, and that serves nothing.
//
// What it does is decided by [state.step], a pure function from a state and an
// event to actions, and done by [Master.Run], one goroutine that knows the
// operating system and decides nothing. Every story of a master is a transcript
// in testdata that anyone can read.
//
// The promise: listening never stops, and every step has its undo. A new
// configuration that does not come to serve leaves the old workers as they
// were; a new binary that does not come to serve leaves the whole generation as
// it was: workers, pid file, unix sockets, log files, and the ability to try
// again.
//
// master does not know HTTP. A crash in serving cannot reach it.
package master
