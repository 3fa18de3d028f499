// Package h2 serves the HTTP/2 side of a connection: frames, header compression,
// flow control and the life of streams. What a request means is its [Host]'s.
//
// Frames are read by golang.org/x/net/http2's Framer and heads by its hpack; the
// machine on top is ours, because that of x/net cannot retire a connection without
// refusing requests under way: docs/decisions/http2.md.
//
// # Goroutines
//
// [Conn.Serve] reads, on its caller's goroutine. Each stream is served by one of a
// [Crew]'s, for which the Conn waits. Frames to be written are put one behind
// the other in a buffer; whoever finds nobody writing writes it out. What the socket
// does not take at once is written by a goroutine that lives until it did.
//
// # Streams without waiting
//
// [Stream.Recv] and [Stream.Send] never wait; they return unix.EAGAIN, and
// [Stream.AwaitRead] and [Stream.AwaitWrite] wait until another try is worth it. So a
// stream can stand where a non-blocking socket stands.
package h2
