package conf

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProcess(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, `
		user root wheel; worker_processes auto; worker_rlimit_nofile 4096; worker_rlimit_core 1g;
		worker_shutdown_timeout 1m30s; upgrade_timeout 5s; pid run/baton.pid; daemon off; master_process off;
		error_log logs/e debug_http; error_log stderr crit; error_log /var/x warn; env TZ; env A=b; working_directory /tmp/;
		events { worker_connections 7; }`, nil)
	p := c.options.Prefix
	want := Process{
		User: "root", Group: "wheel", Workers: 0, Nofile: 4096, Core: 1 << 30,
		ShutdownTimeout: 90 * time.Second, UpgradeTimeout: 5 * time.Second, Pid: p + "/run/baton.pid",
		ErrorLogs: []ErrorLog{{p + "/logs/e", "debug"}, {"stderr", "crit"}, {"/var/x", "warn"}},
		Env:       []string{"TZ", "A=b"}, WorkingDirectory: "/tmp/", WorkerConnections: 7,
	}
	if !c.Snapshot.root {
		want.User, want.Group = "nobody", ""
	}
	if diff := cmp.Diff(want, c.Process); diff != "" {
		t.Error(diff)
	}
}

func TestProcessDefaults(t *testing.T) {
	t.Parallel()
	prefix := newPrefix(t, "events {}", nil)
	for _, c := range []struct {
		o             Options
		pid, errorLog string
	}{
		{Options{Prefix: prefix}, prefix + "/logs/nginx.pid", prefix + "/logs/error.log"},
		{Options{Prefix: prefix + "/", Pid: "/run/b.pid", ErrorLog: "stderr"}, "/run/b.pid", "stderr"},
	} {
		got, err := Load(testTable(t), c.o)
		if err != nil {
			t.Fatal(err)
		}
		want := Process{
			User: "nobody", Workers: 1, Core: -1, UpgradeTimeout: time.Minute, Pid: c.pid,
			ErrorLogs: []ErrorLog{{c.errorLog, "error"}}, Daemon: true, Master: true, WorkerConnections: 512,
		}
		if diff := cmp.Diff(want, got.Process); diff != "" {
			t.Error(diff)
		}
	}
}

func TestUserOfAnOrdinaryUserIsAWarning(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, "events {}\nuser root root;\n", nil)
	c.Snapshot.root = false
	again, err := c.Snapshot.Load(testTable(t))
	if err != nil {
		t.Fatal(err)
	}
	want := `the "user" directive makes sense only if the master process runs with super-user privileges, ignored in ` + c.File + ":2"
	if !slices.Equal(again.Warnings, []string{want}) || again.Process.User != "nobody" {
		t.Errorf("warnings %q, user %q", again.Warnings, again.Process.User)
	}
}

func TestLogsAreThoseOfEveryLevelOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		http string
		want []string
	}{
		{"", []string{"/err"}},
		{"server { listen unix:/s; }", []string{"/err", "P/logs/access.log"}},
		{"server { listen unix:/s; access_log off; }", []string{"/err"}},
		{"access_log a; server { listen unix:/s; }", []string{"/err", "P/a"}},
		{
			"access_log /acc; error_log b; server { listen unix:/s; error_log /err warn; access_log /acc; access_log logs/$host.log; access_log syslog:server=x; location / { error_log stderr; access_log c main; location /x { access_log d; error_log b; } } }",
			[]string{"/err", "/acc", "P/b", "P/c", "P/d"},
		},
	} {
		conf := mustLoad(t, "events {}\nerror_log /err;\nhttp {\n"+c.http+"\n}", nil)
		var got []string
		for _, l := range conf.Logs {
			got = append(got, strings.Replace(l, conf.options.Prefix, "P", 1))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s\n got %q\nwant %q", c.http, got, c.want)
		}
	}
}

func TestScopesInherit(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, `events {}
http {
  sendfile on; client_max_body_size 1g; send_timeout 5; keepalive_requests 9; satisfy ANY; sendfile_max_chunk 1m;
  server { sendfile OFF; root /a; listen unix:/s;
    location /x { send_timeout 1m; deny a; deny b; }
  }
}`, nil)
	h := c.HTTP()
	server := h.In(Server, h.Own("server")[0])
	location := server.In(Location, server.Own("location")[0])
	flag, err := location.Flag("sendfile", true)
	if err != nil || flag {
		t.Errorf("sendfile = %v, %v, want off from the server", flag, err)
	}
	if d, err := location.Time("send_timeout", 0); err != nil || d != time.Minute {
		t.Errorf("send_timeout = %v, %v", d, err)
	}
	if d, err := server.Time("send_timeout", 0); err != nil || d != 5*time.Second {
		t.Errorf("send_timeout of the server = %v, %v", d, err)
	}
	if n, err := location.Offset("client_max_body_size", 0); err != nil || n != 1<<30 {
		t.Errorf("client_max_body_size = %v, %v", n, err)
	}
	if n, err := location.Size("sendfile_max_chunk", 0); err != nil || n != 1<<20 {
		t.Errorf("sendfile_max_chunk = %v, %v", n, err)
	}
	if n, err := location.Int("keepalive_requests", 0); err != nil || n != 9 {
		t.Errorf("keepalive_requests = %v, %v", n, err)
	}
	if v, err := location.Enum("satisfy", "all", "all", "any"); err != nil || v != "any" {
		t.Errorf("satisfy = %v, %v", v, err)
	}
	if got := location.String("root", "html"); got != "/a" {
		t.Errorf("root = %q", got)
	}
	if got, err := location.Seconds("keepalive_timeout", 75*time.Second); err != nil || got != 75*time.Second {
		t.Errorf("keepalive_timeout = %v, %v, want the default", got, err)
	}
	if got := len(location.All("deny")); got != 2 {
		t.Errorf("%d deny, want 2", got)
	}
	if loc := location.Self; loc.Line != 5 || loc.EndLine != 5 || server.Self.Line != 4 || server.Self.EndLine != 6 {
		t.Errorf("location at %d-%d, server at %d-%d", loc.Line, loc.EndLine, server.Self.Line, server.Self.EndLine)
	}
}

