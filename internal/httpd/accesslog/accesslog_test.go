package accesslog_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// waitLines waits until both servers have logged n lines and returns them.
func waitLines(t *testing.T, p *sidebyside.Pair, name string, n int) (nginx, baton []string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		a, b := p.Logs(name)
		nginx, baton = strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
		if len(nginx) > n && len(baton) > n {
			return nginx[:len(nginx)-1], baton[:len(baton)-1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d and %d lines, not %d:\n--- nginx\n%s\n--- baton\n%s", len(nginx)-1, len(baton)-1, n, a, b)
		}
	}
}

// sameLines compares what the servers logged, but for their addresses and for what
// drop matches.
func sameLines(t *testing.T, p *sidebyside.Pair, name string, raws []string, drop *regexp.Regexp) {
	t.Helper()
	nginx, baton := waitLines(t, p, name, len(raws))
	for i := range raws {
		a := p.Neutral(sidebyside.Answer{Body: nginx[i]}).Body
		b := p.Neutral(sidebyside.Answer{Body: baton[i]}).Body
		if drop != nil {
			a, b = drop.ReplaceAllString(a, "…"), drop.ReplaceAllString(b, "…")
		}
		if a != b {
			t.Errorf("%.80q is logged differently:%s", raws[i], differ(a, b))
		}
	}
}

// differ tells which values of two lines are not the same.
func differ(a, b string) string {
	var diff strings.Builder
	nginx, baton := strings.Split(a, "> "), strings.Split(b, "> ")
	for i := range max(len(nginx), len(baton)) {
		x, y := "", ""
		if i < len(nginx) {
			x = nginx[i]
		}
		if i < len(baton) {
			y = baton[i]
		}
		if x != y {
			fmt.Fprintf(&diff, "\n  nginx %d %.300q\n  baton %d %.300q", len(x), x, len(y), y)
		}
	}
	return diff.String()
}

// stable are variables whose values are the same on both servers.
var stable = []string{
	"arg_a", "arg_B", "arg_none", "args", "query_string", "is_args",
	"body_bytes_sent", "bytes_sent", "connection_requests",
	"content_length", "content_type", "cookie_a", "cookie_b", "cookie_none",
	"document_uri", "uri", "request_uri", "host", "http_host", "http_user_agent", "http_referer", "http_cookie",
	"http_x_forwarded_for", "http_x_one", "http_none", "https", "scheme", "pipe",
	"proxy_protocol_addr", "proxy_protocol_port", "remote_addr", "remote_user",
	"request", "request_body", "request_body_file", "request_completion", "request_length", "request_method",
	"sent_http_content_type", "sent_http_content_length", "sent_http_connection", "sent_http_none",
	"sent_http_transfer_encoding", "sent_http_location", "sent_http_last_modified", "sent_http_keep_alive",
	"sent_http_cache_control", "sent_trailer_x",
	"server_name", "server_port", "server_protocol", "status", "limit_rate",
}

func stableFormat() string {
	var b strings.Builder
	for _, name := range stable {
		b.WriteString(name + "=<$" + name + "> ")
	}
	return b.String()
}

var requests = []string{
	"GET /x HTTP/1.1\r\nHost: A.example.com\r\nConnection: close\r\n\r\n",
	"GET /x?a=1&b=2&a=3 HTTP/1.1\r\nHost: a.example.com:80\r\nUser-Agent: t\"e\\st\r\nReferer: \xc3\xa4\r\nConnection: close\r\n\r\n",
	"GET /%78/../y?A=&b HTTP/1.0\r\nCookie: a=1; b=2\r\nCookie: c=3\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\r\n",
	"GET //x//y? HTTP/1.1\r\nHost: b\r\nAuthorization: Basic dXNlcjpwYXNz\r\nX-One: 1\r\nConnection: close\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HEAD /x HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
	"GET http://abs.example.com:81/y?q HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
	"GET  /two  HTTP/1.1 \r\nHost: b\r\nConnection: close\r\n\r\n",
	"BREW /x HTTP/1.1\r\nHost: b\r\nCookie: xa=0,a = 7 ;b=\"8\"\r\nConnection: close\r\n\r\n",
	// Refused heads.
	"get / HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET / HTTP/1.1\r\n\r\n",
	"GET /a b HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /%00 HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /../x HTTP/1.1\r\nHost: b\r\n\r\n",
	"junk\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\r\n\r\n",
	"GET /x HTTP/1.1\r\nHost: b\r\nUser-Agent: ua\r\nBad Field: x\r\nReferer: r\r\n\r\n",
	"GET /x HTTP/1.1\r\nUser-Agent: ua\r\nHost: b/c\r\nReferer: r\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	"POST /x HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip\r\n\r\n",
	"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /x HTTP/1.1\r\nHost: b\r\nUser-Agent: ua\r\nX-Long: " + strings.Repeat("a", 9000) + "\r\n\r\n",
	"TRACE /x HTTP/1.1\r\nHost: b\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
}

func TestLinesAreNginxs(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		log_format all '`+stableFormat()+`';
		log_format js escape=json '{"a":"$http_user_agent$http_referer$http_none","r":"$request"}';
		log_format raw escape=none '$http_user_agent|$http_none|$request|$status';
		access_log logs/all.log all;
		access_log logs/js.log js;
		access_log logs/raw.log raw;
		access_log logs/combined.log;
		server {
			listen ADDR;
			server_name first.example.com;
			root ROOT;
		}
		server {
			listen ADDR;
			server_name .a.example.com;
			root ROOT;
		}`, nil)
	for i, raw := range requests {
		p.Do(raw)
		waitLines(t, p, "logs/combined.log", i+1)
	}
	sameLines(t, p, "logs/all.log", requests, nil)
	sameLines(t, p, "logs/js.log", requests, nil)
	sameLines(t, p, "logs/raw.log", requests, nil)
	sameLines(t, p, "logs/combined.log", requests, regexp.MustCompile(`\[[^]]*\]`))
}
