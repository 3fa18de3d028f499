package http2_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const waitLimit = time.Minute

// A peer is a client that writes and reads frames.
type peer struct {
	*http2.Framer
	net.Conn
	t     testing.TB
	block bytes.Buffer
	enc   *hpack.Encoder
}

// dial connects and says hello.
func dial(t testing.TB, addr string, settings ...http2.Setting) *peer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return greet(t, c, settings...)
}

// greet says hello on c.
func greet(t testing.TB, c net.Conn, settings ...http2.Setting) *peer {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	p := &peer{Framer: http2.NewFramer(c, c), Conn: c, t: t}
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.block)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return p
}

// ask sends a head on stream id, fields as "name: value".
func (p *peer) ask(id uint32, end bool, fields ...string) {
	p.t.Helper()
	p.block.Reset()
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		_ = p.enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	head := http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block.Bytes(), EndStream: end, EndHeaders: true}
	if len(head.BlockFragment) > 16000 {
		rest := head.BlockFragment[16000:]
		head.BlockFragment, head.EndHeaders = head.BlockFragment[:16000], false
		_ = p.WriteHeaders(head)
		_ = p.WriteContinuation(id, true, rest)
		return
	}
	if err := p.WriteHeaders(head); err != nil {
		p.t.Fatal(err)
	}
}

// answer reads the answer on stream id, or how it failed.
func (p *peer) answer(id uint32) (a sidebyside.Answer) {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			a.Err = "closed"
			return a
		}
		if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode != 0 {
			a.Err = "GOAWAY " + g.ErrCode.String()
			return a
		}
		if f.Header().StreamID != id {
			continue
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			a.Status = "HTTP/2 " + f.PseudoValue("status")
			for _, hf := range f.RegularFields() {
				a.Fields = append(a.Fields, textproto.CanonicalMIMEHeaderKey(hf.Name)+": "+hf.Value)
			}
			if f.StreamEnded() {
				return a
			}
		case *http2.DataFrame:
			a.Body += string(f.Data())
			if f.Length > 0 {
				_ = p.WriteWindowUpdate(0, f.Length)
				_ = p.WriteWindowUpdate(id, f.Length)
			}
			if f.StreamEnded() {
				return a
			}
		case *http2.RSTStreamFrame:
			a.Err = "RST_STREAM " + f.ErrCode.String()
			return a
		}
	}
}

// A question is one request on a connection of its own.
type question struct {
	fields []string
	body   []string // the payloads of DATA frames; nil: the head ends the stream
}

func (q question) to(t testing.TB, addr string) sidebyside.Answer {
	t.Helper()
	p := dial(t, addr)
	defer p.Conn.Close()
	p.ask(1, q.body == nil, q.fields...)
	for i, data := range q.body {
		_ = p.WriteData(1, i == len(q.body)-1, []byte(data))
	}
	return p.answer(1)
}

func get(path string, more ...string) question { return ask("GET", path, more...) }

func ask(method, path string, more ...string) question {
	return question{fields: append([]string{
		":method: " + method, ":scheme: http", ":path: " + path, ":authority: www.example.com",
	}, more...)}
}

// of is only some fields, as they are.
func of(fields ...string) question { return question{fields: fields} }

func (q question) with(body ...string) question {
	q.body = body
	return q
}

const config = `
	log_format all '$status|$request|$body_bytes_sent|$server_protocol|$http2|$connection_requests|$scheme|$host|'
		'$request_method|$uri|$args|$http_cookie|$http_x|$content_length|$pipe|$sent_http_connection';
	access_log logs/access.log all;
	large_client_header_buffers 4 2k;
	server {
		listen ADDR http2;
		server_name default;
		root ROOT;
		gzip on;
		gzip_min_length 100;
		location /echo { return 200 "$request_method $uri $args $host $server_name $http_x $http_cookie\n"; }
		location /away { return 301 /there; }
		location /empty { return 204; }
		location /close { return 444; }
		location /odd { return 500; }
		location /page { error_page 404 /a.txt; }
		location /fields { add_header X-One 1; add_header X-Two "a b" always; expires 1h; return 200 ok; }
		location /own/ { proxy_pass http://ADDR/behind/; }
		location /small { client_max_body_size 3; proxy_pass http://IP:PORT; }
		location /unread { client_max_body_size 3; return 200 ok; }
		location /back { proxy_pass http://127.0.0.1:BACK; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Host $host; }
		location /slow { limit_rate 50k; alias ROOT/big.txt; }
		location /chunk { http2_chunk_size 100; alias ROOT/big.txt; }
	}
	server {
		listen ADDR;
		server_name other.example.com;
		location / { return 200 "other $host\n"; }
	}`

