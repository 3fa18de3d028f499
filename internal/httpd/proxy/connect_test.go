package proxy_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// tellPeer answers with the address that the connection comes from and whether its
// other side sends keep-alive probes.
func tellPeer(c net.Conn, br *bufio.Reader) {
	if _, _, err := readRequest(br); err != nil {
		return
	}
	peer := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	body := fmt.Sprintf("from %s, probes %s\n", peer.Addr().Unmap(), probes(peer, c.LocalAddr().(*net.TCPAddr).AddrPort()))
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// probes looks in /proc/net/tcp, see proc(5), for the socket from local to remote: its
// running timer is 2 for keep-alive, 0 for none. While what it sent is not
// acknowledged it is another one.
func probes(local, remote netip.AddrPort) string {
	state := "unknown"
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		table, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			return err.Error()
		}
		for _, line := range strings.Split(string(table), "\n") {
			f := strings.Fields(line)
			if len(f) < 6 || f[1] != procAddr(local) || f[2] != procAddr(remote) {
				continue
			}
			switch timer, _, _ := strings.Cut(f[5], ":"); timer {
			case "00":
				return "off"
			case "02":
				return "on"
			default:
				state = "timer " + timer
			}
		}
	}
	return state
}

// procAddr is an address as /proc/net/tcp has it: in the machine's byte order.
func procAddr(a netip.AddrPort) string {
	ip := a.Addr().Unmap().As4()
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), a.Port())
}

func TestConnectionsAsAskedFor(t *testing.T) {
	t.Parallel()
	addr := sidebyside.Script(t, tellPeer)
	p := sidebyside.Start(t, `
proxy_socket_keepalive on;
log_format foreign '$upstream_addr|$upstream_status|$upstream_connect_time';
upstream two { server `+addr+`; server `+addr+`; }
server {
	listen ADDR;
	location / { proxy_pass http://`+addr+`; }
	location /off { proxy_pass http://`+addr+`; proxy_socket_keepalive off; proxy_bind off; }
	location /bound { proxy_pass http://`+addr+`; proxy_bind 127.0.0.9; }
	location /bound/off { proxy_pass http://`+addr+`; proxy_bind off; }
	location /foreign { proxy_pass http://two; proxy_bind 192.0.2.1; access_log logs/foreign.log foreign; }
}
server {
	listen ADDR;
	server_name bound;
	proxy_bind 127.0.0.8;
	location / { proxy_pass http://`+addr+`; }
}`, nil)
	for target, want := range map[string]string{
		"/":          "from 127.0.0.1, probes on\n",
		"/off":       "from 127.0.0.1, probes off\n",
		"/bound":     "from 127.0.0.9, probes on\n",
		"/bound/off": "from 127.0.0.1, probes on\n",
	} {
		// The answers are not compared in full: "from" is what makes the other differ.
		nginx, baton := p.Do(sidebyside.Get(target))
		if nginx.Body != want || baton.Body != want {
			t.Errorf("%s: nginx %q, baton %q, want %q", target, nginx.Body, baton.Body, want)
		}
	}
	raw := "GET / HTTP/1.1\r\nHost: bound\r\nConnection: close\r\n\r\n"
	if n, b := p.Do(raw); n.Body != b.Body || b.Body != "from 127.0.0.8, probes on\n" {
		t.Errorf("in a server: nginx %q, baton %q", n.Body, b.Body)
	}
	if a := p.Same(sidebyside.Get("/foreign")); a.Code() != "500" {
		t.Errorf("bound to an address that is not ours: %s", a.Code())
	}
	p.SameLogs("logs/foreign.log", nil)
	p.SameLogs("logs/error.log", regexp.MustCompile(`bind\(`))
}

var seconds = regexp.MustCompile(`\d+\.\d{3}`)

