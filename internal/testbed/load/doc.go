// Package load puts HTTP/1.1 clients on a server and accounts for every
// request they send.
//
// A request that was sent is either answered or lost; there is no third
// outcome, and [Count.Check] proves it. A library's client would hide what
// matters here: it opens connections again and repeats requests by itself.
// These clients do neither unless told, and they look at their connection
// before each request, so that a server that closed an idle connection without
// having announced it (invariant 3 of the design) is caught even if the client
// was lucky and lost nothing.
//
// Besides groups of clients that send requests there are clients that hold a
// connection: [Sockets], [Downloads], [Events], and the idle ones of a [Crowd].
// They never open it again, so whatever happens to it is in their account.
//
// Clients pause between requests, so load does not starve the servers that it
// measures; it is no tool to find a server's greatest speed.
package load
