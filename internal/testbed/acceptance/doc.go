// Package acceptance has only tests: the procedures by which operators of
// nginx replace a running binary, command for command, with real processes,
// real signals and load. Each runs for every pair of servers in [pairs]; the
// pair of two nginx is the control that the tests say what nginx does.
package acceptance
