package httpd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Kinds of tickets: what state a connection is in when it moves to another
// process. The descriptors are the client's socket, then what the kind adds.
const (
	// ticketWaiting: between two requests, or inside a request head.
	ticketWaiting = 1
	// ticketFile: in the middle of a file; the file is the second descriptor.
	ticketFile = 2
	// ticketTunnel: an upgraded connection; the upstream's socket is the second
	// descriptor.
	ticketTunnel = 3
	// ticketStream: in the middle of a server's answer that is passed on; the
	// server's socket is the second descriptor.
	ticketStream = 4
	// ticketSpool: in the middle of a server's answer which the client takes more
	// slowly than it comes. The server's socket follows unless the answer is
	// complete, then the file with a part of it unless there is none.
	ticketSpool = 5
)

// Tags of a ticket's fields. A reader skips what it does not know below
// tagCritical and refuses the ticket for what it does not know from there on.
const (
	tagNumber     = 1  // $connection
	tagServed     = 2  // requests on the connection so far
	tagAge        = 3  // microseconds since it was accepted
	tagTimeout    = 4  // of this wait, in microseconds; 0 means none
	tagWaited     = 5  // how much of it has passed
	tagStarted    = 6  // microseconds since the request's first byte
	tagHeadBytes  = 7  // of the response's head
	tagWireBytes  = 8  // of the response's body, with its framing
	tagField      = 9  // a field of the response: name, NUL, value; repeated
	tagModule     = 10 // state of a module: its name, NUL, the state; repeated
	tagReadBytes  = 11 // of the request
	tagSendTime   = 12 // time-out of writes to the upstream, in microseconds
	tagClientTime = 13 // and of writes to the client
	tagRate       = 14 // bytes a second that the response may use
	tagSet        = 15 // a variable that cannot be found out again: name, NUL, value; repeated
	tagMemory     = 16 // how much of the answer is kept in memory for a slow client
	tagFileSize   = 17 // and in a temporary file
	tagFileWrite  = 18 // the most that is written to it at once
	tagTempPath   = 19 // where it is created: the folder, NUL, a byte for each level
	tagPeer       = 20 // the client's address and port, unless it came to a unix socket
	tagChosenBy   = 21 // the path by which the location was chosen, when a rewrite changed it since
	tagBlock      = 22 // which "if" block of the location serves, from 1 on
	tagIgnores    = 23 // 1: the answer is read to its end although the client has gone

	tagCritical   = 128
	tagListen     = 128 // conf.Listen.Key of the socket that it was accepted on
	tagInput      = 129 // bytes read and not consumed
	tagHead       = 130 // the request head as the client sent it
	tagURI        = 131 // path now, when an internal redirect changed it
	tagArgs       = 132 // arguments now, likewise
	tagStatus     = 133 // of the response
	tagBody       = 134 // bytes of content sent so far
	tagOffset     = 135 // in the file, where it goes on
	tagLeft       = 136 // bytes of the file, answer or chunk that are still to come
	tagToClient   = 137 // bytes from the upstream that are not yet sent
	tagKeep       = 139 // 1: the connection serves on after the response
	tagNamed      = 140 // the named location that serves
	tagChunked    = 141 // 1: the response goes to the client in chunks
	tagFraming    = 142 // of the server's answer: 1 length, 2 chunks, 3 until it closes, 4 it is complete
	tagChunkState = 143 // where in the chunked coding the next byte belongs; tagLeft is what is left of the chunk
	tagOwed       = 144 // bytes that the client gets first, as they are; they count as sent
	tagSpooled    = 145 // bytes of the answer in the file, from tagOffset on
	tagEnded      = 146 // the side of a tunnel that has ended while the other goes on: 1 the client, 2 the server
)

// ErrTicket is wrapped by every error about a ticket's state that is not well
// formed or says what this build does not know.
var ErrTicket = errors.New("unknown or malformed connection state")

