package h2

import (
	"bytes"
	"unsafe"

	"golang.org/x/net/http2/hpack"
)

// Heads are encoded without a table that would have to be kept for each connection:
// names that the static table of RFC 7541 has go as its number, values as text,
// Huffman-coded where that is shorter. As nginx does it, all the same as literals that
// the peer is to remember, in a table of size 0: their form is the shortest.

// noTable is the instruction that empties the peer's table; it must begin the first
// block, and the first one behind each change that the peer makes to its size.
const noTable = 0x20

// staticNames are the numbers of the static table's names that responses have.
var staticNames = map[string]byte{
	"accept-ranges": 18, "access-control-allow-origin": 20, "age": 21, "allow": 22, "cache-control": 24,
	"content-disposition": 25, "content-encoding": 26, "content-language": 27, "content-length": 28,
	"content-location": 29, "content-range": 30, "content-type": 31, "date": 33, "etag": 34, "expires": 36,
	"last-modified": 44, "link": 45, "location": 46, "proxy-authenticate": 48, "refresh": 52,
	"retry-after": 53, "server": 54, "set-cookie": 55, "strict-transport-security": 56,
	"vary": 59, "via": 60, "www-authenticate": 61,
}

// staticStatus are statuses that have a number of their own.
var staticStatus = map[int]byte{200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}

// appendStatus appends the field ":status".
func appendStatus(b []byte, status int) []byte {
	if n := staticStatus[status]; n != 0 {
		return append(b, 0x80|n)
	}
	b = append(b, literal|8, 3) // the name has number 8; three bytes
	return append(b, byte('0'+status/100%10), byte('0'+status/10%10), byte('0'+status%10))
}

// appendFields appends the fields in lines, each of which ends in CR LF. Their names
// become lower-case in place. A name that is none, and one that HTTP/2 has no use for,
// is left out.
func appendFields(b, lines []byte) []byte {
	for len(lines) > 0 {
		line := lines
		if i := bytes.IndexByte(lines, '\n'); i >= 0 {
			line, lines = lines[:i], lines[i+1:]
		} else {
			lines = nil
		}
		line = bytes.TrimSuffix(line, []byte{'\r'})
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			continue
		}
		name, value := line[:colon], bytes.TrimLeft(line[colon+1:], " ")
		lower(name)
		if !connectionField(text(name)) {
			b = appendField(b, name, value)
		}
	}
	return b
}

// connectionField reports whether a field is about an HTTP/1 connection, which RFC
// 9113 forbids here.
func connectionField(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// literal begins a field whose value is text; the number of a name follows in it.
const literal = 0x40

func appendField(b, name, value []byte) []byte {
	n := staticNames[text(name)]
	b = append(b, literal|n)
	if n == 0 {
		b = appendString(b, name)
	}
	return appendString(b, value)
}

func appendString(b, s []byte) []byte {
	if n := hpack.HuffmanEncodeLength(text(s)); n < uint64(len(s)) {
		b = appendInt(b, 0x80, int(n))
		return hpack.AppendHuffmanString(b, text(s))
	}
	return append(appendInt(b, 0, len(s)), s...)
}

// appendInt appends n as RFC 7541 section 5.1 has it, behind one bit.
func appendInt(b []byte, bit byte, n int) []byte {
	const prefix = 127
	if n < prefix {
		return append(b, bit|byte(n))
	}
	b = append(b, bit|prefix)
	for n -= prefix; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func lower(b []byte) {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
}

// text is b as a string, for as long as b does not change.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
