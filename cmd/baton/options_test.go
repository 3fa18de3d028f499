package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd/modules"
)

func TestParseOptions(t *testing.T) {
	str := func(s string) *string { return &s }
	tests := []struct {
		args []string
		want options
	}{
		{nil, options{}},
		{[]string{"-"}, options{}},
		{[]string{"-tq"}, options{test: true, quiet: true}},
		{[]string{"-t", "-q"}, options{test: true, quiet: true}},
		{[]string{"-T"}, options{test: true, dump: true}},
		{[]string{"-tc", "f"}, options{test: true, conf: str("f")}},
		{[]string{"-tcf"}, options{test: true, conf: str("f")}},
		{[]string{"-sreload"}, options{signal: "reload"}},
		{[]string{"-qs", "stop", "-p/x", "-e", "-v", "-g", ""}, options{quiet: true, signal: "stop",
			prefix: str("/x"), errorLog: str("-v"), globals: str("")}},
		{[]string{"-c", "a", "-c", "b"}, options{conf: str("b")}},
		{[]string{"-V"}, options{version: true, configure: true}},
		{[]string{"-?"}, options{version: true, help: true}},
	}
	for _, tt := range tests {
		got, err := parseOptions(tt.args)
		if err != nil {
			t.Errorf("parseOptions(%q): %v", tt.args, err)
		}
		if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(options{})); d != "" {
			t.Errorf("parseOptions(%q) (-want +got):\n%s", tt.args, d)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("-tc\nfile")
	f.Add("-sreload\n-q")
	f.Fuzz(func(t *testing.T, args string) {
		o, err := parseOptions(strings.Split(args, "\n"))
		if err == nil && (o.dump && !o.test || o.help && !o.version) {
			t.Errorf("%q gave %+v", args, o)
		}
	})
}

func TestBuiltinPaths(t *testing.T) {
	for exe, want := range map[string]string{
		"/srv/web/sbin/nginx": "/srv/web",
		"/usr/sbin/nginx":     "/usr",
		"/sbin/nginx":         "/",
		"/tmp/nginx":          "/usr/local/nginx",
		"":                    "/usr/local/nginx",
	} {
		if got := builtinPaths(exe).prefix; got != want {
			t.Errorf("prefix of %q = %q, want %q", exe, got, want)
		}
	}
	rel, abs := "rel", "/abs/"
	p := paths{prefix: "/old", conf: "c"}
	if got := p.with(options{prefix: &rel}, "/cwd").full("x"); got != "/cwd/rel/x" {
		t.Errorf("file below a relative prefix = %q, want /cwd/rel/x", got)
	}
	if got := p.with(options{prefix: &abs}, "/cwd").full("x"); got != "/abs/x" {
		t.Errorf("file below a prefix with a slash = %q, want /abs/x", got)
	}
	if got := p.full("/x"); got != "/x" {
		t.Errorf("absolute file = %q, want /x", got)
	}
}

func TestConfigureArgumentsTellTheTruth(t *testing.T) {
	p := program{paths: paths{"/p", "c", "i", "e", "h"}}
	table, err := conf.NewTable(conf.Group{Module: "any", Specs: []conf.Spec{
		{Name: "stub_status", In: conf.Location},
		{Name: "proxy_pass", In: conf.Location, Min: 1, Max: 1},
		{Name: "gzip", In: conf.HTTP, Min: 1, Max: 1, Effect: conf.NoEffect, Note: "accepted only"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := p.configureArguments(table)
	want := []string{"--prefix=/p", "--conf-path=c", "--pid-path=i", "--error-log-path=e", "--http-log-path=h",
		"--with-http_stub_status_module"}
	if d := cmp.Diff(want, got[:len(want)]); d != "" {
		t.Errorf("first arguments (-want +got):\n%s", d)
	}
	for _, a := range []string{"--without-http_proxy_module", "--with-http_ssl_module", "--without-http_core_module"} {
		if slices.Contains(got, a) {
			t.Errorf("%s is told of a build that says otherwise", a)
		}
	}
	for _, a := range []string{"--without-http_fastcgi_module", "--without-http_gzip_module", "--without-http_tunnel_module",
		"--without-http_upstream_least_time_module", "--without-http_upstream_sticky_module", "--without-http-cache"} {
		if !slices.Contains(got, a) {
			t.Errorf("%s is not told: %q", a, got)
		}
	}
}

// A sign that is misspelt would make -V lie for ever: nginx's own list has each.
func TestSignsAreDirectivesOfNginx(t *testing.T) {
	table, err := modules.Table()
	if err != nil {
		t.Fatal(err)
	}
	list := string(conf.Document(table))
	for _, m := range append(optionalModules(), defaultModules()...) {
		if !strings.Contains(list, "`"+m.sign+"`") {
			t.Errorf("%s: nginx has no directive %q", m.name, m.sign)
		}
	}
}

func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		args string
		want int
	}{
		{"-v", 0}, {"-h", 0}, {"-x", 1}, {"--no-wait", 1}, {"-s stop --no-wait", 1}, {"help", 0}, {"man", 0},
		{"init", 2}, {"init --nonsense", 2}, {"init a b", 2}, {"man x", 2}, {"init /dev/null/x", 1},
	} {
		var out, err bytes.Buffer
		if got := run(append([]string{"/x/nginx"}, strings.Fields(tt.args)...), &out, &err); got != tt.want {
			t.Errorf("status of %q = %d, want %d; stderr %q", tt.args, got, tt.want, &err)
		}
	}
}

func TestNothingOfAManualPageIsAMacroByAccident(t *testing.T) {
	for in, want := range map[string]string{
		"-t":          `\-t`,
		".x\n'y\n  .": `\&.x` + "\n" + `\&'y` + "\n" + `\&.`,
		`a\b`:         `a\eb`,
	} {
		if got := troff(in); got != want {
			t.Errorf("troff(%q) = %q, want %q", in, got, want)
		}
	}
}
