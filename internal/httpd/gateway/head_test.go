package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd"
)

func TestHeadsThatAreRefused(t *testing.T) {
	for _, head := range []string{
		"", "junk", "HTTP/1.1", "HTTP/1.1 20 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 099 OK", "http/1.1 200 OK",
		"HTTP/11.1 200 OK", "HTTP/0.9 200 OK", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK", "HTTP/1.1 200 O\x00K",
		"HTTP/1.1 200 OK\r\n: x", "HTTP/1.1 200 OK\r\nA B: x", "HTTP/1.1 200 OK\r\n X: folded", "HTTP/1.1 200 OK\r\nX: a\x00b",
		"HTTP/1.1 200 OK\r\nX: a\rb", "HTTP/1.1 200 OK\r\nX : a",
		"HTTP/1.1 200 OK\r\nContent-Length: -1", "HTTP/1.1 200 OK\r\nContent-Length: +1", "HTTP/1.1 200 OK\r\nContent-Length: ",
		"HTTP/1.1 200 OK\r\nContent-Length: 1x", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 1", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1",
	} {
		a := answer{raw: []byte(head + "\r\n\r\n")}
		if err := a.parse(HeadHTTP); err == nil {
			t.Errorf("%q was accepted", head)
		}
	}
}

func TestHeadsThatAreRead(t *testing.T) {
	for _, test := range []struct {
		head string
		want string
	}{
		{"HTTP/1.1 200 OK", "200 OK len=-1 chunks=false close=false"},
		{"HTTP/1.0 200 OK\nConnection: keep-alive", "200 OK len=-1 chunks=false close=true"},
		{"HTTP/1.1 299", "299  len=-1 chunks=false close=false"},
		{"HTTP/1.1 404 Not  Found \r\nContent-Length: 007", "404 Not  Found  len=7 chunks=false close=false"},
		{"HTTP/1.1 200 OK\r\nCONNECTION: foo, Close\r\ntransfer-encoding: Chunked", "200 OK len=-1 chunks=true close=true"},
	} {
		a := answer{raw: []byte(test.head + "\r\n\r\n")}
		err := a.parse(HeadHTTP)
		got := fmt.Sprintf("%d %s len=%d chunks=%v close=%v", a.status, a.reason, a.length, a.chunks, a.close)
		if err != nil || got != test.want {
			t.Errorf("%q: %s, %v; want %s", test.head, got, err, test.want)
		}
	}
}

// Whatever a server sends as a head is refused, or is read so that what goes to
// the client cannot be taken for more than one head.
func FuzzHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.0 302 Found\nLocation: x\n\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		end, ok := headEnd(b, 0)
		for cut := range b[:min(len(b), 64)] {
			// In pieces the end is found at the same place.
			from, early := headEnd(b[:cut], 0)
			if early && (!ok || from != end) {
				t.Fatalf("of %q the first %d bytes have their end at %d, the whole at %d", b, cut, from, end)
			}
			if !early {
				if again, found := headEnd(b, from); found != ok || found && again != end {
					t.Fatalf("%q: end %d %v from the start, %d %v from %d", b, end, ok, again, found, from)
				}
			}
		}
		if !ok {
			return
		}
		a := answer{raw: append([]byte(nil), b[:end]...)}
		if a.parse(HeadHTTP) != nil {
			return
		}
		if a.status < 100 || a.status > 999 || a.chunks && a.length >= 0 {
			t.Fatalf("%q: status %d, chunks %v, length %d", b, a.status, a.chunks, a.length)
		}
		a.EachField(func(name, value []byte) {
			if len(name) == 0 || bytes.ContainsAny(name, "\r\n\x00 :") || bytes.ContainsAny(value, "\r\n\x00") || value == nil {
				t.Fatalf("%q: field %q: %q", b, name, value)
			}
		})
		if bytes.ContainsAny(a.reason, "\r\n\x00") {
			t.Fatalf("%q: reason %q", b, a.reason)
		}
	})
}

// However a chunked body is cut into reads, the same content and the same end
// come out, and nothing behind the end is used.
func FuzzChunkedAnswer(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\n\r\nrest"), uint8(2))
	f.Add([]byte("A;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n"), uint8(5))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		whole, wholeUsed, wholeOK := dechunk(b, len(b))
		parts, partsUsed, partsOK := dechunk(b, int(step)+1)
		if wholeOK != partsOK || wholeOK && (whole != parts || wholeUsed != partsUsed) {
			t.Fatalf("%q: %q %d %v at once, %q %d %v by %d", b, whole, wholeUsed, wholeOK, parts, partsUsed, partsOK, step)
		}
	})
}

// dechunk feeds b to a decoder in reads of step bytes.
func dechunk(b []byte, step int) (content string, used int, ok bool) {
	var c httpd.Chunks
	var out strings.Builder
	for have := min(step, len(b)); ; have = min(have+step, len(b)) {
		for {
			p, n, ok := c.Next(b[used:have])
			if !ok {
				return out.String(), used, false
			}
			out.Write(p)
			used += n
			if c.Done() {
				return out.String(), used, true
			}
			if n == 0 || used == have {
				break
			}
		}
		if have == len(b) {
			return out.String(), used, false
		}
	}
}

// What has no status line is refused or read just as safely.
func FuzzCGIHead(f *testing.F) {
	f.Add([]byte("Status: 404 Not Found\r\nA: b\r\n\r\n"))
	f.Add([]byte("Location: /x\n\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nStatus: 500\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add([]byte("\r\nbody"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range []HeadKind{HeadCGI, HeadEither} {
			x := Exchange{loc: &Location{kind: &Kind{Head: kind}}}
			end, ok := x.headEnd(b, 0)
			if !ok {
				continue
			}
			a := answer{raw: append([]byte(nil), b[:end]...)}
			if a.parse(kind) != nil {
				continue
			}
			if a.status < 100 || a.status > 999 || a.chunks || !a.close {
				t.Fatalf("%q: status %d, chunks %v, close %v", b, a.status, a.chunks, a.close)
			}
			if bytes.ContainsAny(a.reason, "\r\n\x00") {
				t.Fatalf("%q: reason %q", b, a.reason)
			}
			a.EachField(func(name, value []byte) {
				if len(name) == 0 || bytes.ContainsAny(name, "\r\n\x00 :") || bytes.ContainsAny(value, "\r\n\x00") {
					t.Fatalf("%q: field %q: %q", b, name, value)
				}
			})
		}
	})
}
