// Package proxy is nginx's proxy module: it passes requests to servers over
// HTTP/1.0 or 1.1 and their answers back, and becomes a tunnel when both sides
// switch protocols.
//
// How a request goes through servers and their answers come back is package
// gateway's; what is here is what is HTTP's alone: the request line and fields that
// a server is sent, and the fields of its answer that name the server (Location,
// Refresh, Set-Cookie).
//
// # Why not a client library
//
// They hide the connection: see package upstream.
//
// # Buffering
//
// An answer is passed on as it comes; what is small waits only as long as the
// server has more at once. So events arrive at the client at once with
// proxy_buffering on as well. When a client is slower than its server the answer is
// read on and kept, in memory and in a temporary file, and the server is free when
// it is complete: see httpd.Request.Relay and docs/decisions/slow-clients.md.
package proxy
