package proxy_test

import (
	"bufio"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

func TestTriesAndTheirLogs(t *testing.T) {
	t.Parallel()
	dead, dead2 := sidebyside.ClosedPort(t), sidebyside.ClosedPort(t)
	good := sidebyside.Script(t, echo)
	busy := sidebyside.Script(t, says("HTTP/1.1 503 Busy\r\nX-One: 1\r\nSet-Cookie: c=d; Path=/\r\nContent-Length: 4\r\n\r\nbusy"))
	mute := sidebyside.Script(t, says(""))
	slow := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
	half := sidebyside.Script(t, says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
	junk := sidebyside.Script(t, says("HTTP/1.1 200 OK\r\n: x\r\n\r\n"))
	big := sidebyside.Script(t, says("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 9000)+"\r\n\r\n"))
	hang := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		_, _ = io.Copy(io.Discard, br)
	})
	group := func(name string, servers ...string) string {
		text := "upstream " + name + " {\n"
		for _, s := range servers {
			text += "  server " + s + ";\n"
		}
		return text + "}\n"
	}
	p := sidebyside.Start(t, `
log_format up '$request $status|$upstream_addr|$upstream_status|$upstream_response_length|'
	'$upstream_bytes_sent|$upstream_bytes_received|$upstream_http_x_one|$upstream_cookie_c|$proxy_host|$proxy_port';
access_log logs/up.log up;
proxy_read_timeout 300ms;
`+group("two", dead, good)+group("fails", dead+" max_fails=1", dead2+" max_fails=1 fail_timeout=60")+
		group("spare", dead, good+" backup")+group("gone", good+" down")+
		group("b1", busy, good)+group("b2", busy, good)+group("m1", mute, good)+group("m2", mute, good)+group("m3", mute, good)+
		group("s1", slow, good)+group("s2", slow, good)+group("j1", junk, good)+group("j2", junk, good)+group("three", mute, mute+" weight=1", good)+`
server {
	listen ADDR;
	location /dead { proxy_pass http://`+dead+`; }
	location /two { proxy_pass http://two; }
	location /fails { proxy_pass http://fails; }
	location /spare { proxy_pass http://spare; }
	location /gone { proxy_pass http://gone; }
	location /busy { proxy_pass http://`+busy+`; }
	location /b1 { proxy_pass http://b1; proxy_next_upstream http_503; }
	location /b2 { proxy_pass http://b2; proxy_next_upstream off; }
	location /m1 { proxy_pass http://m1; }
	location /m2 { proxy_pass http://m2; }
	location /m3 { proxy_pass http://m3; proxy_next_upstream error non_idempotent; }
	location /s1 { proxy_pass http://s1; }
	location /s2 { proxy_pass http://s2; proxy_next_upstream error; }
	location /j1 { proxy_pass http://j1; proxy_next_upstream invalid_header; }
	location /j2 { proxy_pass http://j2; }
	location /three { proxy_pass http://three; proxy_next_upstream_tries 2; }
	location /half { proxy_pass http://`+half+`; }
	location /big { proxy_pass http://`+big+`; }
	location /hang { access_log off; proxy_pass http://`+hang+`; }
	location /again { proxy_pass http://`+busy+`; proxy_intercept_errors on; error_page 503 = /two/again; }
	location /unix { proxy_pass http://unix:/nonexistent/sock:/x; }
	location /varbad { proxy_pass http://$arg_h; }
	location /varnone { proxy_pass $arg_h; }
	location /var { proxy_pass http://$arg_h/v; }
}`, nil)
	for _, raw := range []string{
		sidebyside.Get("/dead"), sidebyside.Get("/two"), sidebyside.Get("/fails"), sidebyside.Get("/fails"),
		sidebyside.Get("/spare"), sidebyside.Get("/gone"), sidebyside.Get("/busy"),
		sidebyside.Get("/b1"), sidebyside.Get("/b2"), sidebyside.Get("/m1"),
		sidebyside.Ask("POST", "/m2", "Content-Length: 1") + "x",
		sidebyside.Ask("POST", "/m3", "Content-Length: 1") + "x",
		sidebyside.Get("/s1"), sidebyside.Get("/s2"), sidebyside.Get("/j1"), sidebyside.Get("/j2"),
		sidebyside.Get("/three"), sidebyside.Get("/half"), sidebyside.Get("/big"),
		sidebyside.Get("/again"), sidebyside.Get("/unix"),
		sidebyside.Get("/varbad?h=nowhere.example"), sidebyside.Get("/varnone?h=x"),
		sidebyside.Get("/var?h=two"), sidebyside.Get("/var?h=" + good), sidebyside.Get("/varbad?h=" + good),
	} {
		p.Same(raw)
	}
	p.Do(sidebyside.Get("/hang")) // nginx keeps the beginning of the body, we pass it on
	p.SameLogs("logs/up.log", nil)
	p.SameLogs("logs/error.log", regexp.MustCompile(`upstream: |\[warn\]|resolve|URL`))
}