// start runs both servers, with a server of net/http behind them that tells what it was
// asked.
func start(t *testing.T, text string) *sidebyside.Pair {
	t.Helper()
	return sidebyside.Start(t, strings.ReplaceAll(text, "BACK", backend(t)), sidebyside.Files{
		"a.txt": "hello\n", "big.txt": strings.Repeat("0123456789abcdef", 4096), "folder/index.html": "index",
		"mid.html": strings.Repeat("<p>text</p>", 50),
	})
}

// Answers are nginx's, and so is what the logs say.
func TestAnswersAsNginx(t *testing.T) {
	p := start(t, config)
	g := get("/echo").fields
	for name, q := range map[string]question{
		"file":               get("/a.txt"),
		"head":               ask("HEAD", "/a.txt"),
		"head of a variable": ask("HEAD", "/echo"),
		"options":            ask("OPTIONS", "/a.txt"),
		"range":              get("/big.txt", "range: bytes=5-9"),
		"ranges":             get("/big.txt", "range: bytes=5-9,100-"),
		"bad range":          get("/big.txt", "range: bytes=99999999-"),
		"large":              get("/big.txt"),
		"in small frames":    get("/chunk"),
		"at a rate":          get("/slow"),
		"not modified":       get("/a.txt", "if-modified-since: Fri, 01 Jan 2100 00:00:00 GMT"),
		"failed condition":   get("/a.txt", "if-match: \"x\""),
		"compressed":         get("/mid.html", "accept-encoding: gzip"),
		"missing":            get("/missing"),
		"folder":             get("/folder"),
		"index":              get("/folder/"),
		"forbidden":          get("/"),
		"error page":         get("/page"),
		"variables":          get("/echo?a=b&c", "x: y", "cookie: a=b", "cookie: c=d"),
		"redirect":           get("/away"),
		"no content":         get("/empty"),
		"closed":             get("/close"),
		"500":                get("/odd"),
		"added fields":       get("/fields"),
		"other server":       of(g[0], g[1], g[2], ":authority: other.example.com"),
		"host field":         of(g[0], g[1], g[2], "host: other.example.com"),
		"proxied":            get("/back?a=b", "x: y", "cookie: a=b", "te: trailers", "user-agent: test"),
		"proxied post":       ask("POST", "/back", "content-length: 5").with("he", "llo"),
		"no length":          ask("POST", "/back").with("he", "llo"),
		"empty frames":       ask("PUT", "/back").with("", "x", "", "y", ""),
		"unread body":        ask("POST", "/echo", "content-length: 5").with("hello"),
		"too large, unread":  ask("POST", "/unread").with("hello"),
		"too large":          ask("POST", "/small", "content-length: 5").with("hello"),
		"post to a file":     ask("POST", "/a.txt", "content-length: 5").with("hello"),
		"expect":             ask("POST", "/back", "content-length: 5", "expect: 100-continue").with("hello"),
		"short body":         ask("POST", "/back", "content-length: 5").with("hell"),
		"long body":          ask("POST", "/back", "content-length: 5").with("hello!"),
		"no body":            ask("POST", "/back", "content-length: 5"),
		"odd length":         ask("POST", "/back", "content-length: 5x").with("hello"),
		"two lengths":        ask("POST", "/back", "content-length: 5", "content-length: 5").with("hello"),
		"path with escapes":  get("/%65cho/../echo//x%20y?%20"),
		"path out of root":   get("/../x"),
		"bad escape":         get("/%zz"),
		"nul":                get("/echo%00"),
		"fragment":           get("/echo#x"),
		"space in path":      of(g[0], g[1], ":path: /echo x", g[3]),
		"no slash":           of(g[0], g[1], ":path: echo", g[3]),
		"absolute":           of(g[0], g[1], ":path: http://x/echo", g[3]),
		"star":               of(":method: OPTIONS", g[1], ":path: *", g[3]),
		"empty path":         of(g[0], g[1], ":path: ", g[3]),
		"no path":            of(g[0], g[1], g[3]),
		"no method":          of(g[1:]...),
		"no scheme":          of(g[0], g[2], g[3]),
		"no host":            of(g[:3]...),
		"odd host":           of(g[0], g[1], g[2], ":authority: a/b"),
		"host with port":     of(g[0], g[1], g[2], ":authority: WWW.example.com:80"),
		"two paths":          get("/echo", ":path: /"),
		"unknown pseudo":     get("/echo", ":status: 200"),
		"odd method":         of(":method: GE T", g[1], g[2], g[3]),
		"small method":       of(":method: get", g[1], g[2], g[3]),
		"unknown method":     of(":method: FOO", g[1], ":path: /a.txt", g[3]),
		"connect":            of(":method: CONNECT", g[3]),
		"connect with path":  of(":method: CONNECT", g[1], g[2], g[3]),
		"trace":              of(":method: TRACE", g[1], g[2], g[3]),
		"https":              of(g[0], ":scheme: https", g[2], g[3]),
		"odd scheme":         of(g[0], ":scheme: a%b", g[2], g[3]),
		"many fields":        get("/echo", slices.Repeat([]string{"a: b"}, 1000)...),
		"too many fields":    get("/echo", slices.Repeat([]string{"a: b"}, 1001)...),
		"many crumbs":        get("/echo", slices.Repeat([]string{"cookie: a"}, 1001)...),
		"large crumbs":       get("/echo", slices.Repeat([]string{"cookie: " + strings.Repeat("a", 1500)}, 4)...),
		"many ignored":       get("/echo", slices.Repeat([]string{"x_y: z"}, 1001)...),
		"underscore":         get("/echo", "x_y: z", "x: 1"),
		"two conditions":     get("/a.txt", "if-match: \"x\"", "if-match: \"y\""),
		"too much in all": get("/echo", "a: "+strings.Repeat("~", 2000), "b: "+strings.Repeat("~", 2000),
			"c: "+strings.Repeat("~", 2000), "d: "+strings.Repeat("~", 2000), "e: "+strings.Repeat("~", 2000)),
	} {
		t.Run(name, func(t *testing.T) {
			nginx, baton := p.Neutral(q.to(t, p.Nginx)), p.Neutral(q.to(t, p.Baton))
			if nginx.Field("Content-Encoding") != "" {
				nginx.Body, baton.Body = "", "" // two compressors
			}
			if n, b := nginx.String(), baton.String(); n != b {
				t.Errorf("--- nginx\n%.2000s\n--- baton\n%.2000s", n, b)
			}
		})
	}
	compareLogs(t, p)
}

