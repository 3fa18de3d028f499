package upstream

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// What messages of the domain name system consist of; see RFC 1035, section 4.
const (
	dnsHeadBytes     = 12 // id, flags, and four counts
	dnsQuestionBytes = 4  // type and class, behind the name
	dnsRecordBytes   = 10 // type, class, TTL and length, behind the name

	flagsAsk       = 0x0100 // a standard query, recursion desired
	flagsKind      = 0xf870 // of these bits
	flagsResponse  = 0x8000 // only this one, in an answer
	flagsTruncated = 0x0200
	flagsCode      = 0x000f

	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	typeDNAME = 39
	classIN   = 1

	codeFormat   = 1
	codeNotFound = 3
	codeRefused  = 5
	codeTimedOut = 110 // not of a message: none came

	maxLabel = 63
	pointer  = 0xc0 // what is no label leads to one
	maxSteps = 128  // labels and pointers of one name
)

// A dnsFault is what is wrong with a message, as the log has it. Such a message is taken
// for one that did not come.
type dnsFault string

func (e dnsFault) Error() string { return string(e) }

// codeText is nginx's number and words for why a name has no addresses.
func codeText(code int) string {
	words := [...]string{1: "Format error", "Server failure", "Host not found", "Unimplemented", "Operation refused"}
	switch {
	case code == codeTimedOut:
		return "110: Operation timed out"
	case code > 0 && code < len(words):
		return fmt.Sprintf("%d: %s", code, words[code])
	}
	return fmt.Sprintf("%d: Unknown error", code)
}

// appendQuery appends a query for name, without a dot at its end. ok is false for what is
// no name.
func appendQuery(b []byte, id, kind uint16, name string) (query []byte, ok bool) {
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, flagsAsk)
	b = append(b, 0, 1, 0, 0, 0, 0, 0, 0) // one question
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > maxLabel {
			return nil, false
		}
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint16(b, kind)
	return binary.BigEndian.AppendUint16(b, classIN), true
}

// A dnsAnswer is what a message says about a name.
type dnsAnswer struct {
	id        uint16
	kind      uint16 // of the question
	name      string // of the question, in lower case
	code      int
	truncated bool
	empty     bool // there are no records
	ips       []netip.Addr
	alias     string // where a CNAME leads
	aliased   bool   // there is such a record and no address
	ttl       uint32 // the least of all records
}

// parseAnswer reads a message. tcp says that it came in a stream, where nothing has to be
// left out.
func parseAnswer(b []byte, tcp bool) (a dnsAnswer, err error) {
	if len(b) < dnsHeadBytes {
		return a, dnsFault("short DNS response")
	}
	flags := int(binary.BigEndian.Uint16(b[2:]))
	questions, records := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	a.id, a.code, a.truncated = binary.BigEndian.Uint16(b), flags&flagsCode, flags&flagsTruncated != 0
	switch {
	case flags&flagsKind != flagsResponse || a.truncated && tcp:
		over := "UDP"
		if tcp {
			over = "TCP"
		}
		return a, dnsFault(fmt.Sprintf("invalid %s DNS response %d fl:%04X", over, a.id, flags))
	case a.code == codeFormat || a.code > codeRefused:
		return a, dnsFault(fmt.Sprintf("DNS error (%s), query id:%d", codeText(a.code), a.id))
	case questions != 1:
		return a, dnsFault("invalid number of questions in DNS response")
	}
	at, err := a.question(b)
	if err != nil || a.truncated || a.code != 0 {
		return a, err
	}
	return a, a.records(b, at, int(records))
}

// question reads the question, and returns where the records begin.
func (a *dnsAnswer) question(b []byte) (at int, err error) {
	if a.name, at, err = readName(b, dnsHeadBytes); err != nil {
		return 0, err
	}
	switch {
	case a.name == "":
		return 0, dnsFault("zero-length domain name in DNS response")
	case at+dnsQuestionBytes > len(b):
		return 0, dnsFault("short DNS response")
	}
	a.kind = binary.BigEndian.Uint16(b[at:])
	if class := binary.BigEndian.Uint16(b[at+2:]); class != classIN {
		return 0, dnsFault(fmt.Sprintf("unknown query class %d in DNS response", class))
	}
	if a.kind != typeA && a.kind != typeAAAA {
		return 0, dnsFault(fmt.Sprintf("unknown query type %d in DNS response", a.kind))
	}
	return at + dnsQuestionBytes, nil
}

