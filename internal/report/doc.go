// Package report is what a master of Baton tells an operator who asks: who serves, what
// became of connections, how many requests failed.
//
// The master listens on a unix socket beside its pid file, which only its own user and
// root may open. Whoever connects gets one JSON object, and the connection ends. There
// is nothing to say and nothing to ask for, so a reader of another release does no harm;
// what it does not know it leaves out.
//
// report imports nothing of ours: the master and the commands that look at it share it.
package report
