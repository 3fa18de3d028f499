package fastcgi

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"

	"github.com/baton-deploy/baton/internal/httpd/gateway"
)

// Types of records, and what else their heads hold. See the FastCGI specification,
// section 3.3:
//
//	offset size
//	0      1    version, always 1
//	1      1    type
//	2      2    number of the request, always 1 here
//	4      2    length of the content
//	6      1    length of the padding behind it
//	7      1    reserved
const (
	typeBegin  = 1
	typeEnd    = 3
	typeParams = 4
	typeStdin  = 5
	typeStdout = 6
	typeStderr = 7

	version     = 1
	headBytes   = 8
	roleRespond = 1
	flagKeep    = 1
)

// aligned is what records are padded to a multiple of, as the specification asks for.
const aligned = 8

// paddingOf is how many bytes of padding follow n bytes of content.
func paddingOf(n int) int { return -n & (aligned - 1) }

// appendHead appends the head of a record with n bytes of content and its padding.
func appendHead(b []byte, kind byte, n int) []byte {
	return append(b, version, kind, 0, 1, byte(n>>8), byte(n), byte(paddingOf(n)), 0)
}

// appendPadding appends what follows n bytes of content.
func appendPadding(b []byte, n int) []byte {
	var zeros [aligned]byte
	return append(b, zeros[:paddingOf(n)]...)
}

// An exchange is what records need of a [gateway.Exchange].
type exchange interface {
	LogWhile(level slog.Level, msg string)
	KeepConn(keep bool)
}

// records is the records of one exchange. It implements [gateway.Records].
type records struct {
	x exchange
	l *location

	head    [headBytes]byte // of the present record, as far as it has come
	have    int             // bytes of head
	left    int             // of its content
	padding int             // behind that
	body    bool            // the answer's head is complete
	rest    int64           // of the content as declared; -1: it was not
	closed  bool            // STDOUT has come to its end: no content follows
	ended   bool            // the body has come to its end
}

var pool = sync.Pool{New: func() any { return new(records) }}

func newRecords(x exchange, l *location) *records {
	s := pool.Get().(*records)
	*s = records{x: x, l: l}
	return s
}

// Release implements [gateway.Records].
func (s *records) Release() {
	*s = records{}
	pool.Put(s)
}

// Begin implements [gateway.Records].
func (s *records) Begin() { *s = records{x: s.x, l: s.l} }

// BeginBody implements [gateway.Records].
func (s *records) BeginBody(length int64) { s.body, s.rest = true, length }

// Unread implements [gateway.Records].
func (s *records) Unread(n int) { s.left += n }

// Frame implements [gateway.Records].
func (s *records) Frame(b []byte, n int) []byte { return appendHead(b, typeStdin, n) }

// Behind implements [gateway.Records].
func (s *records) Behind(b []byte, n int) []byte { return appendPadding(b, n) }

// EndsHere implements [gateway.Records]. As for nginx a connection that is not kept may
// end without an END_REQUEST, but not within a record or before the declared length; when
// STDOUT has been closed nothing is missing.
func (s *records) EndsHere() bool {
	return !s.l.keepConn && (s.closed || s.have == 0 && s.rest <= 0)
}

// Next implements [gateway.Records].
func (s *records) Next(b []byte) (p []byte, used int, end bool, err error) {
	for {
		var n int
		switch {
		case s.ended:
			return nil, used, true, nil
		case s.have < headBytes:
			n = copy(s.head[s.have:], b[used:])
			s.have += n
			if err = s.check(); err != nil {
				return nil, used, false, err
			}
			if s.have < headBytes {
				return nil, used + n, false, nil
			}
			if err = s.begin(); err != nil {
				return nil, used, false, err
			}
		case s.left > 0:
			if used == len(b) {
				return nil, used, false, nil
			}
			n = min(s.left, len(b)-used)
			s.left -= n
			piece := b[used : used+n]
			switch s.head[1] {
			case typeStdout:
				if p, err = s.content(piece); err != nil || len(p) > 0 {
					// What is more than was declared is used up as well.
					return p, used + len(p), s.ended, err
				}
			case typeStderr:
				if err = s.stderr(piece); err != nil {
					return nil, used, false, err
				}
			}
		default:
			n = min(s.padding, len(b)-used)
			if s.padding -= n; s.padding > 0 {
				return nil, used + n, false, nil
			}
			s.finishRecord()
		}
		used += n
	}
}

// check refuses as soon as it has come what is no record of our request.
func (s *records) check() error {
	h := &s.head
	switch {
	case s.have > 0 && h[0] != version:
		return fault("upstream sent unsupported FastCGI protocol version: %d", h[0])
	case s.have > 1 && h[1] != typeStdout && h[1] != typeStderr && h[1] != typeEnd:
		return fault("upstream sent invalid FastCGI record type: %d", h[1])
	case s.have > 2 && h[2] != 0:
		return fault("upstream sent unexpected FastCGI request id high byte: %d", h[2])
	case s.have > 3 && h[3] != 1:
		return fault("upstream sent unexpected FastCGI request id low byte: %d", h[3])
	}
	return nil
}

func fault(format string, args ...any) error {
	return gateway.RecordError(fmt.Sprintf(format, args...))
}

// begin begins a record whose head has come.
func (s *records) begin() error {
	s.left, s.padding = int(s.head[4])<<8|int(s.head[5]), int(s.head[6])
	switch kind := s.head[1]; {
	case kind == typeEnd && !s.body:
		return fault("upstream sent unexpected FastCGI record: %d", kind)
	case kind == typeEnd && s.rest > 0:
		return fault("upstream prematurely closed FastCGI request")
	case kind == typeEnd:
		s.closed = true
	case kind == typeStdout && s.left == 0 && (!s.body || s.rest > 0):
		return fault("upstream prematurely closed FastCGI stdout")
	case kind == typeStdout && s.left == 0:
		s.closed = true
	}
	return nil
}

// content is some of STDOUT, at most as much as was declared.
func (s *records) content(p []byte) ([]byte, error) {
	if !s.body || s.rest < 0 {
		return p, nil
	}
	if int64(len(p)) > s.rest {
		s.x.LogWhile(gateway.LevelWarn, "upstream sent more data than specified in \"Content-Length\" header")
		p = p[:s.rest]
		s.ended = true
	}
	s.rest -= int64(len(p))
	return p, nil
}

// finishRecord follows a record that has come whole. The answer ends with END_REQUEST,
// also where the connection is not kept: a server that still writes it finds somebody who
// reads.
func (s *records) finishRecord() {
	s.have = 0
	if s.head[1] == typeEnd {
		s.ended = true
		s.x.KeepConn(s.l.keepConn)
	}
}

// stderr logs what the server says there, and looks in it for what fastcgi_catch_stderr
// waits for, until the answer's head has come.
func (s *records) stderr(p []byte) error {
	text := bytes.TrimRight(p, "\r\n. ")
	if len(text) == 0 {
		text = p[:1]
	}
	s.x.LogWhile(gateway.LevelError, "FastCGI sent in stderr: \""+string(text)+"\"")
	if s.body {
		return nil
	}
	for _, pattern := range s.l.catch {
		if bytes.Contains(text, pattern) {
			return gateway.RecordError("")
		}
	}
	return nil
}