// TestUpstreamTimes: which of a request's tries have a time, and how they are put
// together.
func TestUpstreamTimes(t *testing.T) {
	t.Parallel()
	dead := sidebyside.ClosedPort(t)
	good := sidebyside.Script(t, echo)
	busy := sidebyside.Script(t, says("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"))
	mute := sidebyside.Script(t, says(""))
	slow := sidebyside.Script(t, func(_ net.Conn, br *bufio.Reader) { _, _ = br.WriteTo(discard{}) })
	late := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, _, err := readRequest(br); err == nil {
			<-time.After(250 * time.Millisecond) // it thinks
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	group := func(name string, servers ...string) string {
		return "upstream " + name + " { server " + strings.Join(servers, "; server ") + "; }\n"
	}
	p := sidebyside.Start(t, `
log_format times '$uri $upstream_connect_time|$upstream_header_time|$upstream_response_time|$upstream_status';
access_log logs/times.log times;
proxy_read_timeout 300ms;
`+group("two", dead, good)+group("pair", dead, good)+group("quiet", mute+" max_fails=0", slow+" max_fails=0", good)+group("none", good+" down")+`
server {
	listen ADDR;
	location /none { return 200; }
	location /good { proxy_pass http://`+good+`; }
	location /late { proxy_pass http://`+late+`; proxy_read_timeout 20s; }
	location /dead { proxy_pass http://`+dead+`; }
	location /slow { proxy_pass http://`+slow+`; }
	location /two { proxy_pass http://two; }
	location /pair { proxy_pass http://pair; }
	location /quiet { proxy_pass http://quiet; }
	location /down { proxy_pass http://none; }
	location /busy { proxy_pass http://`+busy+`; proxy_intercept_errors on; error_page 503 = /pair/again; }
	location /again { proxy_pass http://`+dead+`; error_page 502 = /busy/then; }
}`, nil)
	for _, target := range []string{"/none", "/good", "/late", "/dead", "/slow", "/two", "/quiet", "/down", "/busy", "/again"} {
		p.Same(sidebyside.Get(target))
	}
	var nginx, baton map[string]string
	waitFor(t, "ten lines in each log", func() bool {
		n, b := p.Logs("logs/times.log")
		nginx, baton = byFirst(n), byFirst(b)
		return len(nginx) == 10 && len(baton) == 10
	})
	shape := func(line string) string { return seconds.ReplaceAllString(line, "T") }
	for uri, n := range nginx {
		if b := baton[uri]; shape(n) != shape(b) {
			t.Errorf("%s:\n  nginx %s\n  baton %s", uri, n, b)
		}
	}
	for uri, want := range map[string]string{
		"/none": "-|-|-|-", "/good": "T|T|T|200", "/dead": "-|-|T|502", "/slow": "T|-|T|504",
		"/quiet": "T, T, T|-, -, T|T, T, T|502, 504, 200", "/two": "-, T|-, T|T, T|502, 200", "/down": "-|-|T|502",
		"/busy/then": "- : T|- : T|T : T|502 : 503", "/pair/again": "T : -, T|T : -, T|T : T, T|503 : 502, 200",
	} {
		if b := baton[uri]; shape(b) != want {
			t.Errorf("%s: %s, want %s", uri, b, want)
		}
	}
	// A time is that of what it is named after: the head of /late takes 0.25 s, the
	// connection does not; /slow is given up after 0.3 s.
	for name, log := range map[string]map[string]string{"nginx": nginx, "baton": baton} {
		for uri, want := range map[string]string{"/late": `^0\.0\d\d\|0\.[2-9]\d\d\|0\.[2-9]\d\d\|`, "/slow": `^0\.0\d\d\|-\|0\.[3-9]\d\d\|`} {
			if !regexp.MustCompile(want).MatchString(log[uri]) {
				t.Errorf("%s logs %s for %s, want %s", name, log[uri], uri, want)
			}
		}
	}
}

// byFirst returns the lines of a log by their first word.
func byFirst(log string) map[string]string {
	lines := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(log), "\n") {
		first, rest, _ := strings.Cut(line, " ")
		lines[first] = rest
	}
	return lines
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// TestAccelLimitRate: a server says how fast its answer may go out.
func TestAccelLimitRate(t *testing.T) {
	const size = 60 << 10
	answer := func(field string) string {
		return sidebyside.Script(t, says(fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", field, size, strings.Repeat("x", size))))
	}
	limited, unlimited := answer("X-Accel-Limit-Rate: 20480\r\n"), answer("X-Accel-Limit-Rate: 0\r\n")
	// What is not to be limited would take most of a minute, and more.
	snail, junk, none := answer("X-Accel-Limit-Rate: 1024\r\n"), answer("X-Accel-Limit-Rate: 1k\r\n"), answer("")
	p := sidebyside.Start(t, `
server {
	listen ADDR;
	location /limited { proxy_pass http://`+limited+`; }
	location /ignored { proxy_pass http://`+snail+`; proxy_ignore_headers X-Accel-Limit-Rate; }
	location /raised { limit_rate 1; proxy_pass http://`+unlimited+`; }
	location /junk { proxy_pass http://`+junk+`; }
	location /own { limit_rate 20k; proxy_pass http://`+none+`; }
}`, nil)
	for target, slow := range map[string]bool{"/limited": true, "/ignored": false, "/raised": false, "/junk": false, "/own": true} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			for name, addr := range map[string]string{"nginx": p.Nginx, "baton": p.Baton} {
				start := time.Now()
				a := ask(t, addr, target)
				took := time.Since(start)
				if a.Code() != "200" || len(a.Body) != size || a.Err != "" || a.Field("X-Accel-Limit-Rate") != "" {
					t.Errorf("%s: %s %q, %d bytes, %s", name, a.Status, a.Fields, len(a.Body), a.Err)
				}
				// 60 KB at 20 KB/s: the first second's worth comes at once, and with nginx the
				// second one's too when its clock has just moved on.
				if slow && took < 700*time.Millisecond || took > 30*time.Second {
					t.Errorf("%s: it took %v", name, took)
				}
			}
		})
	}
}

// ask sends one request to one server.
func ask(t *testing.T, addr, target string) sidebyside.Answer {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	if _, err := c.Write([]byte(sidebyside.Get(target))); err != nil {
		t.Fatal(err)
	}
	return sidebyside.ReadAnswer(bufio.NewReader(c), "GET")
}
