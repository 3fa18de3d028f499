// Package sock holds the listening sockets of a master: opens them, takes them
// over from the process before, finds them by address, and lets go of them.
//
// A socket is the same open file description from the first master that opened
// it to the last process that serves it. It is never closed and opened again
// while somebody wants it, so no connection in its queue is lost (invariant 1
// of docs/design.md). Of a reuseport address there are several sockets, each
// with a queue of its own: none is closed while the address is wanted, also
// when there are fewer workers than sockets.
//
// sock accepts nothing and does not know what is served. A [Set] belongs to one
// goroutine.
package sock
