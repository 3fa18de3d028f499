package headers_test

import (
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// What a client sends as %0d%0a is two bytes of $uri and must not end a line of the
// answer's head. nginx writes it as it is; see docs/differences.md.
func TestLineBreaksInVariables(t *testing.T) {
	p := sidebyside.Start(t, `
log_format sent '$uri location=$sent_http_location x=$sent_http_x_uri';
access_log logs/sent.log sent;
server {
	listen ADDR;
	location /return { return 302 http://h$uri; }
	location /rewrite { rewrite ^/rewrite http://h$uri? redirect; }
	location /field { add_header X-Uri $uri; add_header X-After after; return 204; }
	location ~ ^/group/(?<what>(?s:.*)) { add_header X-Uri a-$what-b always; return 404; }
	location /location { add_header Location $uri; return 201; }
	location /etag { add_header ETag $uri; return 200 body; }
	location /modified { add_header Last-Modified $uri; return 200 body; }
	location /page { error_page 404 http://h$uri; return 404; }
	location /folded { add_header X-Policy "default 'self';
		script $request_method;

		style"; return 200 body; }
	location /body { return 200 $uri; }
}`, nil)
	const injected, bare = "%0d%0aX-Injected:%20yes", "%0aX-Injected:%20yes"
	for target, field := range map[string]string{
		"/return":   "Location: http://h/return%0D%0AX-Injected:%20yes",
		"/rewrite":  "Location: http://h/rewrite%0D%0AX-Injected:%20yes",
		"/page":     "Location: http://h/page%0D%0AX-Injected:%20yes",
		"/location": "Location: /location%0D%0AX-Injected:%20yes",
		"/field":    "X-After: after",
		"/group/":   "Connection: close",
		"/etag":     "Connection: close",
		"/modified": "Connection: close",
	} {
		for _, smuggled := range []string{injected, bare} {
			nginx, baton := p.Do(sidebyside.Get(target + smuggled))
			if !strings.HasPrefix(nginx.Field("X-Injected"), "yes") {
				t.Errorf("%s: nginx is said to write line breaks, and sends\n%s", target+smuggled, nginx)
			}
			want := field
			if smuggled == bare {
				want = strings.ReplaceAll(field, "%0D", "")
			}
			if baton.Field("X-Injected") != "" || baton.Err != "" || !has(baton, want) {
				t.Errorf("%s: no field %q, in\n%s", target+smuggled, want, baton)
			}
			if baton.Field("X-Uri") != "" || baton.Field("ETag") != "" || baton.Field("Last-Modified") != "" {
				t.Errorf("%s: a field is there that cannot be\n%s", target+smuggled, baton)
			}
			if nginx.Code() != baton.Code() {
				t.Errorf("%s: status %s, and %s from nginx", target+smuggled, baton.Code(), nginx.Code())
			}
		}
	}
	// Nothing is changed where no head is written, or where nothing needs to be.
	p.Same(sidebyside.Get("/body" + injected))
	for _, target := range []string{"/return/a", "/field/a", "/group/a", "/location/a", "/etag/a", "/modified/a"} {
		p.Same(sidebyside.Get(target))
	}
	if _, b := p.Do(sidebyside.Get("/folded")); b.Field("X-Policy") != "default 'self'; script GET; style" {
		t.Errorf("a value that the configuration spreads over lines:\n%s", b)
	}
	_, log := p.Logs("logs/error.log")
	for _, name := range []string{"X-Uri", "ETag", "Last-Modified"} {
		if line := `line break in the response field "` + name + `", which is not sent, client: `; !strings.Contains(log, line) {
			t.Errorf("no %q in the error log:\n%s", line, log)
		}
	}
	if strings.Contains(log, `"Location"`) {
		t.Errorf("a redirect is said to be dropped:\n%s", log)
	}
}

func has(a sidebyside.Answer, field string) bool {
	for _, f := range a.Fields {
		if f == field {
			return true
		}
	}
	return false
}
