package conf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Wire form of a Snapshot, version 2. A reader refuses other versions: master and
// worker are one image, so this form never has to be read by another release.
//
//	version   1 byte, always 2
//	root      1 byte, 0 or 1
//	options   Prefix, File, Globals, Pid, ErrorLog, AccessLog: strings
//	hostname  string
//	files     count; each: included, 1 byte, 0 or 1; name, string; content, string
//	globs     count; each: pattern, string; count; names, strings
//	names     count; each: host, string; count, not 0; addresses, strings
//
// An address is 4 bytes of IPv4 or 16 of IPv6, and its zone behind these if it has one.
// A count is an unsigned varint; a string is a count and that many bytes. Nothing
// follows.
const snapshotVersion = 2

// Encode returns the wire form.
func (s *Snapshot) Encode() ([]byte, error) {
	b := make([]byte, 0, s.size+1024)
	b = append(b, snapshotVersion, boolByte(s.root))
	for _, field := range s.options.fields() {
		b = appendString(b, *field)
	}
	b = appendString(b, s.hostname)
	b = binary.AppendUvarint(b, uint64(len(s.files)))
	for _, f := range s.files {
		b = append(b, boolByte(f.included))
		b = appendString(b, f.name)
		b = appendString(b, f.data)
	}
	b = binary.AppendUvarint(b, uint64(len(s.globs)))
	for _, g := range s.globs {
		b = appendString(b, g.pattern)
		b = binary.AppendUvarint(b, uint64(len(g.names)))
		for _, name := range g.names {
			b = appendString(b, name)
		}
	}
	return s.appendNames(b)
}

func (s *Snapshot) appendNames(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(s.names)))
	for _, n := range s.names {
		b = appendString(b, n.host)
		b = binary.AppendUvarint(b, uint64(len(n.ips)))
		for _, ip := range n.ips {
			address, err := ip.MarshalBinary()
			if err != nil {
				return nil, fmt.Errorf("encode snapshot: address of %q: %w", n.host, err)
			}
			b = appendString(b, address)
		}
	}
	return b, nil
}

// fields are the options in the order of the wire form.
func (o *Options) fields() []*string {
	return []*string{&o.Prefix, &o.File, &o.Globals, &o.Pid, &o.ErrorLog, &o.AccessLog}
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendString[S string | []byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// DecodeSnapshot reads the wire form. The result keeps parts of b: the caller must
// not change it any more.
func DecodeSnapshot(b []byte) (*Snapshot, error) {
	d := decoder{rest: b}
	if v := d.byte(); d.err == nil && v != snapshotVersion {
		return nil, fmt.Errorf("decode snapshot: version %d, want %d", v, snapshotVersion)
	}
	root := d.bool()
	var o Options
	for _, field := range o.fields() {
		*field = d.string()
	}
	s := newSnapshot(o, root)
	s.hostname = d.string()
	for range d.count() {
		f := file{included: d.bool(), name: d.string(), data: d.bytes()}
		if d.err != nil {
			break
		}
		if _, twice := s.index[f.name]; twice {
			d.err = fmt.Errorf("file %q twice", f.name)
			break
		}
		d.err = s.add(f)
	}
	for range d.count() {
		g := glob{pattern: d.string()}
		for range d.count() {
			g.names = append(g.names, d.string())
		}
		s.globs = append(s.globs, g)
	}
	d.names(s)
	if d.err == nil && len(d.rest) > 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode snapshot: %w", d.err)
	}
	return s, nil
}

// names reads the addresses of hosts into s.
func (d *decoder) names(s *Snapshot) {
	for range d.count() {
		n := name{host: d.string()}
		for range d.count() {
			n.ips = append(n.ips, d.address())
			if d.err != nil {
				return
			}
		}
		_, twice := s.hosts[n.host]
		switch {
		case d.err != nil:
			return
		case twice:
			d.err = fmt.Errorf("host %q twice", n.host)
		case len(n.ips) == 0:
			d.err = fmt.Errorf("host %q without an address", n.host)
		default:
			d.err = s.addName(n)
		}
	}
}

func (d *decoder) address() (ip netip.Addr) {
	b := d.bytes()
	if d.err == nil {
		d.err = ip.UnmarshalBinary(b)
	}
	if d.err == nil && !ip.IsValid() {
		d.err = errors.New("an address is empty")
	}
	return ip
}

var errShort = errors.New("cut short")

// A decoder takes values off the front of rest. After the first error it returns
// zero values.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) take(n uint64) []byte {
	if d.err == nil && n > uint64(len(d.rest)) {
		d.err = errShort
	}
	if d.err != nil {
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	b := d.byte()
	if b > 1 {
		d.err = fmt.Errorf("%d is no truth value", b)
	}
	return b == 1
}

// count reads how many things follow. Each takes a byte or more, so a count that the
// rest cannot hold is refused before anything is made for it.
func (d *decoder) count() uint64 {
	if d.err != nil {
		return 0
	}
	n, width := binary.Uvarint(d.rest)
	if width <= 0 || n > uint64(len(d.rest)-width) {
		d.err = errShort
		return 0
	}
	if width > 1 && n < 1<<(7*(width-1)) {
		d.err = errors.New("a count is written longer than it must be")
		return 0
	}
	d.rest = d.rest[width:]
	return n
}

func (d *decoder) bytes() []byte { return d.take(d.count()) }

func (d *decoder) string() string { return string(d.bytes()) }
