package conf

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	crossplane "github.com/nginxinc/nginx-go-crossplane"
	"go.uber.org/goleak"
)

// A plain is what both parsers tell of a directive.
type plain struct {
	Name  string
	Args  []string
	Block []plain
}

func plainOurs(ds []*Directive) (ps []plain) {
	for _, d := range ds {
		ps = append(ps, plain{d.Name, d.Args, plainOurs(d.Block)})
	}
	return ps
}

func plainTheirs(ds crossplane.Directives) (ps []plain) {
	for _, d := range ds {
		p := plain{d.Directive, d.Args, plainTheirs(d.Block)}
		if len(p.Args) == 0 {
			p.Args = nil
		}
		ps = append(ps, p)
	}
	return ps
}

// TestOrdinaryTextIsReadAsCrossplaneReadsIt: without what the two lexers disagree
// on, our spelling must change nothing of crossplane's result.
func TestOrdinaryTextIsReadAsCrossplaneReadsIt(t *testing.T) {
	t.Parallel()
	const text = `
user  www-data; # the user
worker_processes auto;
events { worker_connections 768; # multi_accept on;
}
http {
	log_format main '$remote_addr - $remote_user [$time_local] "$request" '
	                '$status "$http_user_agent"';
	map $http_upgrade $connection_upgrade { default upgrade; '' close; }
	server {
		listen 80 default_server; listen [::]:80;
		server_name ~^(?<sub>\w+)\.example\.org$ "";
		location ~* \.(gif|jpg)$ { expires 30d; }
		location / { try_files $uri $uri/ /index.html =404; set $a "${b}c"; }
		location @x { return 301 https://$host$request_uri; }
	}
	upstream u { server 127.0.0.1:1 weight=5; keepalive 16; }
}
`
	ours, fault := parseText("f", []byte(text))
	if fault != nil {
		t.Fatal(fault)
	}
	theirs, err := crossplane.Parse("f", &crossplane.ParseOptions{
		SingleFile: true, StopParsingOnError: true,
		Open: func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(text))), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plainTheirs(theirs.Config[0].Parsed), plainOurs(ours)); diff != "" {
		t.Error(diff)
	}
}

// TestNothingRunsAfterAFault: crossplane's lexer is a goroutine, which must not be
// left behind half way. Not parallel: other tests have goroutines of their own.
func TestNothingRunsAfterAFault(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, text := range same {
		_, _ = parseText("f", []byte(text))
	}
}

// TestWordsSurviveTheSpelling: every byte, alone and in company.
func TestWordsSurviveTheSpelling(t *testing.T) {
	t.Parallel()
	words := []string{"", "#", "if", "include", "map", "}", "a\nb", "\xff\xfe", "\U0000E100", "é"}
	for b := range 256 {
		words = append(words, string([]byte{byte(b)}), string([]byte{'a', byte(b), 'z'}))
	}
	for _, w := range words {
		var out bytes.Buffer
		spell(&out, w)
		if got := unspell(out.String()); got != w {
			t.Errorf("%q became %q by %q", w, got, out.String())
		}
	}
}

// FuzzParseText: crossplane gets only what it reads as we mean it, so that it never
// has a fault of its own to report.
func FuzzParseText(f *testing.F) {
	for _, text := range same {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, fault := parseText("f", text)
		if fault != nil && (fault.File != "f" || fault.Line < 1) {
			t.Errorf("fault without a place: %v", fault)
		}
	})
}

// TestArgumentsReachNginxAlike lets nginx itself print what it understood.
func TestArgumentsReachNginxAlike(t *testing.T) {
	t.Parallel()
	for _, word := range []string{
		`a\tb`, `"a\tb"`, `'a\nb'`, `a\"b`, `"a\"b"`, `'a"b'`, `"a'b"`, `a\\b`, `"a\\"`, `'\\\''`, `a\xb`, `a}b`, `a#b`, `"#"`, `"{;}"`,
		`a\;b`, `a\ b`, `a\{b`, "\"two\nlines\"", "a\\\nb", `"x\\\"y"`, `a"b"c`, `a'b`, "caf\xe9", "\xe2\x82\xac", `"\\t"`, `\a`, `\\`, `"\r"`, `${x}`, `a$b`, `"$"`, `x=\$y`,
	} {
		// nginx names the value in its refusal of the flag.
		prefix := newPrefix(t, "events {}\ndaemon "+word+";\n", nil)
		if want, got := askNginx(t, prefix, ""), askUs(t, prefix, ""); got != want || want.text == "" {
			t.Errorf("%s\n got %q\nwant %q", word, got, want)
		}
	}
}
