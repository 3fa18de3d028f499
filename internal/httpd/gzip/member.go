package gzip

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/gzip"
)

// A member is one member of the content as its decompressor reads it: without what the
// header tells of the file. Names and comments have no bounds, but in the decompressor.
type member struct {
	in   *bufio.Reader
	head [10]byte
	left []byte // of the head, not read yet
	sum  uint32 // of the header so far
}

// Flags of a header (RFC 1952, section 2.3.1).
const (
	headSummed   = 1 << 1
	headExtra    = 1 << 2
	headNamed    = 1 << 3
	headComment  = 1 << 4
	headReserved = 0xe0
)

// begin reads the header of the next member. One that is none is left to the
// decompressor, which refuses it.
func (m *member) begin() error {
	m.left = nil
	if _, err := io.ReadFull(m.in, m.head[:]); err != nil {
		return err
	}
	m.left = m.head[:]
	flags := m.head[3]
	if string(m.head[:3]) != "\x1f\x8b\x08" || flags&headReserved != 0 {
		return nil
	}
	m.sum = crc32.ChecksumIEEE(m.head[:])
	m.head[3] = 0
	if flags&headExtra != 0 {
		n, err := m.number()
		if err != nil {
			return err
		}
		if err := m.skip(int(n)); err != nil {
			return err
		}
	}
	for _, text := range []byte{headNamed, headComment} {
		if flags&text == 0 {
			continue
		}
		if err := m.skipText(); err != nil {
			return err
		}
	}
	if flags&headSummed != 0 {
		want := uint16(m.sum)
		n, err := m.number()
		if err == nil && n != want {
			err = gzip.ErrHeader
		}
		return err
	}
	return nil
}

func (m *member) number() (uint16, error) {
	var b [2]byte
	_, err := io.ReadFull(m.in, b[:])
	m.sum = crc32.Update(m.sum, crc32.IEEETable, b[:])
	return binary.LittleEndian.Uint16(b[:]), err
}

// skip passes over n bytes.
func (m *member) skip(n int) error {
	for n > 0 {
		if _, err := m.in.Peek(1); err != nil {
			return err
		}
		have, _ := m.in.Peek(min(n, m.in.Buffered()))
		m.sum = crc32.Update(m.sum, crc32.IEEETable, have)
		n -= len(have)
		_, _ = m.in.Discard(len(have)) // it is there
	}
	return nil
}

// skipText passes over a text and the NUL that ends it.
func (m *member) skipText() error {
	for {
		text, err := m.in.ReadSlice(0)
		m.sum = crc32.Update(m.sum, crc32.IEEETable, text)
		if err != bufio.ErrBufferFull {
			return err
		}
	}
}

// Read and ReadByte are for the decompressor, which reads no byte behind the member.
func (m *member) Read(p []byte) (int, error) {
	if len(m.left) == 0 {
		return m.in.Read(p)
	}
	n := copy(p, m.left)
	m.left = m.left[n:]
	return n, nil
}

// ReadByte reads a single one.
func (m *member) ReadByte() (byte, error) {
	if len(m.left) == 0 {
		return m.in.ReadByte()
	}
	b := m.left[0]
	m.left = m.left[1:]
	return b, nil
}
