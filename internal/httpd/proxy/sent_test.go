package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// $sent_http_… tells of the fields that a proxied answer brought, and of those of our
// own.
func TestSentFieldsOfAProxiedAnswer(t *testing.T) {
	t.Parallel()
	self := sidebyside.Script(t, says("HTTP/1.1 200 OK\r\nServer: s\r\nETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"+
		"Location: /elsewhere\r\nContent-Type: a/b\r\nX-One: 1\r\nAccept-Ranges: bytes\r\nContent-Length: 2\r\n\r\nok"))
	p := sidebyside.Start(t, `
		log_format sent '$sent_http_etag|$sent_http_last_modified|$sent_http_location|$sent_http_content_type|'
			'$sent_http_x_one|$sent_http_accept_ranges|$sent_http_content_length|$upstream_trailer_x|$upstream_http_etag';
		access_log logs/sent.log sent;
		server { listen ADDR; location /a { proxy_pass http://`+self+`; } }`, nil)
	p.Do(sidebyside.Get("/a"))
	const want = `\x22x\x22|Thu, 01 Jan 2026 00:00:00 GMT|`
	var nginx, baton string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		nginx, baton = p.Logs("logs/sent.log")
		if nginx != "" && baton != "" {
			break
		}
	}
	nginx, baton = p.Neutral(sidebyside.Answer{Body: nginx}).Body, p.Neutral(sidebyside.Answer{Body: baton}).Body
	if nginx != baton || !strings.HasPrefix(nginx, want) {
		t.Errorf("logged\nnginx %s\nbaton %s", nginx, baton)
	}
}
