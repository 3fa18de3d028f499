// Package errorlog writes log records in the format of nginx's error_log, so
// that what reads nginx's log reads Baton's:
//
//	2026/11/20 21:00:00 [error] 123#123: *7 message: cause, client: 192.0.2.1, request: "GET / HTTP/1.1"
//
// It is an [slog.Handler]: code logs through *slog.Logger with a constant
// message and attributes. A record is one line and one write(2), whatever
// bytes the peer put into it: control characters are escaped, so a request
// cannot forge a line. A record below every output's level costs no
// allocation.
//
// It opens no file and closes none; whoever opened a writer closes it.
package errorlog
