package fastcgi_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// Types of records.
const (
	end    = 3
	stdin  = 5
	stdout = 6
	stderr = 7
)

// record is one, with padding.
func record(kind byte, content string, padding int) string {
	n := len(content)
	return string([]byte{1, kind, 0, 1, byte(n >> 8), byte(n), byte(padding), 0}) + content + strings.Repeat("\x00", padding)
}

// out is content as STDOUT, in records of at most 32 KB.
func out(content string) string {
	text := ""
	for content != "" {
		n := min(len(content), 32<<10)
		text += record(stdout, content[:n], -n&7)
		content = content[n:]
	}
	return text
}

// finish is how an answer ends.
func finish() string {
	return record(stdout, "", 0) + record(end, "\x00\x00\x00\x00\x00\x00\x00\x00", 0)
}

// readRequest reads records up to the end of STDIN, and returns the body.
func readRequest(br *bufio.Reader) (body string, err error) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return body, err
		}
		content := make([]byte, int(head[4])<<8|int(head[5]))
		if _, err := io.ReadFull(br, content); err != nil {
			return body, err
		}
		if _, err := br.Discard(int(head[6])); err != nil {
			return body, err
		}
		if head[1] == stdin {
			if len(content) == 0 {
				return body, nil
			}
			body += string(content)
		}
	}
}

// says is a server that answers every request with the same bytes and closes.
func says(t testing.TB, answer string) string {
	return sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err == nil {
			_, _ = io.WriteString(c, answer)
		}
	})
}

const plain = "Content-Type: text/plain\r\n\r\n"

// answers are what servers say that are well or ill, by the name of a location.
func answers() map[string]string {
	split := ""
	for _, c := range "Status: 201 Made\r\nX-One:  1 \r\n" + plain + "hello" {
		split += record(stdout, string(c), int(c)%9)
	}
	return map[string]string{
		"good":          out(plain+"hello") + finish(),
		"split":         split + finish(),
		"padded":        record(stdout, plain+"hello", 255) + record(stdout, " world", 255) + finish(),
		"no-end":        out(plain + "hello"),
		"no-end-empty":  out(plain+"hello") + record(stdout, "", 0),
		"bare-lf":       out("Content-Type: a/b\nX-One: 1\n\nhello") + finish(),
		"no-head":       out("\r\nhello") + finish(),
		"location":      out("Location: /there\r\n\r\n") + finish(),
		"location-code": out("Status: 301 Moved\r\nLocation: http://x/there\r\n\r\n") + finish(),
		"length":        out("Content-Length: 5\r\n\r\nhello") + finish(),
		"empty":         out(plain) + finish(),
		"stderr":        record(stderr, "something is wrong. \r\n\n", 1) + out(plain+"hello") + finish(),
		"stderr-after":  out(plain+"hello") + record(stderr, "too late", 0) + finish(),
		"stderr-last":   out(plain+"hello") + record(stdout, "", 0) + record(stderr, "at the end", 0) + record(end, "\x00\x00\x00\x00\x00\x00\x00\x00", 0),
		"stderr-only":   record(stderr, "nothing else", 0) + finish(),
		"stderr-empty":  record(stderr, "", 0) + record(stderr, "...", 0) + out(plain+"hello") + finish(),
		"caught":        record(stderr, "PHP Fatal error: no", 0) + out(plain+"hello") + finish(),
		"large":         out(plain+strings.Repeat("0123456789abcdef", 20000)) + finish(),
		"second-line":   out("Status: 404 Gone\r\nHTTP/1.1 200 OK\r\n"+plain+"hello") + finish(),
		"line-first":    out("HTTP/1.0 403 No\r\n"+plain+"hello") + finish(),
		"accel-empty":   out("X-Accel-Redirect:\r\n\r\nhello") + finish(),
		"accel-fields":  out("X-Accel-Redirect: /file.txt\r\nSet-Cookie: a=b\r\nExpires: 0\r\nX-One: 1\r\nCache-Control: private\r\n\r\n") + finish(),
		"accel-named":   out("X-Accel-Redirect: @named?a=b\r\n\r\n") + finish(),
		"accel-up":      out("X-Accel-Redirect: /x/../../file.txt\r\n\r\n") + finish(),
		"accel-escaped": out("X-Accel-Redirect: /a%20%66ile.txt?c=d\r\n\r\n") + finish(),
		"accel-none":    out("X-Accel-Redirect: /none\r\nStatus: 403 No\r\n\r\n") + finish(),
		"challenge":     out("Status: 401 Who\r\nWWW-Authenticate: Basic realm=x\r\n"+plain+"hello") + finish(),
		"controls":      out("Cache-Control: a\r\nCache-Control: b\r\n"+plain+"hello") + finish(),
		"304":           out("Status: 304 Not Modified\r\nETag: \"x\"\r\n\r\n") + finish(),
		"204":           out("Status: 204 No Content\r\n\r\n") + finish(),

		"silent":         "",
		"junk":           "HTTP/1.1 200 OK\r\n\r\nhello",
		"version":        "\x02" + record(stdout, plain, 0)[1:],
		"type":           record(9, plain, 0),
		"id-high":        "\x01\x06\x01\x01\x00\x01\x00\x00x",
		"id-low":         "\x01\x06\x00\x02\x00\x01\x00\x00x",
		"end-first":      record(end, "\x00\x00\x00\x00\x00\x00\x00\x00", 0),
		"closed-first":   record(stdout, "", 0),
		"half-record":    record(stdout, plain, 0)[:20],
		"half-head":      out("Content-Type: text/plain\r\nX-") + finish(),
		"bad-field":      out("Content Type: x\r\n\r\n") + finish(),
		"bad-status":     out("Status: abc\r\n\r\nhello") + finish(),
		"short-status":   out("Status: 20\r\n\r\nhello") + finish(),
		"chunked":        out("Transfer-Encoding: chunked\r\n\r\nhello") + finish(),
		"too-much":       out("Content-Length: 3\r\n\r\nhello") + finish(),
		"too-little":     out("Content-Length: 9\r\n\r\nhello") + finish(),
		"too-little-end": out("Content-Length: 9\r\n\r\nhello") + record(end, "\x00\x00\x00\x00\x00\x00\x00\x00", 0),
		"big-head":       out("X-Big: "+strings.Repeat("x", 9000)+"\r\n\r\nhello") + finish(),
	}
}

