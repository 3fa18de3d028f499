// Package httpd serves HTTP: connections, requests, the choice of server and
// location, variables, and the response on its way to the client.
//
// A request flows connection → virtual server → location → module → response →
// log. What a location does is brought by modules, one folder each below this
// one; httpd knows none of them by name. The modules' list is package modules.
//
// # Connections
//
// Each connection has one goroutine, which runs [Server]'s loop: wait for a
// request, read its head, serve it, log it, wait again. While it waits it holds
// no buffer. The loop is where a retiring worker lets go of a connection, where
// nginx's time-outs of one server block apply, and where a response is known to be
// complete. A head is scanned once, by nginx's rules.
//
// Between a connection and its socket there may be a [netconn.Layer]. TLS is one, by
// crypto/tls: what a server has for it is its [Security], which a module sets.
//
// A request by HTTP/2 has a stream in the place of a connection of its own: package h2
// runs the connection, and is what requests on it share.
//
// # Slow clients
//
// A response blocks its goroutine while the client's socket has no room. Only the
// answer of a server behind us is read on meanwhile, by a second goroutine, into a
// queue: [Request.Relay].
//
// # Ownership
//
// A [Request] and everything reached through it belongs to its connection's
// goroutine and is used again for the next request: a module must not keep it,
// nor any slice it got from it, after Serve returned.
package httpd
