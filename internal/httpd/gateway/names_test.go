package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// TestOddNamesOfFields: which fields with odd names a server behind us gets, is said by
// ignore_invalid_headers and underscores_in_headers of the server that the fields before
// have named, for each protocol.
func TestOddNamesOfFields(t *testing.T) {
	t.Parallel()
	serve := func(answer func(string) string) string {
		return sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
			if _, err := br.Peek(1); err != nil {
				return
			}
			got, _ := br.Peek(br.Buffered())
			body := fmt.Sprintf("%q", regexp.MustCompile(`(?i)x.(foo|bar).{9}`).FindAllString(string(got), -1))
			_, _ = io.WriteString(c, answer(body))
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, br)
		})
	}
	plain := serve(func(body string) string { return "HTTP/1.0 200 OK\r\n\r\n" + body })
	cgi := serve(func(body string) string { return "Status: 200 OK\r\n\r\n" + body })
	fast := serve(func(body string) string { return recorded("Status: 200 OK\r\n\r\n" + body) })
	places := `
		location /proxy { proxy_pass http://` + plain + `; }
		location /fastcgi { fastcgi_pass ` + fast + `; }
		location /scgi { scgi_pass ` + cgi + `; }
		location /uwsgi { uwsgi_pass ` + cgi + `; }
		location /variable { return 200 "$http_x_foo $http_x_bar"; }
	`
	p := sidebyside.Start(t, `
		server { listen ADDR; server_name any; ignore_invalid_headers off; `+places+` }
		server { listen ADDR; server_name under; underscores_in_headers on; `+places+` }
		server { listen ADDR; server_name usual; `+places+` }`, nil)
	for _, path := range []string{"/proxy", "/fastcgi", "/scgi", "/uwsgi", "/variable"} {
		for _, host := range []string{"any", "under", "usual"} {
			for _, first := range []string{"", "http://" + host} {
				for _, odd := range []string{"x_foo: value-one", "x.foo: value-one", "x-foo: value-one", "_x: 1", "x/(foo): y", "x\xc3\xa9: y", "x=foo"} {
					p.SameBody("GET " + first + path + " HTTP/1.0\r\n" + odd + "\r\nHost: " + host + "\r\n\r\n")
					p.SameBody("GET " + first + path + " HTTP/1.0\r\nHost: " + host + "\r\n" + odd + "\r\nx_bar: value-two\r\n\r\n")
				}
			}
			for _, broken := range []string{":foo: x", " foo: x", "foo\x02: x", "fo o: x", "x_foo:\x00"} {
				p.Same("GET " + path + " HTTP/1.0\r\nHost: " + host + "\r\n" + broken + "\r\n\r\n")
			}
		}
	}
}