func TestServersAreTakenAsByNginx(t *testing.T) {
	t.Parallel()
	list := answers()
	var names []string
	locations := ""
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		addr := says(t, list[name])
		locations += "location /" + name + " { fastcgi_pass " + addr + "; }\n" +
			"location /kept/" + name + " { fastcgi_pass " + addr + "; fastcgi_keep_conn on; expires epoch; }\n" +
			"location /own/" + name + " { fastcgi_pass " + addr + "; fastcgi_intercept_errors on; error_page 401 404 /file.txt; }\n"
	}
	p := sidebyside.Start(t, `
fastcgi_catch_stderr "Fatal error";
fastcgi_read_timeout 2s;
log_format up '$request $status|$upstream_status|$upstream_http_x_one|$sent_http_content_type';
access_log logs/up.log up;
server { listen ADDR; root ROOT; location @named { return 200 "named $args"; } `+locations+` }`,
		sidebyside.Files{"file.txt": "a file", "a file.txt": "a file with a blank"})
	for _, name := range names {
		for _, at := range []string{"/", "/kept/", "/own/"} {
			p.Same(sidebyside.Get(at + name))
			p.Same(sidebyside.Ask("HEAD", at+name))
		}
	}
	if _, baton := p.DoAll(sidebyside.Get("/too-much")); len(baton) != 1 || baton[0].Body != "hel" {
		t.Errorf("a client gets %v", baton)
	}
	p.SameLogs("logs/up.log", nil)
	p.SameLogs("logs/error.log", regexp.MustCompile(`\] upstream |unsafe`))
}

