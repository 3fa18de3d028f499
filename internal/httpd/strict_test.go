package httpd_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// sendRaw writes raw on a connection of its own and returns all that comes back.
func sendRaw(t *testing.T, addr, raw string) string {
	t.Helper()
	c := dial(t, addr)
	if _, err := io.WriteString(c.nc, raw); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c.br)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return string(all)
}

// code is the status of an answer.
func code(answer string) string {
	_, rest, _ := strings.Cut(answer, " ")
	code, _, _ := strings.Cut(rest, " ")
	return code
}

// A host that nginx 1.31.5 takes, and what $host is then; "" for one that it refuses.
func TestHosts(t *testing.T) {
	addr, _ := start(t, `server { LISTEN echo "<$host>"; }`)
	long := strings.Repeat("a", 300)
	for host, want := range map[string]string{
		"": "", "l": "l", "L": "l", "a.b.": "a.b", ".": "", "..": "", "a..b": "", "a.b.:8": "a.b", ":80": "", long: long,
		"a:": "a", "a:1": "a", "a:65535": "a", "a:65536": "", "a:98777": "", "a:000080": "a", "a:99999999999999999999999": "",
		"a:1.2": "", "a:80:80": "", "a:b": "", "a:-1": "", "a b": "", "a\tb": "", "a/b": "", "a\\b": "", "a@b": "", "a?b": "", "a#b": "",
		"a\"b": "", "a<b": "", "a>b": "", "a{b": "", "a}b": "", "a|b": "", "a^b": "", "a`b": "", "a\x02": "", "a\x7f": "", "a\x80": "", "\xc3\xa9": "",
		"a_b~c": "a_b~c", "a!$&'()*+,;=b": "a!$&'()*+,;=b", "a%20b": "a%20b", "a%zz": "a%zz", "a[b": "", "a]": "",
		"[::1]": "[::1]", "[::1]:80": "[::1]", "[::1": "", "[::1].": "", "[::1].:80": "", "[::1]80": "", "[::1]:8a": "", "[::1]:70000": "", "x[::1]": "",
		"[AB::1]": "[ab::1]", "[a..b]": "", "[fe80::1%25eth0]": "", "[v1.a:b]": "[v1.a:b]", "[::1/]": "", "[]": "[]", "[": "",
		"*": "*", "a*.b": "a*.b", "-": "-", "1.2.3.4:": "1.2.3.4",
	} {
		answer := sendRaw(t, addr, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if got := code(answer); want == "" && got != "400" || want != "" && !strings.HasSuffix(answer, "\r\n<"+want+">") {
			t.Errorf("Host %q: %s, want %q", host, answer, want)
		}
	}
	for target, want := range map[string]string{
		"http://a.b:80/": "a.b", "http://a.b:65535/": "a.b", "http://a.b:65536/": "", "http://a.b:123456": "", "http://a..b/": "", "http://./": "",
		"http://a@b/": "", "http://a_b/": "", "http://[::1]:70000/": "", "http://[::1/": "", "http://A.b.": "a.b", "http://:80/": "",
	} {
		answer := sendRaw(t, addr, "GET "+target+" HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n")
		if got := code(answer); want == "" && got != "400" || want != "" && !strings.HasSuffix(answer, "\r\n<"+want+">") {
			t.Errorf("target %q: %s, want %q", target, answer, want)
		}
	}
}

// Nobody gets a tunnel. What asks for one in the right form is told that the method is
// not allowed, also by the server that it names.
func TestConnect(t *testing.T) {
	addr, _ := start(t, `
		server { LISTEN echo $uri; }
		server { LISTEN server_name a.b; error_page 405 /page; location = /page { return 200 "page of $host $request_uri"; } }`)
	for line, want := range map[string]string{
		"CONNECT x.y:443 HTTP/1.1": "405", "CONNECT [::1]:443 HTTP/1.1": "405", "CONNECT  x.y:443 HTTP/1.1": "405", "CONNECT x.y:443 HTTP/1.0": "405",
		"CONNECT x.y HTTP/1.1": "400", "CONNECT x.y: HTTP/1.1": "400", "CONNECT / HTTP/1.1": "400", "CONNECT http://x.y/ HTTP/1.1": "400",
		"CONNECT x.y:443/ HTTP/1.1": "400", "CONNECT x.y:443?a HTTP/1.1": "400", "CONNECT [::1] HTTP/1.1": "400", "CONNECT x.y:70000 HTTP/1.1": "400",
		"CONNECT :443 HTTP/1.1": "400", "CONNECT x y:443 HTTP/1.1": "400", "GET x.y:443 HTTP/1.1": "400",
		"CONNECT a.b:443 HTTP/1.1": "405", "CONNECTX / HTTP/1.1": "200", "TRACE / HTTP/1.1": "405",
	} {
		answer := sendRaw(t, addr, line+"\r\nHost: x.y\r\nConnection: close\r\n\r\n")
		if got := code(answer); got != want {
			t.Errorf("%q: %s, want %s", line, answer, want)
		}
		if strings.Contains(line, " a.b:") && !strings.HasSuffix(answer, "page of a.b /") {
			t.Errorf("%q: %s", line, answer)
		}
	}
}

// The lines of a chunked body end with CR LF and nothing else. Who takes less sees the
// end of a body where the server in front or behind does not.
func TestChunkedFraming(t *testing.T) {
	addr, _ := start(t, `server { LISTEN echo body; client_max_body_size 0; }`)
	for body, want := range map[string]string{
		"3\r\nabc\r\n0\r\n\r\n": "body|abc", "3;x=y\r\nabc\r\n0;z\r\n\r\n": "body|abc", "3 \t\r\nabc\r\n00 \r\n\r\n": "body|abc",
		"3\r\nabc\r\n0\r\nT: v\r\nU: w\r\n\r\n": "body|abc", "A\r\n0123456789\r\n000\r\n\r\n": "body|0123456789",
		"3\nabc\r\n0\r\n\r\n": "", "3\r\nabc\n0\r\n\r\n": "", "3\r\nabc\r\n0\n\r\n": "", "3\r\nabc\r\n0\r\n\n": "", "3\r\nabc\r\n0\n\n": "",
		"3;x\nabc\r\n0\r\n\r\n": "", "3\r\nabc\r\n0;x\n\r\n": "", "3\r\nabc\r\n0\r\nT: v\n\r\n": "", "3\r\nabc\r\n0\r\nT: v\r\n\n": "", "3\r\nabc\r\r\n0\r\n\r\n": "",
		"3\rabc\r\n0\r\n\r\n": "", "3\r\nabcd\r\n0\r\n\r\n": "", "x\r\n\r\n": "", "-1\r\n\r\n": "", "\r\n3\r\nabc\r\n": "", "3x\r\nabc\r\n0\r\n\r\n": "",
		"7ffffffffffffff8\r\n": "", "8000000000000000\r\n": "", "ffffffffffffffffff\r\n": "",
	} {
		raw := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body
		answer := sendRaw(t, addr, raw)
		if got := code(answer); want == "" && got != "400" || want != "" && !strings.HasSuffix(answer, "\r\n"+want) {
			t.Errorf("%q: %s, want %q", body, answer, want)
		}
	}
}

// What a client says to a proxy of its own is not for the server behind ours.
func TestProxyConnectionIsDropped(t *testing.T) {
	addr, _ := start(t, `
		server { LISTEN
			location /up { return 200 "<$http_proxy_connection|$http_x>"; }
			location /down { proxy_pass http://ADDR/up; }
			location /set { proxy_pass http://ADDR/up; proxy_set_header Proxy-Connection $http_proxy_connection; }
		}`)
	for target, want := range map[string]string{"/down": "<|y>", "/set": "<close|y>", "/up": "<close|y>"} {
		answer := sendRaw(t, addr, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\nX: y\r\nConnection: close\r\n\r\n", target))
		if !strings.HasSuffix(answer, want) {
			t.Errorf("%s: %s, want %s", target, answer, want)
		}
	}
}
