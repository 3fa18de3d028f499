// Package tlsconf reads what directives say of TLS, towards clients and towards
// servers, and makes of it what crypto/tls takes: protocols, cipher suites by
// OpenSSL's names, curves, certificates, private keys and revocation lists. Faults
// are worded as nginx and OpenSSL word them.
//
// It reads no file: whoever uses it passes on the bytes, which a worker has from its
// master.
package tlsconf
