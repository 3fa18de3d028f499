package httpd_test

import (
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// after is the request that shows where the one before it ended: its answer must
// come, and close the connection, or not come at all, exactly as with nginx.
const after = "GET /after HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"

// same sends raw to both servers, reads all answers and compares them.
func same(t *testing.T, p *sidebyside.Pair, raw string) {
	t.Helper()
	nginx, baton := p.DoAll(raw)
	a, b := all(p, nginx), all(p, baton)
	if a != b {
		t.Errorf("%.300q\n--- nginx\n%s\n--- baton\n%s", raw, a, b)
	}
}

// all is the text of several answers, one line each. Of bodies, pages mostly, it
// has a digest.
func all(p *sidebyside.Pair, answers []sidebyside.Answer) string {
	var b strings.Builder
	for _, a := range answers {
		n := p.Neutral(a)
		fmt.Fprintf(&b, "%s %q body %d %08x %s\n", n.Status, n.Fields, len(n.Body), crc32.ChecksumIEEE([]byte(n.Body)), n.Err)
	}
	return b.String()
}

// smuggled are requests in which two servers could see two different ends.
var smuggled = []string{
	// Two framings, or one that is none.
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 5, 5\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: +5\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: -5\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 0x5\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 5 \r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length:5\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: \t5\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 5\t\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 00005\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length:\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length : 5\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 99999999999999999999999999\r\n\r\nhello" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nContent_Length: 5\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello" + after,
	"POST /x HTTP/1.0\r\nHost: b\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: identity\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer_Encoding: chunked\r\n\r\n" + after,
	"POST /x HTTP/1.1\r\nHost: b\r\nX: 1\rTransfer-Encoding: chunked\r\n\r\n" + after,
	// Lines and their ends.
	"GET /x HTTP/1.1\nHost: b\n\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\n\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX: y\r\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX: y\r z\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\n\r\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\n\rX: y\r\n\r\n" + after,
	"GET /x HTTP/1.1\rHost: b\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX: y\r\n folded\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX: y\r\n\tfolded\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\n Host: b\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX: a\x00b\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX\x00: ab\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX\x7f: ab\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX(: ab\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nno colon\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nnocolon\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\n: empty\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\n:empty\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX:\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\n\xc3\xa4: x\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nX: \xc3\xa4\xff\r\n\r\n" + after,
	"\r\n\r\nGET /x HTTP/1.1\r\nHost: b\r\n\r\n\r\n" + after,
	"\n\r\r\nGET /x HTTP/1.1\r\nHost: b\r\n\r\n\n" + after,
	" GET /x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET\t/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /x\tHTTP/1.1\r\nHost: b\r\n\r\n" + after,
	// Chunks.
	chunked("5\r\nhello\r\n0\r\n\r\n"),
	chunked("5\r\nhello\r\n00000\r\n\r\n"),
	chunked("000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
	chunked("5;ext=1\r\nhello\r\n0;x\r\n\r\n"),
	chunked("5 \r\nhello\r\n0 \r\n\r\n"),
	chunked("5\t;a\r\nhello\r\n0\r\n\r\n"),
	chunked("5;a\rhello\r\n0\r\n\r\n"),
	chunked("5\rhello\r\n0\r\n\r\n"),
	chunked(" 5\r\nhello\r\n0\r\n\r\n"),
	chunked("+5\r\nhello\r\n0\r\n\r\n"),
	chunked("0x5\r\nhello\r\n0\r\n\r\n"),
	chunked("-1\r\nhello\r\n0\r\n\r\n"),
	chunked("g\r\nhello\r\n0\r\n\r\n"),
	chunked("\r\nhello\r\n0\r\n\r\n"),
	chunked("5\r\nhelloX\r\n0\r\n\r\n"),
	chunked("5\r\nhello0\r\n\r\n"),
	chunked("5\r\nhello\r0\r\n\r\n"),
	chunked("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
	chunked("10000000000000000\r\nhello\r\n0\r\n\r\n"),
	chunked("7fffffffffffffff0\r\nhello\r\n0\r\n\r\n"),
	chunked("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
	chunked("0\r\nTrailer: x\r\nContent-Length: 9\r\n\r\n"),
	chunked("0\r\n folded\r\n\r\n"),
	chunked("0\r\nX: y\rz\r\n\r\n"),
	chunked("0\r\n\rX"),
}

// refused are requests that nginx 1.31.5 refuses, and 1.22.1 takes or refuses with
// another status.
var refused = []struct{ raw, code string }{
	{"POST /x HTTP/1.1\r\nHost: b\r\nX: 1\nTransfer-Encoding: chunked\n\n0\n\n" + after, "404"},
	{chunked("5\nhello\n0\n\n"), "404"},
	{chunked("5;a\nhello\r\n0\r\n\r\n"), "404"},
	{chunked("0\r\nTrailer: x\nSecond: y\n\n"), "404"},
	{"GET /x HTTP/1.1\r\nHost: b:80:90\r\n\r\n" + after, "400"},
	{"GET /x HTTP/1.1\r\nHost: b:x\r\n\r\n" + after, "400"},
	{"GET /x HTTP/1.1\r\nHost: b@c\r\n\r\n" + after, "400"},
	{"GET /x HTTP/1.1\r\nHost: b\"c<d>\r\n\r\n" + after, "400"},
	{"GET /x HTTP/1.1\r\nHost: [::1]x:80\r\n\r\n" + after, "400"},
	{"GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n" + after, "400"},
	{"GET /x HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n" + after, "400"},
	{"CONNECT b:80 HTTP/1.1\r\nHost: b\r\n\r\n" + after, "404"},
	{"CONNECT / HTTP/1.1\r\nHost: b\r\n\r\n" + after, "400"},
}

func chunked(body string) string {
	return "POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n" + body + after
}

// lines are request lines and hosts at the edge of what is allowed.
var lines = []string{
	"GET / HTTP/1.1\r\n\r\n" + after,
	"GET / HTTP/1.1\r\nHost:\r\n\r\n" + after,
	"GET / HTTP/1.1\r\nHost: \r\n\r\n" + after,
	"GET / HTTP/1.0\r\nHost:\r\n\r\n" + after,
	"GET /x HTTP/1.0\r\n\r\n" + after,
	"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + after,
	"GET /x HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nConnection: CLOSE\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nConnection: x, close\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nConnection: xclosex\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\r\nHost: c\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b..c\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: .\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b.\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b:80\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: :80\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b c\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b\tc\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: b/c\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: [::1]\r\n\r\n" + after,
	"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n" + after,
	"GET http://c HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://c/ HTTP/1.1\r\n\r\n" + after,
	"GET http://c/x?y HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://c?y HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://c#y HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://c:81/x HTTP/1.0\r\n\r\n" + after,
	"GET http://C/x HTTP/1.1\r\nHost: b/\r\n\r\n" + after,
	"GET http:///x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://u@c/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://[::1]/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://[::1]:80/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://[]/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://c..d/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http://c:x/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET ftp://c/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET a+b-c.1://c/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET 1http://c/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET http:/c/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET ?x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET * HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"OPTIONS /x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"TRACE /x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"DELETE /x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"BREW-IT_NOW /x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"Get /x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"G3T /x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET\r\nHost: b\r\n\r\n" + after,
	"GET \r\nHost: b\r\n\r\n" + after,
	"/x HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/1.2\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/1.9\r\n\r\n" + after,
	"GET /x HTTP/1.01\r\n\r\n" + after,
	"GET /x HTTP/1.00\r\n\r\n" + after,
	"GET /x HTTP/1.999\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/1.9999\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/01.1\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/11.1\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/2.0\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/2\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/1\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/1.\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/0.9\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/1.1x\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTP/1.1  \r\nHost: b\r\n\r\n" + after,
	"GET   /x   HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /x http/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /x HTTPS/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /x y HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /x\x01 HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /x\x7f HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /x\x00 HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"GET /\xc3\xa4 HTTP/1.1\r\nHost: b\r\n\r\n" + after,
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n",
}

func TestHostileHeadsAreAnsweredAsByNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		server { listen ADDR; server_name a; root ROOT; }
		server { listen ADDR; server_name b; root ROOT; error_page 404 405 =404 /none; }
		server { listen ADDR; server_name c; root ROOT; server_tokens off; }`, nil)
	for _, raw := range smuggled {
		same(t, p, raw)
	}
	for _, raw := range lines {
		same(t, p, raw)
	}
	for _, c := range refused {
		if _, answers := p.DoAll(c.raw); len(answers) != 1 || answers[0].Code() != c.code || answers[0].Field("Connection") != "close" {
			t.Errorf("%.300q: %v, want one answer with %s", c.raw, answers, c.code)
		}
	}
}
