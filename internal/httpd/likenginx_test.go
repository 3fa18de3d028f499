package httpd_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A likeness is a configuration, and requests that nginx and we must answer alike.
type likeness struct {
	name  string
	http  string
	files sidebyside.Files
	raws  []string
}

// get is a request on its own connection.
func get(target string, fields ...string) string { return sidebyside.Get(target, fields...) }

// host is a request for / of a host.
func host(name string) string {
	return "GET / HTTP/1.1\r\nHost: " + name + "\r\nConnection: close\r\n\r\n"
}

// gets are requests for several targets.
func gets(targets ...string) (raws []string) {
	for _, t := range targets {
		raws = append(raws, get(t))
	}
	return raws
}

func hosts(names ...string) (raws []string) {
	for _, n := range names {
		raws = append(raws, host(n))
	}
	return raws
}

var likenesses = []likeness{
	{
		name: "statuses",
		http: `server {
			listen ADDR;
			location ~ ^/(?<code>\d+)$ { return 500; }
			` + returns(200, 204, 206, 300, 301, 302, 303, 304, 305, 306, 307, 308, 310, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410,
			411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 426, 428, 429, 431, 444, 451, 494, 495, 496, 497, 500, 501, 502, 503, 504, 505, 506, 507, 510, 599) + `
		}`,
		raws: append(gets(codes(200, 204, 206, 300, 301, 302, 303, 304, 305, 306, 307, 308, 310, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410,
			411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 426, 428, 429, 431, 444, 451, 494, 495, 496, 497, 500, 501, 502, 503, 504, 505, 506, 507, 510, 599)...),
			"GET /r500 HTTP/1.1\r\nHost: b\r\n\r\n"+after, "GET /r501 HTTP/1.1\r\nHost: b\r\n\r\n"+after,
			"GET /r413 HTTP/1.1\r\nHost: b\r\n\r\n"+after, "GET /r414 HTTP/1.1\r\nHost: b\r\n\r\n"+after,
			"GET /r400 HTTP/1.1\r\nHost: b\r\n\r\n"+after, "GET /r502 HTTP/1.1\r\nHost: b\r\n\r\n"+after,
			"GET /r408 HTTP/1.1\r\nHost: b\r\n\r\n"+after, "GET /r416 HTTP/1.1\r\nHost: b\r\n\r\n"+after,
			"HEAD /r404 HTTP/1.1\r\nHost: b\r\n\r\n"+after, "HEAD /r204 HTTP/1.1\r\nHost: b\r\n\r\n"+after,
			get("/r404", "User-Agent: Mozilla (MSIE 6.0)"), get("/r404", "User-Agent: x MSIE 6.0 Opera"),
			get("/r404", "User-Agent: Chrome/9"), get("/r302", "User-Agent: Chrome/9"), get("/r502", "User-Agent: Chrome/9"),
		),
	},
	{
		name: "error pages",
		http: `server {
			listen ADDR;
			root ROOT;
			error_page 404 /404.html;
			error_page 403 =200 /ok.html;
			error_page 402 = /code;
			error_page 405 = @named;
			error_page 410 =301 http://other.example.com/gone;
			error_page 409 http://other.example.com/conflict?$request_uri;
			error_page 411 =404 http://other.example.com/x;
			error_page 500 502 503 504 /50x.html;
			error_page 501 /missing.html;
			error_page 413 /big.html;
			error_page 400 494 /bad.html;
			error_page 414 /long.html;
			error_page 416 /404.html?a=b;
			error_page 401 =418 /404.html;
			error_page 406 @nowhere;
			error_page 407 = /loop;
			location /loop { return 407; }
			location /code { return 201 "made by $request_method $uri $args"; }
			location @named { return 202 "named $request_method $uri"; }
			location /in { internal; return 200 inside; }
			location /r402 { return 402; }
			location /forbidden/ { }
			location = /50x.html { internal; }
			location /posted { client_max_body_size 3; }
			location /rec {
				recursive_error_pages on;
				error_page 404 = /rec2/x;
			}
			location /rec2 {
				recursive_error_pages on;
				error_page 404 = /code;
			}
			location /halfrec { error_page 404 = /rec/x; }
			location /rechalf { recursive_error_pages on; error_page 404 = /norec/x; }
			location /norec { error_page 404 = /norec2/x; }
			location /norec2 { error_page 404 = /code; }
			` + returns(403, 405, 409, 410, 411, 500, 501, 401, 406, 407, 416) + `
		}`,
		files: sidebyside.Files{
			"404.html": "not found page\n", "ok.html": "ok page\n", "50x.html": "broken page\n", "forbidden/": "",
			"big.html": "big\n", "bad.html": "bad\n", "long.html": "long\n", "file.txt": "a file\n",
		},
		raws: append(gets("/none", "/forbidden/", "/r402", "/r403", "/r405", "/r409?x=y", "/r410", "/r411", "/r500", "/r501", "/r401", "/r406", "/r407",
			"/r416", "/in", "/loop", "/rec/none", "/norec/none", "/halfrec/none", "/rechalf/none", "/50x.html", "/file.txt/"),
			"POST /file.txt HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nab"+after,
			"POST /none HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nab"+after,
			"HEAD /none HTTP/1.1\r\nHost: b\r\n\r\n"+after,
			"DELETE /none HTTP/1.1\r\nHost: b\r\n\r\n"+after,
			"PUT /r403 HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nab"+after,
			"POST /posted HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello"+after,
			"GET /none HTTP/1.1\r\nHost: b\r\nIf-None-Match: *\r\nRange: bytes=0-1\r\n\r\n"+after,
			"GET /r403 HTTP/1.1\r\nHost: b\r\nIf-None-Match: *\r\nRange: bytes=0-1\r\n\r\n"+after,
			"GET /%00 HTTP/1.1\r\nHost: b\r\n\r\n",
			"GET /"+strings.Repeat("a", 9000)+" HTTP/1.1\r\nHost: b\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: b\r\nX: "+strings.Repeat("a", 9000)+"\r\n\r\n",
		),
	},
	{
		name: "locations",
		http: `server {
			listen ADDR;
			root ROOT;
			location / { return 200 "root $uri"; }
			location = / { return 200 "exact root"; }
			location /img/ { return 200 "prefix img"; }
			location ^~ /static/ {
				return 200 "static";
				location ~ \.png$ { return 200 "png in static"; }
			}
			location ~ \.png$ { return 200 "png"; }
			location ~* \.JPG$ { return 200 "jpg"; }
			location ~ ^/user/(\w+)/(?<what>\w+)$ { return 200 "user $1 $what"; }
			location /a {
				return 200 "a";
				location /a/b {
					return 200 "a/b";
					location ~ x { return 200 "x in a/b"; }
					location = /a/b/c { return 200 "a/b/c"; }
				}
				location ~ y { return 200 "y in a"; }
			}
			location ~ xy { return 200 "xy"; }
			location /with%20space { return 200 "escaped"; }
			location "/with space" { return 200 "space"; }
			location /dir/ { }
			location ~ "^/q\d{2}$" { return 200 "quantified"; }
			location ~ "^/(?!not)look" { return 200 "ahead"; }
			location ~ ^/(.)\1$ { return 200 "twins"; }
			location @n { return 200 named; }
		}`,
		files: sidebyside.Files{"dir/index.html": "index\n"},
		raws: gets("/", "//", "/?x", "/x", "/img/", "/img", "/img/a.png", "/img/a.PNG", "/a.JPG", "/a.jpg", "/static/", "/static/a.png",
			"/static/a.jpg", "/static", "/user/joe/edit", "/user/joe/", "/a", "/ab", "/a/b", "/a/b/x", "/a/b/c", "/a/b/y", "/a/y", "/a/xy", "/axy", "/xy",
			"/with%20space", "/with%2520space", "/dir/", "/dir", "/q12", "/q1", "/look", "/notlook", "/aa", "/ab1", "/@n", "@n", "/%40n",
			"/a/../img/", "/a/%2e%2e/img/", "/./a/b", "/a/b/../../..", "/..", "/a/..%2f..", "/a//b", "/a/%2fb", "/%61", "/%6", "/%", "/%zz", "/%00", "/a%00b",
			"/a/b/.", "/a/b/..", "/a/./b", "/.../x", "/a/.../b", "/a/..b", "/a/.b", "/a#frag", "/a%23frag", "/a%3fb", "/a?b?c#d", "/a+b", "/a;b", "/%E4", "/%c3%a4",
			"/a/b//../c", "/a//..//b", "/a/b%2f%2e%2e%2fc", "/a\\..\\b", "/%5c..", "/a/...", "/a/../", "/a/..?x", "/a/.?x", "/.", "/./", "/..a", "/%2e", "/%2e%2e/"),
	},
	{
		name: "server names",
		http: `
			server { listen ADDR; server_name _; return 200 "default $server_name $host"; }
			server { listen ADDR; server_name example.com www.example.com; return 200 "exact $server_name $host"; }
			server { listen ADDR; server_name *.example.com; return 200 "star $server_name $host"; }
			server { listen ADDR; server_name *.b.example.com; return 200 "star b $server_name $host"; }
			server { listen ADDR; server_name .dot.org; return 200 "dot $server_name $host"; }
			server { listen ADDR; server_name mail.*; return 200 "mail $server_name $host"; }
			server { listen ADDR; server_name mail.deep.*; return 200 "mail deep $server_name $host"; }
			server { listen ADDR; server_name ~^(?<sub>\w+)\.re\.net$; return 200 "re $sub $1 $server_name $host"; }
			server { listen ADDR; server_name ~^w\d+\.re\.net$; return 200 "second re"; }
			server { listen ADDR; server_name ""; return 200 "none $server_name $host"; }
			server { listen ADDR; server_name UPPER.example.org; return 200 "upper $server_name $host"; }
			server { listen ADDR; server_name [::1] 10.0.0.1; return 200 "addresses $server_name $host"; }`,
		raws: append(hosts("example.com", "EXAMPLE.com", "www.example.com:8080", "example.com.", "a.example.com", "a.b.example.com", "b.example.com", ".example.com",
			"dot.org", "x.dot.org", "xdot.org", "mail.x", "mail.x.y", "mail.deep.x", "mail", "mail.", "joe.re.net", "w1.re.net", "JOE.re.net", "upper.example.org",
			"[::1]", "[::1]:80", "10.0.0.1", "other", "_", "*.example.com", "x.mail.com", "a.a.a.a.a.example.com"),
			"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: example.com\r\n\r\n", "GET http://dot.org/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"),
	},
	{
		name: "redirects",
		http: `
			server { listen ADDR; server_name a.example.com; root ROOT; location /r { return 301 /to; } }
			server { listen ADDR; server_name b.example.com; root ROOT; port_in_redirect off; location /r { return 301 /to; } }
			server { listen ADDR; server_name c.example.com *.c.example.com; root ROOT; server_name_in_redirect on; location /r { return 301 /to; } }
			server { listen ADDR; server_name d.example.com; root ROOT; absolute_redirect off; location /r { return 301 /to; } }
			server { listen ADDR; server_name e.example.com; root ROOT; server_tokens off; location /r { return 404; } }
			server { listen ADDR; server_name f.example.com; root ROOT; server_tokens build; location /r { return 404; } }
			server { listen ADDR; server_name g.example.com; root ROOT; msie_padding off; location /r { return 404; } }`,
		files: sidebyside.Files{"dir/": "", "sp ace/": "", "q?/": "", "ä/": ""},
		raws: func() (raws []string) {
			for _, h := range []string{"a", "b", "c", "x.c", "d", "e", "f", "g"} {
				for _, target := range []string{"/r", "/dir", "/dir?x=y", "/sp%20ace", "/q%3f", "/%c3%a4", "//dir"} {
					raws = append(raws, "GET "+target+" HTTP/1.1\r\nHost: "+h+".example.com\r\nUser-Agent: Chrome/9\r\nConnection: close\r\n\r\n")
				}
			}
			return append(raws, "GET /dir HTTP/1.0\r\n\r\n", "GET /r HTTP/1.0\r\n\r\n")
		}(),
	},
	{
		name: "bodies and connections",
		http: `
			client_max_body_size 10;
			server {
				listen ADDR; server_name b; root ROOT;
				location /unlimited { client_max_body_size 0; return 200 "fine"; }
				location /none { client_max_body_size 0; }
				location /ret { return 200 "returned"; }
			}
			server { listen ADDR; server_name few; root ROOT; keepalive_requests 2; keepalive_timeout 65s 20s; }
			server { listen ADDR; server_name off; root ROOT; keepalive_timeout 0; }
			server {
				listen ADDR; server_name once; root ROOT;
				location /off { keepalive_timeout 0; error_page 404 /file; }
				location /named { keepalive_timeout 0; error_page 404 @on; }
				location /rewritten { keepalive_timeout 0; rewrite ^ /file; }
				location /try { keepalive_timeout 0; try_files /none /file; }
				location /one { keepalive_requests 1; error_page 404 /file; }
				location @on { return 200 "on again"; }
			}
			server { listen ADDR; server_name slashes; merge_slashes off; location / { return 200 "$uri"; } }`,
		files: sidebyside.Files{"file": "content\n"},
		raws: []string{
			"POST /ret HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n0123456789" + after,
			"POST /ret HTTP/1.1\r\nHost: b\r\nContent-Length: 11\r\n\r\n01234567890" + after,
			"POST /none HTTP/1.1\r\nHost: b\r\nContent-Length: 11\r\n\r\n01234567890" + after,
			"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 11\r\n\r\n01234567890" + after,
			"POST /unlimited HTTP/1.1\r\nHost: b\r\nContent-Length: 11\r\n\r\n01234567890" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n0\r\n\r\n" + after,
			"HEAD /file HTTP/1.1\r\nHost: b\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\n\r\nGET /file HTTP/1.1\r\nHost: b\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nabGET /file HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + after,
			"GET /file HTTP/1.0\r\n\r\n" + after,
			"GET /file HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nConnection: keep-alive, upgrade\r\nUpgrade: websocket\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: few\r\n\r\nGET /file HTTP/1.1\r\nHost: few\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: off\r\n\r\n" + after,
			"GET /off/x HTTP/1.1\r\nHost: once\r\n\r\n" + after, "GET /named/x HTTP/1.1\r\nHost: once\r\n\r\n" + after,
			"GET /rewritten HTTP/1.1\r\nHost: once\r\n\r\n" + after, "GET /try HTTP/1.1\r\nHost: once\r\n\r\n" + after,
			"GET /one/x HTTP/1.1\r\nHost: once\r\n\r\n" + after,
			"GET //a///b HTTP/1.1\r\nHost: slashes\r\n\r\n" + after,
			"GET //a/..//b HTTP/1.1\r\nHost: slashes\r\n\r\n" + after,
			"GET /file\r\n",
			"GET /file\n",
			"GET /missing\r\n",
			"GET  /file  \r\n",
			"HEAD /file\r\n",
			"POST /file\r\n",
			"GET /ret HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nExpect: 200-ok\r\n\r\n" + after,
			"GET /file HTTP/1.0\r\nHost: b\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nIf-Modified-Since: x\r\nIf-Modified-Since: y\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nUser-Agent: x\r\nUser-Agent: y\r\n\r\n" + after,
			"GET /file HTTP/1.1\r\nHost: b\r\nAuthorization: x\r\nAuthorization: y\r\n\r\n" + after,
		},
	},
}

