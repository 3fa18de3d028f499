package upstream_test

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed/nameserver"
)

// behindNames starts both servers before one that answers on any address of this machine,
// whose host is the argument h.
func behindNames(t *testing.T, resolver string) *sidebyside.Pair {
	t.Helper()
	_, port, err := net.SplitHostPort(servers(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	return sidebyside.Start(t, `
log_format up '$request_uri $status $upstream_addr';
access_log logs/up.log up;
resolver `+resolver+`;
resolver_timeout 20s;
server { listen ADDR;
	location / { proxy_pass http://$arg_h:`+port+`; }
	location /try/ { proxy_pass http://$arg_h:`+sidebyside.ClosedPort(t)[len("127.0.0.1:"):]+`; }
}`, nil)
}

// zone has a name for each way in which servers answer.
func zone() nameserver.Zone {
	z := nameserver.Zone{
		"app.test":                        {A: []string{"127.0.0.1"}},
		"alias.test":                      {Alias: "app.test"},
		"alias2.test":                     {Alias: "alias.test"},
		"whole.test":                      {Alias: "elsewhere.test", A: []string{"127.0.0.1"}},
		"astray.test":                     {Alias: "nobody.test"},
		"loop.test":                       {Alias: "loop.test"},
		"root.test":                       {Alias: "."},
		"long.test":                       {Alias: strings.Repeat("x", 63) + ".test"},
		strings.Repeat("x", 63) + ".test": {A: []string{"127.0.0.1"}},
		"empty.test":                      {},
		"fails.test":                      {Code: 2},
		"refuse.test":                     {Code: 5},
		"stream.test":                     {A: []string{"127.0.0.1"}, Stream: true},
		"both.test":                       {A: []string{"127.0.0.2", "127.0.0.3"}, AAAA: []string{"::1"}},
		"six.test":                        {AAAA: []string{"::1"}},
		// What no real server says, and nginx has an order of its own for.
		"four-fails.test": {AAAA: []string{"::1"}, CodeA: 2},
		"six-fails.test":  {A: []string{"127.0.0.1"}, CodeAAAA: 2},
	}
	// A chain of as many aliases as are followed, and one more.
	for i := range 51 {
		z["chain"+strconv.Itoa(i)+".test"] = nameserver.Entry{Alias: fmt.Sprintf("chain%d.test", i+1)}
	}
	z["chain51.test"] = nameserver.Entry{A: []string{"127.0.0.1"}}
	return z
}

func TestNamesAreResolvedAsByNginx(t *testing.T) {
	t.Parallel()
	z := zone()
	p := behindNames(t, nameserver.Serve(t, z).Addr)
	for _, c := range []struct{ name, code string }{
		{"app.test", "200"}, {"APP.test", "200"}, {"app.test.", "200"}, {"nobody.test", "502"}, {"alias.test", "200"},
		{"alias2.test", "200"}, {"whole.test", "200"}, {"astray.test", "502"}, {"loop.test", "502"}, {"root.test", "502"},
		{"long.test", "200"}, {"empty.test", "502"}, {"fails.test", "502"}, {"refuse.test", "502"}, {"stream.test", "200"},
		{"four-fails.test", "502"}, {"six-fails.test", "502"}, {"chain1.test", "200"}, {"chain0.test", "502"},
		{"a..test", "502"}, {".test", "502"},
	} {
		for range 2 { // the second time some are known
			if a := p.Same(sidebyside.Get("/?h=" + c.name)); a.Code() != c.code {
				t.Errorf("%s: status %s, want %s", c.name, a.Code(), c.code)
			}
		}
	}
	for _, name := range []string{"both.test", "six.test", "app.test"} {
		p.Same(sidebyside.Get("/try/?h=" + name))
	}
	p.SameLogs("logs/up.log", nil)
	nginx, baton := p.Logs("logs/error.log")
	for _, want := range []string{
		"nobody.test could not be resolved (3: Host not found)", "loop.test could not be resolved (3: Host not found)",
		"fails.test could not be resolved (2: Server failure)", "refuse.test could not be resolved (5: Operation refused)",
	} {
		if !strings.Contains(nginx, want) || !strings.Contains(baton, want) {
			t.Errorf("no %q in the logs:\n%s\n%s", want, nginx, baton)
		}
	}
}
