package modules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
)

// TestConfigurationsCostWhatTheirSizeSays loads and compiles configurations of one size
// and of eight times that size. Work that grows with the square costs 64 times as much
// then; three times what the size says is allowed for what a machine does meanwhile.
// Processor time is measured, since other programs hardly touch it.
func TestConfigurationsCostWhatTheirSizeSays(t *testing.T) {
	const size, factor = 100, 8
	for name, text := range map[string]func(n int) string{
		"servers": func(n int) string {
			return "allow all;\n" + repeat(n, "server { listen 127.0.0.1:1; server_name s%d.example.com; error_log /tmp/e%[1]d; location / { expires 1h; } location /p/ { proxy_pass http://127.0.0.1:1; } }\n")
		},
		"locations": func(n int) string {
			return "server {\n" + repeat(4*n, "location /l%d/ { root /srv; }\nlocation = /e%[1]d { return 204; }\n") + "}"
		},
		"upstreams": func(n int) string {
			return repeat(4*n, "upstream u%d { server 127.0.0.1:1; }\n") + "server { " + repeat(n, "location /l%d/ { proxy_pass http://u%[1]d; }\n") + "}"
		},
		"addresses": func(n int) string { return repeat(n, "server { listen 127.0.0.1:%d; access_log /tmp/a%[1]d; }\n") },
		"types": func(n int) string {
			return "server { types { " + repeat(5*n, "text/x%d x%[1]d;\n") + "} " + repeat(n, "location /l%d/ { }\n") + "}"
		},
	} {
		t.Run(name, func(t *testing.T) {
			small := min(compileTime(t, text(size)), compileTime(t, text(size)), compileTime(t, text(size)))
			large := compileTime(t, text(size*factor))
			t.Logf("%v for one, %v for %d times the size", small, large, factor)
			if large > 3*factor*small {
				t.Errorf("%d times the size costs %.0f times the processor time", factor, float64(large)/float64(small))
			}
		})
	}
}

// repeat formats text with the numbers from 1 to n.
func repeat(n int, text string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, text, i+1)
	}
	return b.String()
}

// compileTime is the processor time that a configuration with http as its http block takes.
func compileTime(t *testing.T, http string) time.Duration {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte("events {}\nhttp {\n"+http+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := Table()
	if err != nil {
		t.Fatal(err)
	}
	before := processorTime(t)
	c, err := conf.Load(table, conf.Options{Prefix: dir, File: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := httpd.Compile(c, All(), "baton/0"); err != nil {
		t.Fatal(err)
	}
	return processorTime(t) - before
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
