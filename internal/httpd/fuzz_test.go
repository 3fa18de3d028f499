package httpd

import (
	"bufio"
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/netconn"
)

// bareRequest is a request on a connection that does not exist, for what reads no
// more than what is in its buffer.
func bareRequest(t testing.TB) *Request {
	t.Helper()
	vs := &VirtualServer{root: &Location{}, serverConf: serverConf{
		largeBuffers: 4, largeBufferSize: 8 << 10, mergeSlashes: true,
	}}
	srv := NewServer(&Site{}, Env{Log: slog.New(slog.DiscardHandler)})
	r := srv.requests.Get().(*Request)
	r.c = &conn{Conn: &netconn.Conn{}, srv: srv, hosts: &hosts{def: vs}}
	r.Out.ContentLength = -1
	r.begin()
	r.body.r = r
	return r
}

// acceptedHead reads a head out of b as a connection does; rest is what is behind it.
func acceptedHead(r *Request, b []byte) (status int, rest []byte, whole bool) {
	in := &r.c.in
	in.Consume(len(in.Data()))
	in.FillWith(b)
	skipBlankLines(in)
	end, ok := headEnd(in.Data(), 0)
	if !ok {
		return 0, nil, false
	}
	status = r.acceptHead(in.Data()[:end])
	return status, in.Data(), true
}

// FuzzHead: no head crashes the parser; in one that is accepted there is nothing
// that another server could take for a second line, a second length or a second
// host; and where it is found to end does not depend on how its bytes come.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest", "POST /a%20b?c HTTP/1.1\nHost: b\nContent-Length: 3\n\nabc",
		"GET http://h:1/p HTTP/1.0\r\nX: y\r\n\r\n", "GET /x\r\n", "\r\n\r\nGET / HTTP/1.1\r\nHost:a\r\nbad(: x\r\nno\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: [::1]:8\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bareRequest(t)
		status, rest, whole := acceptedHead(r, b)
		if !whole {
			return
		}
		for i := range b { // byte by byte, as from a slow client
			if end, ok := headEnd(bytes.TrimLeft(b[:i+1], "\r\n"), 0); ok {
				if got := len(b) - len(rest) - (len(b) - len(bytes.TrimLeft(b, "\r\n"))); end != got {
					t.Fatalf("head ends after %d bytes at once, after %d in pieces", got, end)
				}
				break
			}
		}
		if status != 0 {
			return
		}
		checkAccepted(t, r)
	})
}

func checkAccepted(t *testing.T, r *Request) {
	t.Helper()
	if bytes.IndexByte(r.URI, 0) >= 0 || len(r.URI) == 0 || r.URI[0] != '/' {
		t.Errorf("accepted path %q", r.URI)
	}
	if bytes.ContainsAny(r.line, "\r\n") {
		t.Errorf("accepted request line %q", r.line)
	}
	lengths, codings, hosts := 0, 0, 0
	r.EachField(func(name, value []byte) {
		if bytes.ContainsAny(name, " \t\r\n\x00:") || bytes.ContainsAny(value, "\r\n\x00") {
			t.Errorf("accepted field %q: %q", name, value)
		}
		switch strings.ToLower(string(name)) {
		case "content-length":
			lengths++
		case "transfer-encoding":
			codings++
		case "host":
			hosts++
		}
	})
	if lengths+codings > 1 || hosts > 1 || hosts == 0 && r.version >= 11 {
		t.Errorf("accepted %d lengths, %d codings, %d hosts", lengths, codings, hosts)
	}
	if (r.body.length == chunkedBody) != (codings == 1) || r.body.length > 0 && lengths != 1 {
		t.Errorf("body of %d with %d lengths and %d codings", r.body.length, lengths, codings)
	}
	// Go's server, strict in its own way, must see the same end where it sees any.
	if got, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(r.clean))); err == nil && r.version >= 11 {
		want := r.body.length
		if got.ContentLength != want {
			t.Errorf("net/http frames the body of %q by %d, we by %d", r.clean, got.ContentLength, want)
		}
	}
}