// An answer that its server does not bring to its end is not taken for the whole.
func TestPartsAreNotTakenForTheWhole(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"record": out(plain+"hel") + record(stdout, "lo world", 0)[:10],
		"length": out("Content-Length: 9\r\n\r\nhello"),
		"type":   out(plain+"hello") + record(11, "x", 0),
		"kept":   out(plain + "hello"),
	} {
		conf := ""
		if name == "kept" {
			conf = "fastcgi_keep_conn on;"
		}
		p := sidebyside.Start(t, `server { listen ADDR; location / { `+conf+` fastcgi_pass `+says(t, answer)+`; } }`, nil)
		if _, a := p.Do(sidebyside.Get("/")); a.Err == "" || a.Code() != "200" {
			t.Errorf("%s: answer = %s", name, a)
		}
	}
}

// A body that has come whole with its head is not streamed: it can be sent to the next
// server as well.
func TestBodyThatIsHereCanBeSentAgain(t *testing.T) {
	t.Parallel()
	closes := sidebyside.Script(t, func(_ net.Conn, br *bufio.Reader) { _, _ = readRequest(br) })
	fails := says(t, out("Status: 500 Oops\r\n"+plain+"no")+finish())
	good := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if body, err := readRequest(br); err == nil {
			_, _ = io.WriteString(c, out(plain+body)+finish())
		}
	})
	p := sidebyside.Start(t, `
upstream closes { server `+closes+`; server `+good+` backup; }
upstream fails { server `+fails+`; server `+good+` backup; }
fastcgi_request_buffering off; fastcgi_next_upstream error http_500 non_idempotent;
server { listen ADDR; location / { fastcgi_pass $arg_to; } }`, nil)
	for _, target := range []string{"/?to=closes", "/?to=fails"} {
		for _, method := range []string{"POST", "PUT"} {
			if a := p.Same(sidebyside.Ask(method, target, "Content-Length: 5") + "hello"); a.Body != "hello" {
				t.Errorf("%s %s: %s", method, target, a)
			}
		}
	}
}

// The fields of an answer that was passed over for another server are not those of the
// last try.
func TestFieldsAreThoseOfTheLastTry(t *testing.T) {
	t.Parallel()
	fails, dead := says(t, out("Status: 500 Oops\r\nX-One: 1\r\n"+plain+"no")+finish()), sidebyside.ClosedPort(t)
	p := sidebyside.Start(t, `
upstream u { server `+fails+`; server `+dead+` backup; }
log_format up '$request $status|$upstream_status|$upstream_http_x_one|$upstream_http_content_type';
access_log logs/up.log up;
server { listen ADDR; location / { fastcgi_next_upstream error http_500; fastcgi_pass u; } location /one { fastcgi_pass `+fails+`; } }`, nil)
	p.Same(sidebyside.Get("/"))
	p.Same(sidebyside.Get("/one"))
	p.SameLogs("logs/up.log", nil)
}

// A server that writes its last records piece by piece is read to the end: it would be
// killed by SIGPIPE. A part of them is enough for the client, though.
func TestServerIsReadToTheEnd(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"whole": true, "part": false} {
		closedEarly := make(chan bool, 2)
		addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
			if _, err := readRequest(br); err != nil {
				return
			}
			last := finish()
			pieces := []string{out(plain + "hello"), last[:8], last[8:12], last[12:16]}
			if whole {
				pieces = append(pieces, last[16:20])
			}
			for _, piece := range pieces {
				_, _ = io.WriteString(c, piece)
				_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				if _, err := br.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
					closedEarly <- true
					return
				}
			}
			if whole {
				_, _ = io.WriteString(c, last[20:])
			}
			closedEarly <- false
		})
		p := sidebyside.Start(t, `server { listen ADDR; location / { fastcgi_pass `+addr+`; } }`, nil)
		_, a := p.Do(sidebyside.Get("/"))
		if a.Code() != "200" || a.Body != "hello" || a.Err != "" {
			t.Errorf("%s: %s", name, a)
		}
		for range 2 { // nginx reads to the end of the connection
			if <-closedEarly {
				t.Errorf("%s: the connection was closed before the server had written all", name)
			}
		}
	}
}
