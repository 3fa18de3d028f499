package conf

import (
	"bytes"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A verdict is what a server says about a configuration: nil, or level and message.
type verdict struct{ level, text string }

// lateFault is what nginx finds when it has said that the syntax is ok.
var lateFault = regexp.MustCompile(`no "events" section|worker_connections are not enough`)

var nginxLine = regexp.MustCompile(`(?s)\[(emerg|crit)\] \d+#\d+: (.*?)\n(?:nginx: configuration file|$)`)

// askNginx returns what nginx -t says.
func askNginx(t *testing.T, prefix, globals string) verdict {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Fatalf("nginx, whose wording is the measure, is not installed: %v", err)
	}
	args := []string{"-t", "-e", "stderr", "-p", prefix, "-c", "conf/nginx.conf"}
	if globals != "" {
		args = append(args, "-g", globals)
	}
	out, err := exec.Command(nginx, args...).CombinedOutput()
	if err == nil {
		return verdict{}
	}
	if !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	// What follows is the machine's fault, such as a log that this user may not open,
	// but for what nginx checks late.
	if bytes.Contains(out, []byte("syntax is ok")) && !lateFault.Match(out) {
		return verdict{}
	}
	m := nginxLine.FindSubmatch(out)
	if m == nil {
		t.Fatalf("nginx failed and gave no reason:\n%s", out)
	}
	return verdict{string(m[1]), string(m[2])}
}

// askUs returns what Load says.
func askUs(t *testing.T, prefix, globals string) verdict {
	t.Helper()
	c, err := Load(testTable(t), Options{Prefix: prefix, Globals: globals, Pid: "logs/pid"})
	if err == nil {
		err = c.CheckEvents()
	}
	if err == nil {
		return verdict{}
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("Load returned %T, want *Error: %v", err, err)
	}
	return verdict{e.Level, e.Error()}
}

