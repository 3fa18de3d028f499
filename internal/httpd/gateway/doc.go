// Package gateway passes requests to servers and their answers back, whatever
// protocol is spoken with them: what nginx has in its upstream module for proxy,
// fastcgi, scgi and uwsgi alike.
//
// # One request
//
// [Location.Serve] → [Exchange]: the client's body (whole, in memory or in a file,
// unless *_request_buffering is off) → the request, written once for all tries by
// the location's [Protocol] → for each try a server, a connection, the request, the
// answer's head → the answer's fields → its body, relayed as it comes.
//
// # Heads
//
// Answers' heads are parsed here and not by a library, because fields must reach the
// client in the server's order and spelling, duplicates included, and because how a
// body is framed is decided from all of them at once: an answer with both
// Content-Length and Transfer-Encoding, or with two lengths, is refused. A
// [HeadKind] says whether a head begins with a status line, as in HTTP, or may do
// without, as in CGI.
//
// # What it does not know
//
// How a request is written, which of an answer's fields are changed on their way, and
// how the bytes of one connection are cut into records are the protocol's.
package gateway