func TestUnsupportedDirectivesSaySo(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"http { server { ssl_certificate x; } }":  `directive "ssl_certificate" is not supported by baton (nginx has it in ngx_http_ssl_module) in F:2`,
		"stream { server { } }":                   `directive "stream" is not supported by baton (nginx has it in ngx_stream_core_module) in F:2`,
		"http { js_import x; }":                   `directive "js_import" is not supported by baton (nginx has it in the njs module) in F:2`,
		"http { server { ssl on; } }":             `directive "ssl" is not supported by baton (nginx has it in its older releases) in F:2`,
		"http { upstream u { least_conn; } }":     `directive "least_conn" is not supported by baton (nginx has it in ngx_http_upstream_module) in F:2`,
		"http { server { least_conn; } }":         `"least_conn" directive is not allowed here in F:2`,
		"http { server { worker_processes 1; } }": `"worker_processes" directive is not allowed here in F:2`,
		"http { server { ssl_certificat x; } }":   `unknown directive "ssl_certificat" in F:2`,
	} {
		prefix := newPrefix(t, "events {}\n"+text, nil)
		_, err := Load(testTable(t), Options{Prefix: prefix})
		want = strings.Replace(want, "F", prefix+"/conf/nginx.conf", 1)
		if err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, conf string
		others     map[string]string
		want       string
	}{
		{"a file that includes itself", "include nginx.conf;", nil, "files include each other more than 100 deep"},
		{"two files that include each other", "include a;", map[string]string{"a": "include nginx.conf;"}, "files include each other more than 100 deep"},
		{"blocks in blocks", strings.Repeat("http {", 100_000), nil, `"http" directive is not allowed here`},
		{"no workers", "events {} worker_processes 0;", nil, `"worker_processes" directive invalid value`},
		{"syslog", "events {} error_log syslog:server=x;", nil, `"syslog:" in the "error_log" directive is not supported by baton`},
	} {
		_, err := Load(testTable(t), Options{Prefix: newPrefix(t, c.conf, c.others)})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// TestIncludesAreCounted: every file includes the next one four times.
func TestIncludesAreCounted(t *testing.T) {
	t.Parallel()
	s := newSnapshot(Options{Prefix: "/p"}, true)
	for i := range 30 {
		next := "include " + strconv.Itoa(i+1) + ";"
		if err := s.add(file{name: "/p/" + strconv.Itoa(i), data: []byte(strings.Repeat(next, 4))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.add(file{name: "/p/30"}); err != nil {
		t.Fatal(err)
	}
	c := &Config{File: "/p/0", files: &reader{into: newSnapshot(s.options, true), from: s}}
	ch := &checker{table: testTable(t), config: c, left: 200}
	if err := ch.run(); err == nil || !strings.HasPrefix(err.Error(), "too many included files") {
		t.Errorf("got %v", err)
	}
}

func TestTableRefusesContradictions(t *testing.T) {
	t.Parallel()
	ok := Spec{Name: "a", In: HTTP, Min: 1, Max: 1}
	for name, specs := range map[string][]Spec{
		"same context twice":     {ok, {Name: "a", In: HTTP | Server, Min: 1, Max: 1}},
		"no name":                {{In: HTTP}},
		"no context":             {{Name: "a"}},
		"more at least":          {{Name: "a", In: HTTP, Min: 2, Max: 1}},
		"flag without argument":  {{Name: "a", In: HTTP, Flag: true}},
		"block without inside":   {{Name: "a", In: HTTP, Block: true}},
		"inside without block":   {{Name: "a", In: HTTP, Inner: Server}},
		"free without block":     {{Name: "a", In: HTTP, Free: true}},
		"no effect, no note why": {{Name: "a", In: HTTP, Effect: NoEffect}},
	} {
		if _, err := NewTable(Group{Module: "m", Specs: specs}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	table, err := NewTable(Group{Module: "m", Specs: []Spec{ok, {Name: "a", In: Upstream}}})
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := table.Lookup("a", Upstream); !ok || s.Max != 0 {
		t.Errorf("a in upstream = %+v, %v", s, ok)
	}
	if _, ok := table.Lookup("a", Server); ok {
		t.Error("a is found in server")
	}
}

func TestDocumentNamesEveryDirective(t *testing.T) {
	t.Parallel()
	doc := string(Document(testTable(t)))
	for name := range listNginx() {
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("%s is not in the document", name)
		}
	}
	for _, row := range []string{
		"| `use` | events | accepted without effect | The Go runtime waits for events itself, with epoll. |",
		"| `upgrade_timeout` | main | supported | Baton's own: ",
		"| `listen` | server | supported |  |",
		"| `aio` | http, server, location | not supported |  |",
		"| `access_log` | http, server, location, location-if, limit_except | supported | Not in if in location, limit_except. |",
		"\nNot supported: `js_",
	} {
		if strings.Contains(doc, row) == strings.Contains(row, "js_") {
			t.Errorf("row %s", row)
		}
	}
}
