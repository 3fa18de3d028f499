// Package upstream is nginx's upstream modules: groups of servers, the choice of
// one for each try of a request (round robin, least_conn, ip_hash, hash, random),
// the account of failures, connections to servers and the cache of idle ones. It
// does not know what protocol is spoken over a connection.
//
// # Connections
//
// A connection is a raw non-blocking socket on the runtime's poller, not one of
// net/http's Transport or another client library. Those hide the connection:
// there would be no time-out for each phase, no say in when a request may be
// sent to the next server, no tunnel, and nothing that could be moved to another
// process. An idle connection holds neither a goroutine nor a buffer; whether it
// is still good is asked when it is taken from the cache, and once a second for
// all.
//
// Requests come in clumps, and a clump larger than the cache would find it empty while the
// answers of the last one lie in their sockets already. So a request that finds no idle
// connection waits for one turn of the poller before it opens another one, as long as
// living connections are closed for want of room in the cache.
//
// # Names
//
// Host names of servers are resolved when the configuration is compiled, all of
// their addresses are used, and they stay until the next load, as in nginx. A
// master resolves them to check the configuration and each worker when it starts.
// Only names in proxy_pass with variables are resolved later, by "resolver": all who want
// to know a name at one time share one look-up, which asks the name servers in turn and
// ends when nobody waits any more. It speaks DNS by itself, since the standard library
// does not tell for how long an answer may be kept, and refuses names that nginx follows.
//
// # State
//
// Weights, failures and numbers of connections are a worker's own, as in nginx
// without "zone". "zone" is accepted; with one worker it makes no difference.
package upstream