// A ticket is a connection on its way, without its descriptors. Which fields mean
// something depends on the kind.
type ticket struct {
	kind            byte
	number, served  uint64
	age             time.Duration
	timeout, waited time.Duration
	listen          string
	peer            netip.AddrPort
	input           []byte

	head, uri, args            []byte
	named                      string
	chosenBy                   []byte
	block                      uint64
	ignoreAbort                bool
	started                    time.Duration
	status                     uint64
	headBytes, wire            uint64
	body, readBytes            uint64
	offset, left               uint64
	keep, chunked              bool
	framing, chunkState        uint64
	ended                      uint64
	fields                     []Field
	toClient                   []byte
	modules                    []Field // state by module
	sets                       []Field // variables
	rate                       uint64
	sendTimeout, clientTimeout time.Duration

	owed                        []byte
	spooled                     uint64
	memory, fileSize, fileWrite uint64
	tempPath                    []byte
}

// append appends t's wire form: fields, each a tag of one byte, the length of the
// value as a uvarint, the value. Numbers are uvarints.
func (t *ticket) append(b []byte) []byte {
	num := func(tag byte, v uint64) {
		if v == 0 {
			return
		}
		var value [binary.MaxVarintLen64]byte
		n := binary.PutUvarint(value[:], v)
		b = append(append(b, tag, byte(n)), value[:n]...)
	}
	text := func(tag byte, v []byte) {
		if len(v) == 0 {
			return
		}
		b = binary.AppendUvarint(append(b, tag), uint64(len(v)))
		b = append(b, v...)
	}
	num(tagNumber, t.number)
	num(tagServed, t.served)
	num(tagAge, micros(t.age))
	num(tagTimeout, micros(t.timeout))
	num(tagWaited, micros(t.waited))
	text(tagListen, []byte(t.listen))
	text(tagInput, t.input)
	if t.peer.IsValid() {
		text(tagPeer, t.peer.AppendTo(nil))
	}
	if t.kind == ticketWaiting {
		return b
	}
	num(tagStarted, micros(t.started))
	num(tagReadBytes, t.readBytes)
	num(tagHeadBytes, t.headBytes)
	num(tagWireBytes, t.wire)
	for _, f := range t.fields {
		text(tagField, append(append([]byte(f.Name), 0), f.Value...))
	}
	for _, m := range t.modules {
		text(tagModule, append(append([]byte(m.Name), 0), m.Value...))
	}
	for _, v := range t.sets {
		text(tagSet, append(append([]byte(v.Name), 0), v.Value...))
	}
	num(tagRate, t.rate)
	num(tagSendTime, micros(t.sendTimeout))
	num(tagClientTime, micros(t.clientTimeout))
	text(tagHead, t.head)
	text(tagURI, t.uri)
	text(tagArgs, t.args)
	text(tagNamed, []byte(t.named))
	text(tagChosenBy, t.chosenBy)
	num(tagBlock, t.block)
	if t.ignoreAbort {
		num(tagIgnores, 1)
	}
	num(tagStatus, t.status)
	num(tagBody, t.body)
	num(tagOffset, t.offset)
	num(tagLeft, t.left)
	if t.keep {
		num(tagKeep, 1)
	}
	if t.chunked {
		num(tagChunked, 1)
	}
	num(tagFraming, t.framing)
	num(tagChunkState, t.chunkState)
	text(tagToClient, t.toClient)
	num(tagMemory, t.memory)
	num(tagFileSize, t.fileSize)
	num(tagFileWrite, t.fileWrite)
	text(tagTempPath, t.tempPath)
	text(tagOwed, t.owed)
	num(tagSpooled, t.spooled)
	num(tagEnded, t.ended)
	return b
}

// sockets is how many sockets come with the client's, files how many files behind
// them.
func (t *ticket) sockets() int {
	if t.kind == ticketTunnel || t.kind == ticketStream || t.kind == ticketSpool && t.framing != framedWhole {
		return 1
	}
	return 0
}

func (t *ticket) files() int {
	if t.kind == ticketFile || t.kind == ticketSpool && t.spooled > 0 {
		return 1
	}
	return 0
}

func micros(d time.Duration) uint64 { return uint64(max(d, 0) / time.Microsecond) }

