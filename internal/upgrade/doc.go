// Package upgrade is the operator: it looks at a running master from outside, and
// does what an operator does by hand to replace its binary.
//
// It knows a server only by what any operator can see: pid files, /proc, signals,
// the titles of processes, logs, and what a URL answers. So it works for Baton, for
// nginx and for everything that kept nginx's signals, and it needs nothing from the
// server that it looks at. Nothing here knows what a configuration means.
//
// [Look] changes nothing and may be called at any time.
package upgrade