// FuzzNormalizePath: what comes out is absolute, has no segment that leads up, and
// is its own normal form when it is encoded again.
func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/x", "//a//b/", "/a/.", "/a/..", "/%", "/%00", "/...", "/.a/..b/", "/%2f%2e", "/a%3fb%23c%25"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, path []byte, merge bool) {
		if len(path) == 0 || path[0] != '/' || bytes.ContainsAny(path, "?#") {
			return // splitTarget leaves none of these
		}
		got, err := normalizePath(nil, path, merge)
		if err != nil {
			return
		}
		if len(got) == 0 || got[0] != '/' {
			t.Fatalf("normal form of %q is %q", path, got)
		}
		for _, seg := range bytes.Split(got, []byte("/")) {
			if string(seg) == "." || string(seg) == ".." {
				t.Fatalf("normal form of %q is %q, which leads elsewhere", path, got)
			}
		}
		if merge && bytes.Contains(got, []byte("//")) {
			t.Fatalf("normal form of %q is %q", path, got)
		}
		again, err := normalizePath(nil, EscapePath(nil, got), merge)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("normal form of %q is %q, of that it is %q (%v)", path, got, again, err)
		}
	})
}

// FuzzChunks: content and end do not depend on how the bytes come, and the decoder
// uses no byte behind the end.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{"5\r\nhello\r\n0\r\n\r\nGET", "1;x\na\n0\nT: x\n\n", "ffffffffffffffff\r\n", "0\r\n\r\n", "A\r\n0123456789\r\n00\r\n\r\n"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		whole, used, done, ok := decode(b, len(b))
		pieces, used2, done2, ok2 := decode(b, int(step)+1)
		if !bytes.Equal(whole, pieces) || used != used2 || done != done2 || ok != ok2 {
			t.Fatalf("%q: at once %q %d %v %v, in pieces %q %d %v %v", b, whole, used, done, ok, pieces, used2, done2, ok2)
		}
		if done && used > len(b) {
			t.Fatalf("%q: used %d bytes", b, used)
		}
	})
}

// decode decodes b, of which step bytes come at a time.
func decode(b []byte, step int) (content []byte, used int, done, ok bool) {
	var c chunks
	for end := min(step, len(b)); ; end = min(end+step, len(b)) {
		for used < end && c.state != chunkDone {
			if c.state == chunkData {
				n := min(int64(end-used), c.size)
				content = append(content, b[used:used+int(n)]...)
				c.took(n)
				used += int(n)
				continue
			}
			n, ok := c.frame(b[used:end])
			used += n
			if !ok {
				return content, used, false, false
			}
		}
		if end == len(b) || c.state == chunkDone {
			return content, used, c.state == chunkDone, true
		}
	}
}

// FuzzTemplate: no text crashes the compiler, and text without variables is kept.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"$uri", "${uri}x", "a$", "$1$2", "${", "${}", "$$", "http://$host$request_uri", "$arg_"} {
		f.Add(s)
	}
	vs := variables{}
	for name, v := range coreVariables("baton/1", "h") {
		vs.add(name, v)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tpl, err := vs.template(text)
		if err != nil {
			return
		}
		if s, ok := tpl.Static(); ok && s != text {
			t.Fatalf("text %q became %q", text, s)
		}
	})
}

// Every variable of nginx's core module is known and can be asked of any request.
func TestCoreVariablesAreComplete(t *testing.T) {
	t.Parallel()
	vs := variables{}
	for name, v := range coreVariables("baton/1.2.3", "h") {
		vs.add(name, v)
	}
	for _, name := range strings.Fields(`arg_x args binary_remote_addr body_bytes_sent bytes_sent connection connection_requests
		connection_time content_length content_type cookie_x document_root document_uri host hostname http_x https is_args
		limit_rate msec nginx_version pid pipe proxy_protocol_addr proxy_protocol_port proxy_protocol_server_addr
		proxy_protocol_server_port query_string realpath_root remote_addr remote_port remote_user request request_body
		request_body_file request_completion request_filename request_id request_length request_method request_time
		request_uri scheme sent_http_x sent_trailer_x server_addr server_name server_port server_protocol status
		tcpinfo_rtt tcpinfo_rttvar tcpinfo_snd_cwnd tcpinfo_rcv_space time_iso8601 time_local uri`) {
		if vs.lookup(name) == nil {
			t.Errorf("$%s is unknown", name)
		}
	}
	r := bareRequest(t)
	if got, _ := vs.lookup("nginx_version")(r, "nginx_version", nil); string(got) != "1.2.3" {
		t.Errorf("$nginx_version = %q", got)
	}
	first, _ := vs.lookup("request_id")(r, "request_id", nil)
	second, _ := vs.lookup("request_id")(r, "request_id", nil)
	if len(first) != 32 || !bytes.Equal(first, second) {
		t.Errorf("$request_id = %q, then %q", first, second)
	}
}