// parseTicket reads the state of a ticket. The result has its own memory.
func parseTicket(kind byte, b []byte) (*ticket, error) {
	if kind < ticketWaiting || kind > ticketSpool {
		return nil, fmt.Errorf("%w: kind %d", ErrTicket, kind)
	}
	t := &ticket{kind: kind}
	for len(b) > 0 {
		tag := b[0]
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return nil, fmt.Errorf("%w: field %d does not fit", ErrTicket, tag)
		}
		value := b[1+w : 1+w+int(n)]
		b = b[1+w+int(n):]
		if err := t.set(tag, value); err != nil {
			return nil, err
		}
	}
	if t.listen == "" {
		return nil, fmt.Errorf("%w: no listening address", ErrTicket)
	}
	return t, nil
}

// set stores one field.
func (t *ticket) set(tag byte, v []byte) error {
	switch tag {
	case tagListen:
		t.listen = string(v)
	case tagNamed:
		t.named = string(v)
	case tagInput:
		t.input = append([]byte(nil), v...)
	case tagHead:
		t.head = append([]byte(nil), v...)
	case tagURI:
		t.uri = append([]byte(nil), v...)
	case tagArgs:
		t.args = append([]byte(nil), v...)
	case tagChosenBy:
		t.chosenBy = append([]byte(nil), v...)
	case tagToClient:
		t.toClient = append([]byte(nil), v...)
	case tagTempPath:
		t.tempPath = append([]byte(nil), v...)
	case tagOwed:
		t.owed = append([]byte(nil), v...)
	case tagPeer:
		var err error
		if t.peer, err = netip.ParseAddrPort(string(v)); err != nil {
			return fmt.Errorf("%w: address in field %d", ErrTicket, tag)
		}
	case tagModule:
		return addNamed(&t.modules, v)
	case tagField:
		return addNamed(&t.fields, v)
	case tagSet:
		return addNamed(&t.sets, v)
	default:
		return t.setNumber(tag, v)
	}
	return nil
}

// addNamed adds a value that stands behind its name and a NUL.
func addNamed(to *[]Field, v []byte) error {
	for i, c := range v {
		if c == 0 {
			*to = append(*to, Field{Name: string(v[:i]), Value: append([]byte{}, v[i+1:]...)})
			return nil
		}
	}
	return fmt.Errorf("%w: name without a value", ErrTicket)
}

// maxNumber bounds what is read: no sum or duration made of it overflows.
const maxNumber = 1 << 53

func (t *ticket) setNumber(tag byte, v []byte) error {
	n, w := binary.Uvarint(v)
	known := true
	duration := time.Duration(min(n, maxNumber/1024)) * time.Microsecond
	switch tag {
	case tagNumber:
		t.number = n
	case tagServed:
		t.served = n
	case tagAge:
		t.age = duration
	case tagTimeout:
		t.timeout = duration
	case tagWaited:
		t.waited = duration
	case tagStarted:
		t.started = duration
	case tagReadBytes:
		t.readBytes = n
	case tagSendTime:
		t.sendTimeout = duration
	case tagClientTime:
		t.clientTimeout = duration
	case tagRate:
		t.rate = n
	case tagBlock:
		t.block = n
	case tagHeadBytes:
		t.headBytes = n
	case tagWireBytes:
		t.wire = n
	case tagStatus:
		t.status = n
	case tagBody:
		t.body = n
	case tagOffset:
		t.offset = n
	case tagLeft:
		t.left = n
	case tagIgnores:
		t.ignoreAbort = n == 1
	case tagKeep:
		t.keep = n == 1
	case tagChunked:
		t.chunked = n == 1
	case tagFraming:
		t.framing = n
	case tagChunkState:
		t.chunkState = n
	case tagMemory:
		t.memory = n
	case tagFileSize:
		t.fileSize = n
	case tagFileWrite:
		t.fileWrite = n
	case tagSpooled:
		t.spooled = n
	case tagEnded:
		t.ended = n
	default:
		known = false
	}
	switch {
	case !known && tag < tagCritical:
		return nil
	case !known:
		return fmt.Errorf("%w: field %d", ErrTicket, tag)
	case w <= 0 || w != len(v) || n > maxNumber:
		return fmt.Errorf("%w: number in field %d", ErrTicket, tag)
	}
	return nil
}
