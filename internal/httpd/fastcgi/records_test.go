package fastcgi

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/gateway"
)

// heard is an exchange that keeps what it is told.
type heard struct {
	log  string
	keep bool
}

func (h *heard) LogWhile(_ slog.Level, msg string) { h.log += msg + "\n" }
func (h *heard) KeepConn(keep bool)                { h.keep = keep }

// An outcome is what comes of the bytes of a connection.
type outcome struct {
	content string
	used    int
	ended   bool
	keep    bool
	at      bool // the body may end with the connection
	fault   string
}

// read gives b to records in reads of step bytes. The first of the content is the head,
// headBytes long: its rest is given back as the engine does.
func read(t *testing.T, b []byte, step, head int, keepConn bool, length int64) outcome {
	var h heard
	s := newRecords(&h, &location{keepConn: keepConn, catch: [][]byte{[]byte("fatal")}})
	defer s.Release()
	var o outcome
	var content strings.Builder
	inBody := false
	for have := min(step, len(b)); ; have = min(have+step, len(b)) {
		for {
			p, n, end, err := s.Next(b[o.used:have])
			if n < len(p) || n > have-o.used || len(p) > 0 && &p[len(p)-1] != &b[o.used+n-1] {
				t.Fatalf("%q: %d bytes used of %d, content %q", b, n, have-o.used, p)
			}
			if err != nil {
				var fault gateway.RecordError
				if !errors.As(err, &fault) {
					t.Fatalf("%q: %v", b, err)
				}
				o.fault = "fault: " + string(fault)
			}
			o.used += n
			if !inBody && content.Len()+len(p) >= head {
				rest := content.Len() + len(p) - head
				s.Unread(rest)
				o.used -= rest
				p = p[:len(p)-rest]
				s.BeginBody(length)
				inBody = true
				n++ // it goes on
			}
			content.Write(p)
			o.content, o.ended, o.keep, o.at = content.String(), end, h.keep, s.EndsHere()
			if err != nil || end && !o.keep {
				o.used, o.at = 0, false // nobody reads on
			}
			if err != nil || end {
				return o
			}
			if n == 0 || o.used == have {
				break
			}
		}
		if have == len(b) {
			return o
		}
	}
}

// However records are cut into reads the same content and the same end come out.
func FuzzRecords(f *testing.F) {
	good := string(appendHead(nil, typeStdout, 5)) + "hello\x00\x00\x00"
	bad := string(appendHead(nil, typeStderr, 5)) + "fatal\x00\x00\x00"
	last := string(appendHead(nil, typeStdout, 0)) + string(appendHead(nil, typeEnd, 8)) + "\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, keep := range []bool{true, false} {
		f.Add([]byte(good+last), uint8(3), uint8(2), keep, int16(-1))
		f.Add([]byte(good+good+last+"x"), uint8(1), uint8(5), keep, int16(5))
		f.Add([]byte(good+good+last), uint8(1), uint8(4), keep, int16(2))
		f.Add([]byte(good+bad+good+last), uint8(7), uint8(4), keep, int16(8))
		f.Add([]byte(bad+good), uint8(0), uint8(0), keep, int16(2))
		f.Add([]byte(last+good), uint8(2), uint8(1), keep, int16(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, step, head uint8, keep bool, length int16) {
		whole := read(t, b, len(b)+1, int(head)+1, keep, max(int64(length), -1))
		parts := read(t, b, int(step)+1, int(head)+1, keep, max(int64(length), -1))
		// Where the connection is not kept, what comes behind the end is read only when it
		// came with it; and a pattern may be cut in two.
		if !keep && (whole.ended || parts.ended) || strings.Contains(string(b), "fatal") {
			whole.fault, parts.fault, whole.used, parts.used, whole.ended, parts.ended = "", "", 0, 0, false, false
			whole.at, parts.at = false, false
			if n := min(len(whole.content), len(parts.content)); whole.content[:n] != parts.content[:n] {
				t.Fatalf("%q: %q at once, %q by %d", b, whole.content, parts.content, step)
			}
			return
		}
		if whole != parts {
			t.Fatalf("%q: %+v at once, %+v by %d", b, whole, parts, step)
		}
		if length >= 0 && len(whole.content) > int(head)+1+int(length) {
			t.Fatalf("%q: %d bytes of content behind a head of %d, %d were declared", b, len(whole.content), head, length)
		}
	})
}
