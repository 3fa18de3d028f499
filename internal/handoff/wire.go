package handoff

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Versions of the wire form that this build speaks.
const (
	minVersion = 1
	maxVersion = 1
)

// Limits of one ticket.
const (
	// MaxFiles is how many descriptors a ticket may carry.
	MaxFiles = 4
	// MaxState is how many bytes of state a ticket may carry: two buffers of a
	// tunnel and a request head fit many times.
	MaxState = 160 << 10
)

// Kinds of messages.
const (
	msgHello  = 1 // version range
	msgGive   = 2 // a ticket; descriptors ride along
	msgHold   = 3 // taker: I have it and wait for your word
	msgRefuse = 4 // taker: I do not want it and have closed it
	msgGo     = 5 // giver: it is yours
	msgDrop   = 6 // giver: it stays mine, close your copy
	msgEnd    = 7 // giver: nothing more will come
)

// ErrWire is wrapped by every error about a message that is not well formed.
var ErrWire = errors.New("malformed hand-over message")

// A message is one datagram of the link.
//
// Wire form, version 1, big-endian:
//
//	offset size
//	0      4    "BTN" and the message's kind
//	4      8    ticket id; hello: 4 bytes lowest version, 4 bytes highest
//	12     1    give: ticket kind, else 0
//	13     1    give: number of descriptors, else 0
//	14     4    give: n, length of the state, at most MaxState, else 0
//	18     n    state
type message struct {
	kind  byte
	id    uint64
	class byte
	files byte
	state []byte
}

const headBytes = 18

var magic = [3]byte{'B', 'T', 'N'}

func (m message) append(b []byte) []byte {
	b = append(b, magic[0], magic[1], magic[2], m.kind)
	b = binary.BigEndian.AppendUint64(b, m.id)
	b = append(b, m.class, m.files)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.state)))
	return append(b, m.state...)
}

// parseMessage reads one datagram. The state is a part of b.
func parseMessage(b []byte) (message, error) {
	if len(b) < headBytes || [3]byte(b[:3]) != magic {
		return message{}, fmt.Errorf("%w: %d bytes without its mark", ErrWire, len(b))
	}
	m := message{kind: b[3], id: binary.BigEndian.Uint64(b[4:]), class: b[12], files: b[13]}
	n := binary.BigEndian.Uint32(b[14:])
	switch {
	case m.kind < msgHello || m.kind > msgEnd:
		return message{}, fmt.Errorf("%w: unknown kind %d", ErrWire, m.kind)
	case n > MaxState || int(n) != len(b)-headBytes:
		return message{}, fmt.Errorf("%w: %d bytes of state announced, %d there", ErrWire, n, len(b)-headBytes)
	case m.kind != msgGive && (n != 0 || m.files != 0 || m.class != 0):
		return message{}, fmt.Errorf("%w: kind %d carries nothing", ErrWire, m.kind)
	case m.kind == msgGive && (m.files == 0 || m.files > MaxFiles):
		return message{}, fmt.Errorf("%w: %d descriptors", ErrWire, m.files)
	}
	m.state = b[headBytes:]
	return m, nil
}

func helloMessage(lo, hi uint32) message {
	return message{kind: msgHello, id: uint64(lo)<<32 | uint64(hi)}
}

// agree returns the highest version that both sides speak.
func agree(lo, hi, peerLo, peerHi uint32) (uint32, error) {
	v := min(hi, peerHi)
	if v < max(lo, peerLo) {
		return 0, fmt.Errorf("agree on a hand-over version: we speak %d to %d, the peer %d to %d", lo, hi, peerLo, peerHi)
	}
	return v, nil
}
