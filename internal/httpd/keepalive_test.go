package httpd_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// keepalive_disable names browsers, which are known by what they call themselves.
func TestKeepaliveDisable(t *testing.T) {
	p := sidebyside.Start(t, `
		server {
			listen ADDR;
			location /usual { return 200 "x"; }
			location /none { keepalive_disable none; return 200 "x"; }
			location /msie6 { keepalive_disable msie6; return 200 "x"; }
			location /safari { keepalive_disable safari; return 200 "x"; }
			location /both { keepalive_disable msie6 safari; return 200 "x"; }
			location /inner { keepalive_disable safari; rewrite ^ /none last; }
			location /end { return 200 "end"; }
		}`, nil)
	for _, agent := range []string{
		"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", "MSIE 5.5x", "MSIE 7.0;", "MSIE 6", "MSIE 6.",
		"Mozilla/4.0 (compatible; MSIE 6.0; Windows) Opera 9", "Mozilla/5.0 (Macintosh; Intel Mac OS X) AppleWebKit Safari/7534", "Safari/1 Windows",
		"Mozilla/5.0 (Mac OS X) Chrome/1 Safari/1", "Mozilla/5.0 (Mac OS X) Gecko/1 Safari/1", "MSIE 7.0; Mac OS X Safari/1", "curl/8",
	} {
		for _, place := range []string{"usual", "none", "msie6", "safari", "both", "inner"} {
			for _, method := range []string{"GET", "POST"} {
				raw := fmt.Sprintf("%s /%s HTTP/1.1\r\nHost: a\r\nUser-Agent: %s\r\nContent-Length: 0\r\n\r\n", method, place, agent)
				same(t, p, raw+sidebyside.Get("/end"))
			}
		}
	}
}

// A connection that is older than keepalive_time ends with its next answer, and no
// younger one does.
func TestKeepaliveTime(t *testing.T) {
	const limit = 200 * time.Millisecond
	addr, _ := start(t, `keepalive_time 200ms; server { LISTEN echo x; }`)
	opened := time.Now()
	c := dial(t, addr)
	for {
		resp, _ := c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp.Close {
			break
		}
		time.Sleep(5 * time.Millisecond) // the client's deadline bounds this
	}
	if age := time.Since(opened); age < limit {
		t.Errorf("ended after %s", age)
	}
	c.ended()
}

// The server's end of a unix socket has a path.
func TestServerAddressOnUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := serverFor(t, t.TempDir(), "unix:"+path, `server { LISTEN echo "<$server_addr|$server_port|$remote_addr|$remote_port>"; }`)
	if err := s.Start(map[string][]net.Listener{"unix:" + path: {ln}}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if want := "<unix:" + path + "||unix:|>"; err != nil || !strings.HasSuffix(string(answer), want) {
		t.Errorf("%q, %v, want %s", answer, err, want)
	}
}

// Arguments are found by their names only, and one without a name by none.
func TestArguments(t *testing.T) {
	addr, _ := start(t, `server { LISTEN echo "<$arg_x|$arg_x_y|$arg_>"; }`)
	for query, want := range map[string]string{
		"": "<||>", "x=1": "<1||>", "X=1": "<1||>", "xx=1&x=2": "<2||>", "x&x=2": "<2||>", "=1": "<||>", "x==1": "<=1||>", "x=": "<||>",
		"x=1&x=2": "<1||>", "a&=x&x_y=%20": "<|%20|>", "yx=1": "<||>", "x=a=b&": "<a=b||>", "&x=1": "<1||>",
	} {
		if answer := sendRaw(t, addr, "GET /?"+query+" HTTP/1.0\r\n\r\n"); !strings.HasSuffix(answer, want) {
			t.Errorf("%q: %s, want %s", query, answer, want)
		}
	}
}

// $limit_rate is what was set, or what applies when the answer has begun.
func TestLimitRateVariable(t *testing.T) {
	p := sidebyside.Start(t, `
		log_format rate "$uri $limit_rate";
		access_log logs/rate.log rate;
		server {
			listen ADDR;
			location /set { set $limit_rate $arg_l; add_header X-Rate $limit_rate; return 200 "$limit_rate"; }
			location /conf { limit_rate 50k; add_header X-Rate $limit_rate; return 200 "$limit_rate"; }
			location /both { limit_rate 50k; set $limit_rate 70k; return 200 "$limit_rate"; }
		}`, nil)
	for _, target := range []string{"/set?l=40k", "/set", "/set?l=x", "/conf", "/both"} {
		p.Same(sidebyside.Get(target))
	}
	var nginx, baton string
	until(t, "lines of both logs", func() bool {
		nginx, baton = p.Logs("logs/rate.log")
		return strings.Count(nginx, "\n") == 5 && strings.Count(baton, "\n") == 5
	})
	// The line about a connection is written behind its answer, maybe after the next one's.
	n, b := strings.Split(nginx, "\n"), strings.Split(baton, "\n")
	slices.Sort(n)
	slices.Sort(b)
	if !slices.Equal(n, b) {
		t.Errorf("--- nginx\n%s--- baton\n%s", nginx, baton)
	}
}
