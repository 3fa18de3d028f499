package httpd_test

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/handoff"
	"github.com/google/go-cmp/cmp"
)

// What the log says of a response that moved is what it says of one that did not.
const movedVariables = `args arg_x body_bytes_sent bytes_sent connection connection_requests content_length
	content_type cookie_x document_root document_uri foo host http_x is_args limit_rate pipe proxy_add_x_forwarded_for
	proxy_host proxy_port realpath_root remote_addr remote_user request request_body request_completion request_filename request_length request_method
	request_uri scheme sent_http_accept_ranges sent_http_cache_control sent_http_connection sent_http_content_length
	sent_http_content_range sent_http_content_type sent_http_etag sent_http_keep_alive sent_http_last_modified
	sent_http_location sent_http_transfer_encoding sent_http_x_kind server_addr server_name server_protocol status
	upstream_addr upstream_bytes_received upstream_bytes_sent upstream_cookie_a upstream_http_x_kind
	upstream_response_length upstream_status uri 1 2`

// variablesOf sends raw to a server with these directives and returns the variables
// that are logged of it. act takes the answer and moves the connection in between, to
// one server and from there to another.
func variablesOf(t *testing.T, directives, raw string, act func(c *client, move func()), moved bool) map[string]string {
	t.Helper()
	format := "$request_id=$sent_http_x_id"
	for _, name := range strings.Fields(movedVariables) {
		format += "|" + name + "=$" + name
	}
	r := newRelayLogging(t, "tcp", "'"+format+"'", "server_name a; set $foo $arg_x; add_header X-Id $request_id always; "+directives)
	c, _ := r.dial()
	if _, err := io.WriteString(c.nc, raw); err != nil {
		t.Fatal(err)
	}
	act(c, func() {
		if moved {
			r.move()
			r.move()
		}
	})
	_ = c.nc.Close()
	var text []byte
	until(t, "line of the log", func() bool {
		text, _ = os.ReadFile(r.log)
		return len(text) > 0
	})
	values := map[string]string{}
	for i, pair := range strings.Split(strings.TrimSuffix(string(text), "\n"), "|") {
		name, value, _ := strings.Cut(pair, "=")
		if i > 0 {
			values[name] = value
		} else if name != value {
			t.Errorf("the client was told that $request_id is %s, and %s is logged", value, name)
		}
	}
	return values
}

// wantSameVariables compares what is logged with a move and without one.
func wantSameVariables(t *testing.T, directives, raw string, act func(c *client, move func())) {
	t.Helper()
	stayed := variablesOf(t, directives, raw, act, false)
	moved := variablesOf(t, directives, raw, act, true)
	if diff := cmp.Diff(stayed, moved); diff != "" {
		t.Errorf("-stayed +moved:\n%s", diff)
	}
}

// streamed takes an answer of [halves], which the connection moves in the middle of.
func streamed(more chan struct{}) func(c *client, move func()) {
	return func(c *client, move func()) {
		body := bodyOf(c.t, c, headOf(c.t, c))
		if _, err := io.CopyN(io.Discard, body, 5); err != nil {
			c.t.Error(err)
		}
		move()
		more <- struct{}{}
		if _, err := io.Copy(io.Discard, body); err != nil {
			c.t.Error(err)
		}
	}
}

// A body that no ticket has room for does not keep its connection where it is.
func TestLargeRequestBodyIsLeftOutOfTheLog(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	defer close(more)
	directives := "client_body_buffer_size 1m; location / { proxy_pass http://" + halves(t, more) + "; }"
	body := strings.Repeat("x", handoff.MaxState)
	raw := "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	if got := variablesOf(t, directives, raw, streamed(more), false); got["request_body"] != body {
		t.Errorf("logged without a move: %d bytes", len(got["request_body"]))
	}
	got := variablesOf(t, directives, raw, streamed(more), true)
	if got["request_body"] != "-" || got["content_length"] != strconv.Itoa(len(body)) || got["proxy_port"] != "-" {
		t.Errorf("logged after a move: body of %d bytes, length %s", len(got["request_body"]), got["content_length"])
	}
}

func TestVariablesAreTheSameAfterAMove(t *testing.T) {
	t.Parallel()
	dir, _ := bigFile(t, 600<<10)
	more := make(chan struct{})
	defer close(more)
	stream := streamed(more)
	echoing, _ := echoBackend(t)
	const proxied = "location / { proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass http://"
	file := func(c *client, move func()) {
		headOf(t, c)
		if _, err := io.CopyN(io.Discard, c.br, 50<<10); err != nil {
			t.Error(err)
		}
		move()
		if _, err := io.Copy(io.Discard, c.br); err != nil {
			t.Error(err)
		}
	}
	tunnel := func(c *client, move func()) {
		headOf(t, c)
		for i := range 2 {
			if i == 1 {
				move()
			}
			if _, err := io.WriteString(c.nc, "hello"); err != nil {
				t.Error(err)
			}
			if _, err := io.CopyN(io.Discard, c.br, 5); err != nil {
				t.Error(err)
			}
		}
	}
	for _, tc := range []struct {
		name, directives, request string
		body                      string
		act                       func(c *client, move func())
	}{
		{"file", "expires 1h; location /c { try_files /none /big; }",
			"GET /c?x=1&y HTTP/1.1\r\nX: xx\r\nCookie: x=cook\r\nAuthorization: Basic Ym9iOmI=\r\nConnection: close\r\n", "", file},
		{"file for a pattern", "location ~ ^/(?<bar>b)ig$ { set $foo $bar; }",
			"GET /big HTTP/1.1\r\nRange: bytes=0-600000\r\nConnection: close\r\n", "", file},
		{"file of a rewritten URI", "rewrite ^/(c)(.*) /big;", "GET /cx HTTP/1.1\r\nConnection: close\r\n", "", file},
		{"file of an error page", "error_page 404 =200 /big; location /c { return 404; } location = /big { internal; }",
			"GET /cx HTTP/1.1\r\nConnection: close\r\n", "", file},
		{"file of a location that a rewrite stayed in", "location /c { root " + dir + "/.; rewrite . /big break; }",
			"GET /cx HTTP/1.1\r\nConnection: close\r\n", "", file},
		{"file of an if block", "location / { if ($arg_x) { root " + dir + "/.; } }",
			"GET /big?x=1 HTTP/1.1\r\nConnection: close\r\n", "", file},
		{"file of an error page, posted", "error_page 405 =200 /big; location /c { return 405; }",
			"POST /cx HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n", "", file},
		{"answer in chunks", proxied + halves(t, more) + "; }", "GET /chunks?x=1 HTTP/1.1\r\nX: y\r\n", "", stream},
		{"answer inside of a chunk", proxied + halves(t, more) + "; }", "GET /inside HTTP/1.1\r\n", "", stream},
		{"answer to no body", proxied + halves(t, more) + "; }", "POST /length HTTP/1.1\r\nContent-Length: 0\r\n", "", stream},
		{"answer to a body", proxied + halves(t, more) + "; }", "POST /length HTTP/1.1\r\nContent-Length: 4\r\n", "abcd", stream},
		{"answer to a body in chunks", proxied + halves(t, more) + "; }", "POST /close HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
			"3\r\nabc\r\n0\r\n\r\n", stream},
		{"tunnel", proxied + echoing + "; }", "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n", "", tunnel},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantSameVariables(t, "limit_rate 500k; root "+dir+"; "+tc.directives, tc.request+"Host: a\r\n\r\n"+tc.body, tc.act)
		})
	}
}
