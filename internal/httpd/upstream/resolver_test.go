package upstream_test

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// nameServer answers for "app.test" with 127.0.0.1 and for nothing else. It
// returns its address and counts the questions.
func nameServer(t *testing.T, asked *atomic.Int64) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { pc.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			asked.Add(1)
			if reply := resolve(buf[:n]); reply != nil {
				_, _ = pc.WriteTo(reply, from)
			}
		}
	}()
	return pc.LocalAddr().String()
}

func resolve(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Header.Response, m.Header.RecursionAvailable = true, true
	m.Additionals = nil
	switch {
	case !strings.EqualFold(q.Name.String(), "app.test."):
		m.Header.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	reply, err := m.Pack()
	if err != nil {
		return nil
	}
	return reply
}

func TestNamesInVariablesAreResolved(t *testing.T) {
	var asked atomic.Int64
	dns := nameServer(t, &asked)
	app := servers(t, 1)[0]
	_, port, err := net.SplitHostPort(app)
	if err != nil {
		t.Fatal(err)
	}
	p := sidebyside.Start(t, `
resolver `+dns+` valid=60s ipv6=off;
resolver_timeout 5s;
server { listen ADDR;
	location / { set $backend $arg_h; proxy_pass http://$backend:`+port+`; }
}`, nil)
	for range 3 {
		if a := p.Same(sidebyside.Get("/?h=app.test")); a.Code() != "200" {
			t.Errorf("status %s", a.Code())
		}
		if a := p.Same(sidebyside.Get("/?h=nobody.test")); a.Code() != "502" {
			t.Errorf("status %s for a name that does not exist", a.Code())
		}
	}
	before := asked.Load()
	for range 3 {
		p.Do(sidebyside.Get("/?h=APP.test"))
	}
	if n := asked.Load() - before; n != 0 {
		t.Errorf("%d questions about a name that is known", n)
	}
	nginx, baton := p.Logs("logs/error.log")
	const want = "nobody.test could not be resolved (3: Host not found)"
	if !strings.Contains(nginx, want) || !strings.Contains(baton, want) {
		t.Errorf("no %q in the logs:\n%s\n%s", want, nginx, baton)
	}
}
