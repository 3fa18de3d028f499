package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// recorded is content in FastCGI's records, to the request's end.
func recorded(content string) string {
	var b strings.Builder
	for len(content) > 0 {
		piece := content[:min(len(content), 32000)]
		content = content[len(piece):]
		b.WriteString("\x01\x06\x00\x01" + string([]byte{byte(len(piece) >> 8), byte(len(piece))}) + "\x00\x00" + piece)
	}
	return b.String() + "\x01\x06\x00\x01\x00\x00\x00\x00\x01\x03\x00\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
}

// TestRangesAreForced: a range is cut out of an answer whose server has none, small or
// large, by each protocol, as by nginx.
func TestRangesAreForced(t *testing.T) {
	t.Parallel()
	const fields = "ETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: a/b\r\nAccept-Ranges: none\r\n"
	serve := func(answer string) string {
		return sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
			if _, err := br.Peek(1); err != nil {
				return
			}
			go func() { _, _ = io.WriteString(c, answer); _ = c.(*net.TCPConn).CloseWrite() }()
			_, _ = io.Copy(io.Discard, br)
		})
	}
	for _, size := range []int{1000, 300_000} {
		body := strings.Repeat("0123456789", size/10)
		head := fmt.Sprintf("%sContent-Length: %d\r\n\r\n", fields, size)
		plain, cgi, fast := serve("HTTP/1.1 200 OK\r\n"+head+body), serve("Status: 200 OK\r\n"+head+body), serve(recorded("Status: 200 OK\r\n"+head+body))
		coded := serve(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, body))
		p := sidebyside.Start(t, `server { listen ADDR;
			location /proxy { proxy_force_ranges on; proxy_pass http://`+plain+`; }
			location /pieces { proxy_force_ranges on; proxy_buffering off; proxy_pass http://`+plain+`; }
			location /none { proxy_force_ranges on; max_ranges 0; proxy_pass http://`+plain+`; }
			location /off { proxy_pass http://`+plain+`; }
			location /coded { proxy_force_ranges on; proxy_pass http://`+coded+`; }
			location /fastcgi { fastcgi_force_ranges on; fastcgi_pass `+fast+`; }
			location /scgi { scgi_force_ranges on; scgi_pass `+cgi+`; }
			location /uwsgi { uwsgi_force_ranges on; uwsgi_pass `+cgi+`; } }`, nil)
		paths := []string{"/proxy", "/none", "/off", "/coded", "/fastcgi", "/scgi", "/uwsgi"}
		if size > 1000 {
			paths = []string{"/pieces", "/fastcgi"}
		}
		for _, path := range paths {
			p.SameBody(sidebyside.Get(path))
			for i, fields := range [][]string{
				{"Range: bytes=10-19"}, {"Range: bytes=-5"}, {"Range: bytes=99999999-"}, {"Range: bytes=0-"}, {"Range: bytes=995-"},
				{"Range: bytes=1-2,5-6"}, {"Range: bytes=7-7", `If-Range: "x"`}, {"Range: bytes=7-7", `If-Range: "y"`},
				{"Range: bytes=7-7", "If-Range: Thu, 01 Jan 2026 00:00:00 GMT"}, {"Range: bytes=7-7", "If-Range: Fri, 02 Jan 2026 00:00:00 GMT"},
			} {
				if i < 3 || path == "/proxy" {
					p.Same(sidebyside.Get(path, fields...))
				}
			}
		}
	}
}