// records reads n records, which begin at b[at].
func (a *dnsAnswer) records(b []byte, at, n int) error {
	a.empty = n == 0
	a.ttl = ^uint32(0)
	alias := 0
	for range n {
		next, err := skipName(b, at)
		if err != nil {
			return err
		}
		if next+dnsRecordBytes > len(b) {
			return dnsFault("short DNS response")
		}
		head := b[next:]
		kind, class := binary.BigEndian.Uint16(head), binary.BigEndian.Uint16(head[2:])
		ttl, size := binary.BigEndian.Uint32(head[4:]), int(binary.BigEndian.Uint16(head[8:]))
		if at = next + dnsRecordBytes; at+size > len(b) {
			return dnsFault("short DNS response")
		}
		if class != classIN {
			return dnsFault(fmt.Sprintf("unexpected RR class %d in DNS response", class))
		}
		if int32(ttl) < 0 {
			ttl = 0
		}
		a.ttl = min(a.ttl, ttl)
		switch kind {
		case typeA, typeAAAA:
			if err := a.address(b[at:at+size], kind); err != nil {
				return err
			}
		case typeCNAME:
			alias = at
		case typeDNAME: // comes with the CNAME that it stands for
		default: // says nothing about addresses
		}
		at += size
	}
	if alias == 0 || len(a.ips) > 0 {
		return nil
	}
	var err error
	a.aliased = true
	a.alias, _, err = readName(b, alias)
	return err
}

// address takes what is in a record of type A or AAAA.
func (a *dnsAnswer) address(data []byte, kind uint16) error {
	name := "A"
	if kind == typeAAAA {
		name = "AAAA"
	}
	if kind != a.kind {
		return dnsFault("unexpected " + name + " record in DNS response")
	}
	ip, ok := netip.AddrFromSlice(data)
	if !ok || ip.Is4() != (kind == typeA) {
		return dnsFault("invalid " + name + " record in DNS response")
	}
	a.ips = append(a.ips, ip)
	return nil
}

// skipName returns where what follows the name at b[at] begins.
func skipName(b []byte, at int) (next int, err error) {
	for first := true; at < len(b); first = false {
		switch n := int(b[at]); {
		case n > maxLabel:
			return at + 2, nil
		case n == 0 && first:
			return 0, dnsFault("invalid name in DNS response")
		case n == 0:
			return at + 1, nil
		default:
			at += 1 + n
		}
	}
	return 0, dnsFault("short DNS response")
}

// readName reads the name at b[at], in lower case and without a dot at its end, and
// returns where what follows it begins.
func readName(b []byte, at int) (name string, next int, err error) {
	var text []byte
	for range maxSteps {
		if at >= len(b) {
			return "", 0, dnsFault("name is out of DNS response")
		}
		n := int(b[at])
		at++
		switch {
		case n == 0:
			if next == 0 {
				next = at
			}
			return string(text), next, nil
		case n < pointer && n > maxLabel:
			return "", 0, dnsFault("invalid label type in DNS response")
		case n < pointer:
			if at+n > len(b) {
				return "", 0, dnsFault("name is out of DNS response")
			}
			if len(text) > 0 {
				text = append(text, '.')
			}
			text = appendLower(text, b[at:at+n])
			at += n
		default:
			if at >= len(b) {
				return "", 0, dnsFault("name is out of DNS response")
			}
			if next == 0 {
				next = at + 1
			}
			at = (n&^pointer)<<8 | int(b[at])
		}
	}
	return "", 0, dnsFault("compression pointers loop in DNS response")
}

// appendLower appends s with the letters A to Z in lower case.
func appendLower(dst, s []byte) []byte {
	for _, c := range s {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}