// proxied are error pages around a proxy, and many requests at once.
var proxied = likeness{
	name: "proxy and errors",
	http: `server {
		listen ADDR; server_name b; root ROOT;
		client_max_body_size 100;
		location /dead { proxy_pass http://127.0.0.1:1; error_page 502 =200 /fallback; }
		location /named { proxy_pass http://127.0.0.1:1; error_page 502 = @other; }
		location /page { proxy_pass http://127.0.0.1:1; error_page 502 /50x.html; }
		location /plain { proxy_pass http://127.0.0.1:1; }
		location /passed { proxy_pass http://ADDR/back; error_page 404 /50x.html; }
		location /caught { proxy_pass http://ADDR/back; error_page 404 = /fallback; proxy_intercept_errors on; }
		location /caughtnamed { proxy_pass http://ADDR/back; error_page 404 =203 @other; proxy_intercept_errors on; }
		location /big { proxy_pass http://ADDR/back; error_page 413 = /fallback; }
		location /fallback { return 200 "fallback $request_method $uri $status"; }
		location /back { return 404 "from the back"; }
		location /echo { return 200 "$request_uri"; }
		location @other { return 200 "other $request_method $uri"; }
		location /two { return 200 "two"; }
		location /two/ { proxy_pass http://ADDR/echo/; }
		location = /three { return 200 "three"; }
		location /three/ { proxy_pass http://ADDR/echo/; }
		location /four/ { proxy_pass http://ADDR/echo/; }
	}`,
	files: sidebyside.Files{"50x.html": "broken page\n"},
	raws: append(gets("/dead", "/named", "/page", "/plain", "/passed", "/caught", "/caughtnamed",
		"/two", "/two?x", "/two/", "/two/y", "/three", "/three/", "/four", "/four?x", "/four/", "/fourth"),
		"POST /dead HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc"+after,
		"POST /named HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc"+after,
		"POST /caught HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+after,
		"POST /big HTTP/1.1\r\nHost: b\r\nContent-Length: 300\r\n\r\n"+strings.Repeat("x", 300)+after,
		"HEAD /dead HTTP/1.1\r\nHost: b\r\n\r\n"+after,
		"HEAD /plain HTTP/1.1\r\nHost: b\r\n\r\n"+after,
		"HEAD /passed HTTP/1.1\r\nHost: b\r\n\r\n"+after,
		strings.Repeat("GET /echo/"+strings.Repeat("a", 300)+" HTTP/1.1\r\nHost: b\r\n\r\n", 100)+after,
		strings.Repeat("POST /passed HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello", 20)+after,
		strings.Repeat("POST /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 20)+after,
	),
}

func returns(codes ...int) string {
	var b strings.Builder
	for _, c := range codes {
		text := strconv.Itoa(c)
		b.WriteString("location /r" + text + " { return " + text + "; }\n")
	}
	return b.String()
}

func codes(list ...int) (targets []string) {
	for _, c := range list {
		targets = append(targets, "/r"+strconv.Itoa(c))
	}
	return targets
}

func TestAnswersAreNginxs(t *testing.T) {
	for _, l := range append(likenesses, proxied) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p := sidebyside.Start(t, l.http, l.files)
			for _, raw := range l.raws {
				same(t, p, raw)
			}
		})
	}
}

