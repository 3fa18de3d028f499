// Package upgrade is the operator: it looks at a running master from outside, and
// does what an operator does by hand to replace its binary.
//
// It knows a server only by what any operator can see: pid files, /proc, signals,
// the titles of processes, logs, and what a URL answers. So it works for Baton, for
// nginx and for everything that kept nginx's signals. What a master of Baton says of
// itself ([report.Ask]) is more exact, and used when there is an answer. Nothing here
// knows what a configuration means.
//
// [Look] changes nothing and may be called at any time. [Run] upgrades. What it does
// next is decided by a pure plan from how the step before ended; every step that
// changes something has the step that undoes it beside it, and is in the journal before
// it begins and after it ended. It waits for facts: the end of a process, a name in the
// pid file, a socket's inode, an answer.
package upgrade
