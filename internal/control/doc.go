// Package control carries messages, and descriptors by name, between two of
// Baton's processes: a master and its worker, an old master and a new one, the
// start command and the master it started.
//
// The channel is a SOCK_SEQPACKET socket pair, so a message arrives whole or
// not at all, and the end of the other process is the end of the channel. Each
// message is one JSON object with a kind. A kind that the receiver does not
// know is its business to ignore: the other side may be another release.
//
// Descriptors ride on the message that names them. Whoever receives a message
// owns its descriptors, which are close-on-exec.
//
// control does not know what the messages are for, beyond their names.
package control