// logPrefix is time, level and process of a line of the error log.
var logPrefix = regexp.MustCompile(`^\S+ \S+ (\[\w+\]) \S+ \*\d+ `)

// ofHTTP2 are lines of the error log about what no HTTP/1 client can do.
var ofHTTP2 = regexp.MustCompile(`^client (sent (no|empty|duplicate|unknown|invalid) (pseudo-header ":|:)|sent invalid (method|header name): |` +
	`sent too large header|prematurely closed stream|intended to send)`)

// served are the lines of an access log about requests that were not refused. Of those
// that were, Baton logs the request line also where nginx has not come as far, and a
// compressed answer differs by the compressor.
func served(log string) (lines []string) {
	for _, line := range strings.Split(log, "\n") {
		switch status, _, _ := strings.Cut(line, "|"); {
		case status == "400":
			line = status
		case status == "000", strings.Contains(line, "/mid.html"):
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

// compareLogs compares what both servers have logged.
func compareLogs(t *testing.T, p *sidebyside.Pair) {
	t.Helper()
	var nginx, baton string
	for deadline := time.Now().Add(waitLimit); ; time.Sleep(5 * time.Millisecond) {
		nginx, baton = p.Logs("logs/access.log")
		if len(served(nginx)) == len(served(baton)) || time.Now().After(deadline) {
			break
		}
	}
	diff(t, p, "access log", served(nginx), served(baton))
	nginx, baton = p.Logs("logs/error.log")
	var lines [2][]string
	for i, text := range []string{nginx, baton} {
		for _, line := range strings.Split(text, "\n") {
			level := logPrefix.FindStringSubmatch(line)
			line = logPrefix.ReplaceAllString(line, "")
			if level == nil || !ofHTTP2.MatchString(line) {
				continue
			}
			lines[i] = append(lines[i], level[1]+" "+line)
		}
	}
	diff(t, p, "error log", lines[0], lines[1])
}

// diff reports lines that only one of the servers wrote.
func diff(t *testing.T, p *sidebyside.Pair, what string, nginx, baton []string) {
	t.Helper()
	count := map[string]int{}
	neutral := func(line string) string { return p.Neutral(sidebyside.Answer{Body: line}).Body }
	for _, l := range nginx {
		count[neutral(l)]++
	}
	for _, l := range baton {
		count[neutral(l)]--
	}
	for line, n := range count {
		switch {
		case n > 0:
			t.Errorf("%s: only nginx: %.300s", what, line)
		case n < 0:
			t.Errorf("%s: only baton: %.300s", what, line)
		}
	}
}

// backend is a server that answers with what it was asked, and returns its port.
func backend(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln)
	return fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
}