// Where a head stops to fit is nginx's, to the byte.
func TestHeadsAreTooLargeWhereNginxSaysSo(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		server {
			listen ADDR;
			client_header_buffer_size 128;
			large_client_header_buffers 4 512;
			location / { return 200 "fine"; }
		}`, nil)
	line := func(n int) string { // a request line of n bytes, its end included
		return "GET /" + strings.Repeat("a", n-len("GET / HTTP/1.1\r\n")) + " HTTP/1.1\r\n"
	}
	field := func(n int) string { return "X: " + strings.Repeat("a", n-len("X: \r\n")) + "\r\n" }
	const end = "Host: b\r\nConnection: close\r\n\r\n"
	for n := 505; n <= 520; n++ {
		same(t, p, line(n)+end)
		same(t, p, "GET / HTTP/1.1\r\n"+field(n)+end)
		same(t, p, "GET / HTTP/1.1\r\n"+field(300)+field(n)+end)
	}
	for _, raw := range []string{
		line(100) + end, line(130) + end, line(400) + field(400) + end, line(500) + field(500) + field(500) + end,
		line(500) + field(500) + field(500) + field(500) + field(500) + end,
		"GET / HTTP/1.1\r\n" + strings.Repeat("a", 600) + "\r\n" + end,
		"GET / HTTP/1.1\r\n" + strings.Repeat("a", 600),
		"GET /" + strings.Repeat("a", 600),
		strings.Repeat("\r\n", 1000) + "GET / HTTP/1.1\r\n" + end,
	} {
		same(t, p, raw)
	}
}

// A head has no more fields than max_headers allows; those that are ignored are none.
func TestTooManyFields(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `server { listen ADDR; return 200 "ok\n"; }`, nil)
	few := sidebyside.Start(t, `max_headers 3; server { listen ADDR; return 200 "ok\n"; }`, nil)
	for _, field := range []string{"a: b\r\n", "x_y: ignored\r\n", "Cookie: a=b\r\n"} {
		for n := 998; n <= 999; n++ {
			p.Same("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + strings.Repeat(field, n) + "\r\n")
		}
		for n := 1; n <= 2; n++ {
			few.Same("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + strings.Repeat(field, n) + "\r\n")
		}
	}
}
