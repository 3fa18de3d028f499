// Package worker is the life of one worker process: take configuration and
// descriptors from the master, become the worker's user, serve, report ready,
// retire, drain, exit.
//
// What is served is a [Service], which comes from outside: worker knows
// processes and no protocol. It reads no file: all that it works with comes
// over the control socket, so a worker that starts an hour later is the same as
// the first (invariant 5 of docs/design.md).
//
// When the master is gone, whatever way, the control socket ends and the worker
// retires: it finishes what it has and frees the port.
package worker
