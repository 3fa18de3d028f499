// Package handoff moves open descriptors, with what is known about them, from one
// process to another.
//
// One side gives, the other takes, over a SOCK_SEQPACKET socket pair. What is
// moved in one piece is a [Ticket]: one to [MaxFiles] descriptors, a kind, and
// state that this package never looks into. It carries any protocol.
//
// # Ownership
//
// A ticket has one owner at any instant (invariant 2):
//
//	giver                      taker
//	give  id, kind, state, fds ─────►  holds the descriptors, does not use them
//	                          ◄─────   hold id   (or refuse id)
//	go    id                   ─────►  owns it and serves
//
// The giver owns the ticket until it has sent "go". When no "hold" comes in time
// it says "drop" instead and goes on as before; a "hold" that comes later finds
// that "drop" behind it. A word that cannot be sent ends the link, and a taker
// whose link ends drops what it holds: without "go" nothing is the taker's, so
// that no accident of timing, on either side, can make two owners. What is lost
// then is lost with a process that died, as any connection of it is.
//
// # Versions
//
// Both sides begin with a hello that names the versions they speak; the highest
// common one counts, and with none nothing moves. A taker refuses kinds that it
// does not know: what it refuses stays where it is. docs/handoff.md has the wire
// form.
package handoff
