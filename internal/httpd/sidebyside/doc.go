// Package sidebyside runs real nginx and Baton's HTTP server side by side from
// one configuration text, so that a test can send both the same bytes and compare
// what comes back. It is for tests only.
//
// nginx listens on 127.0.0.1 and Baton, inside the test's own process, on
// 127.0.0.2 at the same port. Both serve the same files, so that even ETags are
// equal, and Baton is told to call itself nginx.
package sidebyside
