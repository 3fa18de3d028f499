// Package proxy is nginx's proxy module: it passes requests to servers over
// HTTP/1.0 or 1.1 and their answers back, and becomes a tunnel when both sides
// switch protocols.
//
// # One request
//
// location.Serve → exchange: the client's body (whole, in memory or in a file,
// unless proxy_request_buffering is off) → the request's head, written once for
// all tries → for each try a server, a connection, the request, the answer's
// head → the answer's fields → its body, relayed as it comes.
//
// # Why not a client library
//
// They hide the connection: see package upstream. Answers' heads are parsed here,
// because fields must reach the client in the server's order and spelling,
// duplicates included, and because how a body is framed is decided from all of
// them at once: an answer with both Content-Length and Transfer-Encoding, or
// with two lengths, is refused.
//
// # Buffering
//
// An answer is passed on as it comes; what is small waits only as long as the
// server has more at once. So events arrive at the client at once with
// proxy_buffering on as well. When a client is slower than its server the answer is
// read on and kept, in memory and in a temporary file, and the server is free when
// it is complete: see httpd.Request.Relay and docs/decisions/slow-clients.md.
package proxy
