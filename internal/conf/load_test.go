package conf

import (
	"os"
	"path/filepath"
	"testing"
)

// testTable is the core with enough of http to have every kind of context and block.
func testTable(t testing.TB) *Table {
	t.Helper()
	http := Group{Module: "ngx_http_core_module", Specs: []Spec{
		{Name: "http", In: Main, Block: true, Inner: HTTP},
		{Name: "server", In: HTTP, Block: true, Inner: Server, Repeat: true},
		{Name: "location", In: Server | Location, Min: 1, Max: 2, Block: true, Inner: Location, Repeat: true},
		{Name: "limit_except", In: Location, Min: 1, Max: AnyArgs, Block: true, Inner: LimitExcept},
		{Name: "if", In: Server, Min: 1, Max: AnyArgs, Block: true, Inner: ServerIf, Repeat: true},
		{Name: "if", In: Location, Min: 1, Max: AnyArgs, Block: true, Inner: LocationIf, Repeat: true},
		{Name: "types", In: HTTPServerLocation, Block: true, Inner: Types, Free: true, Repeat: true},
		{Name: "map", In: HTTP, Min: 2, Max: 2, Block: true, Inner: Map, Free: true, Repeat: true},
		{Name: "upstream", In: HTTP, Min: 1, Max: 1, Block: true, Inner: Upstream, Repeat: true},
		{Name: "server", In: Upstream, Min: 1, Max: AnyArgs, Repeat: true},
		{Name: "listen", In: Server, Min: 1, Max: AnyArgs, Repeat: true, Check: CheckListen},
		{Name: "server_name", In: Server, Min: 1, Max: AnyArgs, Repeat: true},
		{Name: "root", In: HTTPServerLocation | LocationIf, Min: 1, Max: 1},
		{Name: "return", In: Server | Location | ServerIf | LocationIf, Min: 1, Max: 2, Repeat: true},
		{Name: "set", In: Server | Location | ServerIf | LocationIf, Min: 2, Max: 2, Repeat: true},
		{Name: "deny", In: HTTPServerLocation | LimitExcept, Min: 1, Max: 1, Repeat: true},
		{Name: "sendfile", In: HTTPServerLocation, Min: 1, Max: 1, Flag: true},
		{Name: "keepalive_timeout", In: HTTPServerLocation, Min: 1, Max: 2},
		{Name: "send_timeout", In: HTTPServerLocation, Min: 1, Max: 1, Check: CheckTime},
		{Name: "client_max_body_size", In: HTTPServerLocation, Min: 1, Max: 1, Check: CheckOffset},
		{Name: "client_header_timeout", In: HTTP | Server, Min: 1, Max: 1, Check: CheckTime},
		{Name: "sendfile_max_chunk", In: HTTPServerLocation, Min: 1, Max: 1, Check: CheckSize},
		{Name: "keepalive_requests", In: HTTPServerLocation, Min: 1, Max: 1, Check: CheckNumber},
		{Name: "satisfy", In: HTTPServerLocation, Min: 1, Max: 1, Check: CheckEnum("all", "any")},
		{Name: "access_log", In: HTTPServerLocation, Min: 1, Max: AnyArgs, Repeat: true},
		{Name: "error_log", In: HTTPServerLocation, Min: 1, Max: AnyArgs, Repeat: true, Check: CheckErrorLog},
		{Name: "log_format", In: HTTP, Min: 2, Max: AnyArgs, Repeat: true},
	}}
	table, err := NewTable(CoreGroup(), http)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// newPrefix makes a prefix with conf/nginx.conf and other files, named relative to
// conf, and returns its name, with no slash at the end.
func newPrefix(t testing.TB, conf string, others map[string]string) string {
	t.Helper()
	prefix := t.TempDir()
	for _, dir := range []string{"conf", "logs"} {
		if err := os.Mkdir(filepath.Join(prefix, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, prefix, "nginx.conf", conf)
	for name, text := range others {
		put(t, prefix, name, text)
	}
	return prefix
}

func put(t testing.TB, prefix, name, text string) {
	t.Helper()
	file := filepath.Join(prefix, "conf", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mustLoad loads a configuration that has no fault.
func mustLoad(t testing.TB, conf string, others map[string]string) *Config {
	t.Helper()
	c, err := Load(testTable(t), Options{Prefix: newPrefix(t, conf, others)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
