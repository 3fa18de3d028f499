package gateway_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A witness is a server of any protocol that tells what it is sent, as it comes.
type witness struct {
	addr  string
	conns atomic.Int64
	came  chan string // all that has come so far, at each piece
}

func newWitness(t *testing.T) *witness {
	w := &witness{came: make(chan string, 100)}
	w.addr = sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		w.conns.Add(1)
		var all strings.Builder
		b := make([]byte, 4096)
		for {
			n, err := br.Read(b)
			all.Write(b[:n])
			if err != nil {
				return
			}
			w.came <- all.String()
		}
	})
	return w
}

// until waits until what has come satisfies is, and returns it.
func (w *witness) until(t *testing.T, what string, is func(string) bool) string {
	t.Helper()
	late := time.After(patience)
	last := ""
	for {
		select {
		case last = <-w.came:
			if is(last) {
				return last
			}
		case <-late:
			t.Fatalf("%s: the server got %q", what, last)
		}
	}
}

const patience = 15 * time.Second

// unbuffered are the four ways to pass a request on as it comes, and how each tells that
// a body has five bytes, and ten.
var unbuffered = []struct{ pass, five, ten string }{
	{"proxy_request_buffering off; proxy_pass http://", "\r\nContent-Length: 5\r\n", ""},
	{"fastcgi_request_buffering off; fastcgi_param CONTENT_LENGTH $content_length; fastcgi_pass ", "CONTENT_LENGTH5", "CONTENT_LENGTH10"},
	{"scgi_request_buffering off; scgi_pass ", "CONTENT_LENGTH\x005\x00", "CONTENT_LENGTH\x0010\x00"},
	{"uwsgi_request_buffering off; uwsgi_param CONTENT_LENGTH $content_length; uwsgi_pass ", "CONTENT_LENGTH\x01\x005", "CONTENT_LENGTH\x02\x0010"},
}

// TestChunkedBodyWithoutBuffering: what has come whole with its head has a length; what has
// not is read first where the protocol must tell one, and else goes on in chunks at once.
func TestChunkedBodyWithoutBuffering(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, test := range unbuffered {
		w := newWitness(t)
		p := sidebyside.StartAlone(t, "server { listen ADDR; location / { "+test.pass+w.addr+"; } }", nil)
		dial := func(text string) net.Conn {
			c, err := net.Dial("tcp", p.Baton)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(c, text)
			return c
		}
		dial(head + "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n")
		got := w.until(t, test.pass, func(s string) bool { return strings.Contains(s, "hello") })
		if !strings.Contains(got, test.five) || strings.Contains(got, "Transfer-Encoding: ") {
			t.Errorf("%s: whole with its head: the server got %q, want %q in it", test.pass, got, test.five)
		}
		c := dial(head + "5\r\nhello\r\n")
		if test.ten == "" {
			got = w.until(t, test.pass, func(s string) bool { return strings.Contains(s, "5\r\nhello\r\n") })
			if !strings.Contains(got, "Transfer-Encoding: chunked\r\n") || strings.Contains(got, "Content-Length") {
				t.Errorf("%s: in pieces: the server got %q", test.pass, got)
			}
			continue
		}
		_, _ = io.WriteString(c, "5\r\nworld\r\n0\r\n\r\n")
		got = w.until(t, test.pass, func(s string) bool { return strings.Contains(s, "helloworld") })
		if !strings.Contains(got, test.ten) {
			t.Errorf("%s: in pieces: the server got %q, want %q in it", test.pass, got, test.ten)
		}
	}
}

// TestBadBodyThatCameWithItsHead: no server sees anything of a body that is known to be
// broken or too large, in whatever way it would have been passed on.
func TestBadBodyThatCameWithItsHead(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, test := range unbuffered {
		prefix, _, _ := strings.Cut(test.pass, "_")
		for _, pass := range []string{
			test.pass, strings.Replace(test.pass, " off", " on", 1),
			prefix + "_pass_request_body off; " + test.pass,
		} {
			w := newWitness(t)
			p := sidebyside.StartAlone(t, "server { listen ADDR; client_max_body_size 10; location / { "+pass+w.addr+"; } }", nil)
			for body, want := range map[string]string{
				"5\r\nhello\r\nzz\r\n":           "400",
				"5\r\nhellooo\r\n":               "400",
				"b\r\nhello":                     "413",
				"5\r\nhello\r\n6\r\n":            "413",
				"fffffffff\r\n":                  "413",
				"5\r\nhello\r\n5;x=y\r\n world0": "400",
			} {
				if a := p.DoBaton(head + body); a.Code() != want {
					t.Errorf("%s: %q is answered with %q, want %s", pass, body, a.Status, want)
				}
			}
			if n := w.conns.Load(); n != 0 {
				t.Errorf("%s: the server was asked %d times", pass, n)
			}
		}
	}
}

// TestTooLargeChunkIsRefusedAtOnce: a chunk that says that it is too large is not waited
// for, also when the server has got a part of the body.
func TestTooLargeChunkIsRefusedAtOnce(t *testing.T) {
	w := newWitness(t)
	p := sidebyside.StartAlone(t, `server { listen ADDR; client_max_body_size 10; location / { proxy_request_buffering off; proxy_pass http://`+w.addr+`; } }`, nil)
	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	w.until(t, "the first chunk", func(s string) bool { return strings.Contains(s, "hello") })
	_, _ = io.WriteString(c, "6\r\n")
	if a := sidebyside.ReadAnswer(bufio.NewReader(c), "POST"); a.Code() != "413" {
		t.Errorf("%s", a)
	}
}
