// Package fastcgi is nginx's fastcgi module: it passes requests to FastCGI servers,
// PHP's above all, and their answers back.
//
// How a request goes through servers and their answers come back is package
// gateway's; what is here is the request as FastCGI has it (BEGIN_REQUEST, the
// parameters, the body as STDIN) and the records of the answer (STDOUT, STDERR,
// END_REQUEST), of one request at a time on a connection, as nginx does it.
//
// # Why not a client library
//
// Those there are for Go hide the connection, read the answer into memory, or are a
// copy of net/http/fcgi, which is a server's side. The records are forty lines.
package fastcgi