// same are configurations that nginx and we must judge alike, word for word.
// The part before "---" is nginx.conf; parts after "--- name" are further files.
var same = []string{
	"", "foo;\n", "events {\n", "}\n", "events {}\n}\n", "events {};", ";", "{", "events {}\n{}", "events {} http { ; }",
	"events {}\nhttp {\n server {\n  foo bar;\n }\n}\n",
	"events {}\nhttp {\n server {\n  listen 8080;\n }\n\n",
	"user www-data\nevents {}", "user www-data", "user \"a", "user 'a\n\n", "user \"a\"b;", "user \"a\"\"b\";", "user 'a'#;", "user \"a\"\\;",
	"env a#b;", "#", "# only\n#", "user #x\n#y\n\nroot root;daemon;", "daemon\noff\n;\n\nfoo;",
	"\xef\xbb\xbfuser a;", "events{}\r\nfoo;\r\n", "events {}\rfoo;\r", "us\x00er a;", "\x7fELF\x02\x01\x01\x00\x00\x00;", "caf\xe9 x;", "daemon \xff\xfe;",
	"foo", "foo ", "foo {", "foo }", "foo bar }", "a}b c;", "daemon off}; ", "daemon o\\ff;", "daemon \"o\\nff\";", "daemon 'o\\tff';", `daemon a\"b;`, `daemon "a\"b";`, `daemon 'a\'b';`, `daemon a\\b;`, `daemon "a\`, `daemon a\`, "daemon a\\\nb;\nfoo;", `daemon "a\xb";`, `daemon \;;`, "daemon a\\",
	"daemon ${x};", "daemon ${x;", "daemon $\\{x;", "daemon a{;", "daemon \"${x\";", "daemon $;", "daemon ${;foo;", "daemon x${y}{", "daemon $${y};", "daemon $a{", "daemon {", "{daemon", "daemon '{';", "daemon \"a\"{",
	"daemon \"a\"); ", "daemon (\"a\");", "daemon 'on');", "daemon 'on')x;",
	"daemon \"multi\nline\nvalue\";\n", "daemon on\n off\n;\n", "foo\nbar\nbaz\n;\n", "\n\nevents\n\n{\n\n x;\n}",
	"daemon yes;", "daemon ON;events{}", "daemon Off;events{}", "daemon;", "daemon on off;", "daemon on {}", "events;", "events x {}", "http;", "http x;",
	"events { server; }", "http { worker_connections 1; }", "events { daemon on; }", "server {}", "events {} server {}", "events {} http { location / {} }", "events{} http { server { server {} } }",
	"pid a b;", "env;", "error_log;", "user;", "user a b c;", "include;", "include a b;", "worker_processes;", "worker_processes 1 2;",
	"daemon off; daemon off;", "daemon off; daemon bad;", "events {} events {}", "events{} http{} http{}", "pid a; pid b;", "events { worker_connections 1; worker_connections 1; }", "worker_processes 1; worker_processes x;", "worker_rlimit_nofile 1; worker_rlimit_nofile 2;", "working_directory /; working_directory /;", "worker_shutdown_timeout 1; worker_shutdown_timeout 1;", "worker_priority 1; worker_priority 1;",
	"worker_processes x;", "worker_processes -1;", "worker_processes 1k;", "worker_processes auto;events{}", "worker_processes 99999999999999999999;", "worker_shutdown_timeout x;", "worker_shutdown_timeout 1y;", "worker_shutdown_timeout 1s1m;", "worker_shutdown_timeout '';", "worker_shutdown_timeout 1h30m;events{}", "worker_shutdown_timeout '1h 30m';events{}", "worker_shutdown_timeout -1;", "worker_shutdown_timeout 5s5;events{}", "worker_shutdown_timeout s5;events{}", "worker_shutdown_timeout s;", "worker_shutdown_timeout ' 5';events{}", "worker_shutdown_timeout '5 5 5';",
	"worker_rlimit_nofile abc;", "worker_rlimit_nofile 1k;", "worker_rlimit_core abc;", "worker_rlimit_core 1g;events{}", "worker_rlimit_core 1t;",
	"events { worker_connections x; }", "events { worker_connections 1k; }", "events { worker_connections -5; }",
	"error_log logs/a foo;", "error_log logs/a debug_x;", "error_log logs/e warn;events{}", "error_log logs/e debug_http;events{}", "error_log stderr;events{}", "error_log logs/e debug info;", "error_log logs/e info info;", "error_log logs/e info debug;", "error_log logs/e debug debug_core;", "error_log logs/e info debug_core;", "error_log logs/e debug_http debug;", "error_log logs/e debug_http debug_http;events{}", "error_log logs/e debug_http info;", "error_log logs/e info; error_log logs/f; events{}",
	"events { use foo; }", "events { use epoll; }", "events { use kqueue; }", "events { accept_mutex_delay x; }", "events { accept_mutex_delay 5ms; accept_mutex on; multi_accept on; }", "events { multi_accept x; }", "events { worker_aio_requests x; }", "events { epoll_events x; }", "events { debug_connection 127.0.0.1; debug_connection ::1; }", "events { use epoll; use epoll; }",
	"timer_resolution x;", "timer_resolution 100ms;events{}", "worker_priority x;", "worker_priority -5;events{}", "worker_priority --5;", "debug_points x;", "debug_points stop;events{}", "pcre_jit x;", "lock_file a;events{}", "lock_file;", "thread_pool a;", "thread_pool a threads=4; thread_pool b threads=2 max_queue=1;events{}", "thread_pool a threads=x;", "thread_pool a threads=0;", "thread_pool a threads=1 max_queue=x;", "thread_pool a foo=1;", "worker_cpu_affinity auto;events{}", "worker_cpu_affinity auto 01;events{}", "worker_cpu_affinity x;", "worker_cpu_affinity 01 1y0;", "worker_cpu_affinity;", "working_directory a;events{}", "load_module;", "env A=b; env ''; env =;events{}",
	"include nope.conf;", "\ninclude a/nope.conf;", "include ./;", "include nope*.conf;events{}", "include [;events{}", "include sub/*/x.conf; events {}", "events {}\ninclude nginx.conf.not\n;",
	"include a.conf;\nfoo;\n--- a.conf\n\nbar;\n", "include a.conf;\n--- a.conf\nevents {\n", "include a.conf;\n--- a.conf\n}\n", "events {\ninclude a.conf;\n}\n--- a.conf\n}\n", "events { include a.conf; }\n--- a.conf\nworker_connections 1;\nfoo;", "include a.conf; daemon on;events{}\n--- a.conf\ndaemon on;", "include a.conf;\nevents {}\n--- a.conf\ndaemon",
	"include d/*.conf;\nevents{}\n--- d/b.conf\nbbb;\n--- d/a.conf\naaa;\n", "include d/*;events{}\n--- d/.hidden\nfoo;\n", "include d/.*n;events{}\n--- d/.hidden\nfoo;\n", "include d/[!b].conf;events{}\n--- d/b.conf\nbbb;\n--- d/c.conf\nccc;", "include d/?.conf;events{}\n--- d/bb.conf\nbbb;", "include */x.conf;\n--- d/x.conf\nddd;\n--- c/x.conf\nccc;", "include d/*;\n--- d/e/f\nfoo;",
	"include sub/a.conf;\n--- sub/a.conf\ninclude b.conf;\n--- b.conf\nfoo;", "include sub/a.conf;\n--- sub/a.conf\ninclude b.conf;\n--- sub/b.conf\nfoo;",
	"include a.conf;\ninclude a.conf;\nevents {}\n--- a.conf\nenv X;\n", "events { include a.conf; }\nhttp { include a.conf; server { listen unix:/tmp/nope; include a.conf; } }\n--- a.conf\n# nothing\n",
	"foo;\nevents {\n", "events {\n foo;\n\"bar", "include a.conf;\nevents {\n--- a.conf\nfoo;",
	"events{} http { types { a b; } server { listen 8080; types { text/html html htm; } } }", "events{} http { types { a { } } }", "events{} http { types { include; } }", "events{} http { types { include a b; } }", "events{} http { types { include a.types; } server { listen 8080; } }\n--- a.types\na b;\n", "events{} http { types { include nope; } }", "events{} http { map $uri $x { a { } } }", "events{} http { map $uri $x { include a.map; default 1; } server { listen 8080; } }\n--- a.map\n~^/x(\\d{2}) y;", "events{} http { map $a { } }",
	"events{} http { server { set $a 1; location / { if ($a) { return 200 \"x;{}\"; } } location ~ \"^/\\d{2}$\" { return 200; } listen 8080; } }",
	"events{} http { server { location ~ ^/\\d{2}$ { return 200; } } }", "events{} http { server { if { } } }", "events{} http { server { if ($a) { root /; } } }", "events{} http { server { location { } } }", "events{} http { server { location = / b { } } }",
	"events{} http { server { location / { limit_except GET { root /; } } } }", "events{} http { server { location / { limit_except GET { deny all; } } listen 8080; } }", "events{} http { server { location / { limit_except { deny all; } } } }", "events{} http { upstream { } }", "events{} http { upstream a { listen 80; } }", "events{} http { sendfile maybe; }", "events{} http { sendfile on; sendfile off; }",
	inHTTP("client_max_body_size 1x"), inHTTP("client_max_body_size 1G"), inHTTP("client_max_body_size ''"), inHTTP("client_max_body_size 99999999999g"), inHTTP("client_max_body_size k"), inHTTP("client_header_timeout 1ms1s"), inHTTP("client_header_timeout 1d1d"), inHTTP("client_header_timeout 1M"), inHTTP("client_header_timeout 5ms"), inHTTP("client_header_timeout 5s5ms"), inHTTP("client_header_timeout 99999999999999999999s"), inHTTP("sendfile_max_chunk 1g"), inHTTP("sendfile_max_chunk 1m"), inHTTP("sendfile_max_chunk -1"), inHTTP("keepalive_requests 1k"), inHTTP("keepalive_requests 12"), inHTTP("satisfy some"), inHTTP("satisfy ANY"), inHTTP("error_log x y"), inHTTP("sendfile on; foo"), inHTTP("satisfy some; foo"),
	listens("99999"), listens("0"), listens("-1"), listens("127.0.0.1:0"), listens("127.0.0.1:99999"), listens("127.0.0.1:x"), listens(":80"), listens("127.0.0.1:"), listens("a/b"), listens("/x"), listens("127.0.0.1:80/x"), listens("127.0.0.1?x"), listens("[::1]"), listens("[::1]:0"), listens("[::1]x"), listens("[::1"), listens("[]:80"), listens("[zz]:80"), listens("[::1]:8080/"), listens("unix:"), listens("unix:" + strings.Repeat("x", 120)), listens("no-such-host.invalid:80"), listens("no-such-host.invalid"), listens("''"),
	listens("8080 foo"), listens("8080 backlog=x"), listens("8080 backlog=0"), listens("8080 rcvbuf=x"), listens("8080 sndbuf="), listens("8080 ipv6only=x"), listens("8080 ipv6only=ox"), listens("8080 so_keepalive=x"), listens("8080 so_keepalive=::"), listens("8080 so_keepalive=30m::10"), listens("8080 fastopen=x"), listens("8080 backlog"), listens("8080 default_server"), listens("8080 default"), listens("8080 so_keepalive=1:2:x"), listens("8080 so_keepalive="), listens("90-80"), listens("8080-99999"), listens("8080-x"), listens("1-2-3"),
	listens("8080", "8080"), listens("8080", "*:8080"), listens("8080", "0.0.0.0:8080"), listens("8080 bind", "8080 backlog=5"), listens("8080 default_server", "8080 default_server"), listens("127.0.0.1:8080 default_server", "localhost:8081 default_server"),
	"events{}\nhttp { server { listen 8080; } server {\n listen 8080 default_server; }\nserver { listen *:8080 default_server; } }", "events{}\nhttp { server { listen 8080 backlog=5; }\nserver { listen 8080 reuseport; } }", "events{}\nhttp { server { listen 8080 backlog=5; }\nserver { listen 8080; } }", "events{}\nhttp { server { listen 8080 backlog=5; }\nserver { listen 8080 default_server; } server { listen [::]:8080; listen 127.0.0.1:8080; } }", "events{}\nhttp { server { listen [::]:8080;\nlisten [::0]:8080; } }", "events{}\nhttp { server { listen unix:/tmp/a;\nlisten unix:/tmp/a; } }",
	"events {} env " + strings.Repeat("x", 4095) + ";", "daemon " + strings.Repeat("x", 4096) + ";", "daemon off;\ndaemon \"" + strings.Repeat("x\n", 4096) + "\";", "daemon '" + strings.Repeat("x", 5000), "events {} env \"" + strings.Repeat("y", 4094) + "\";", "env \"" + strings.Repeat("y", 4095) + "\";", "daemon \"" + strings.Repeat("y", 4096) + "\";", "daemon " + strings.Repeat("x", 5000),
	"events {}\n#" + strings.Repeat("c", 4094) + "\nfoo;", "events {}\n  #" + strings.Repeat("c", 4095) + "\nfoo;", "events {}\n  #" + strings.Repeat("c", 4095), "events {}\n  #" + strings.Repeat("c", 9000),
	"daemon on;" + strings.Repeat(" ", 5000) + "foo;", "daemon on;\n" + strings.Repeat("env a; # b\n", 1000) + "foo;",
}

// listens is a configuration with a server that has these listen directives.
func listens(listen ...string) string {
	return "events {}\nhttp {\n server {\n  listen " + strings.Join(listen, ";\n  listen ") + ";\n }\n}\n"
}

// inHTTP is a configuration with a directive in http.
func inHTTP(directive string) string {
	return "events {}\nhttp {\n " + directive + ";\n server { listen 127.0.0.1:8080; }\n}\n"
}

func TestErrorsAreWordedAsNginxWordsThem(t *testing.T) {
	t.Parallel()
	for i, text := range same {
		parts := strings.Split(text, "\n--- ")
		others := make(map[string]string)
		for _, p := range parts[1:] {
			name, content, _ := strings.Cut(p, "\n")
			others[name] = content
		}
		prefix := newPrefix(t, parts[0], others)
		// nginx's own pid file is in a place that is not ours to touch.
		globals := ""
		if !strings.Contains(text, "pid ") {
			globals = "pid logs/pid;"
		}
		want, got := askNginx(t, prefix, globals), askUs(t, prefix, globals)
		if got != want {
			t.Errorf("%d: %.200q\n got %.300q\nwant %.300q", i, text, got, want)
		}
	}
}

func TestCommandLineErrorsAreWordedAsNginxWordsThem(t *testing.T) {
	t.Parallel()
	prefix := newPrefix(t, "events {}\ndaemon off;\n", nil)
	for _, globals := range []string{
		"foo;", "daemon off;", "daemon off", "daemon", "events {}", "foo {", "}", "\"x", "pid a b;", "worker_processes x;", "daemon no;",
		"include nope.conf;", "pid logs/pid; # comment", "pid logs/pid; foo", ";", "pid logs/pid;\n\nworker_processes x;", "daemon\n\n;",
		"env " + strings.Repeat("x", 5000) + "; pid logs/pid;",
	} {
		want, got := askNginx(t, prefix, globals), askUs(t, prefix, globals)
		if got != want {
			t.Errorf("-g %.100q\n got %q\nwant %q", globals, got, want)
		}
	}
}

func TestMissingMainFileIsWordedAsNginxWordsIt(t *testing.T) {
	t.Parallel()
	prefix := t.TempDir()
	if want, got := askNginx(t, prefix, ""), askUs(t, prefix, ""); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDumpIsWhatNginxDumps(t *testing.T) {
	t.Parallel()
	prefix := newPrefix(t, "events {}\npid logs/pid;\ninclude b.conf;\ninclude d/*;\ninclude a.conf;\ninclude b.conf;",
		map[string]string{"a.conf": "env A;\n", "b.conf": "env B;\ninclude c.conf;", "c.conf": "", "d/y": "# y\r\n", "d/x": "# x"})
	cmd := exec.Command("nginx", "-T", "-q", "-e", "stderr", "-p", prefix, "-c", "conf/nginx.conf")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	want, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	c, err := Load(testTable(t), Options{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Dump(); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
