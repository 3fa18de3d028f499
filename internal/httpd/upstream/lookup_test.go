package upstream

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/nameserver"
)

// resolver asks servers, and waits for a second of theirs no longer than resend.
func resolver(t *testing.T, resend time.Duration, servers ...*nameserver.Server) *Resolver {
	t.Helper()
	ns := newNames()
	ns.resend = resend
	for _, s := range servers {
		ns.servers = append(ns.servers, s.Addr)
	}
	t.Cleanup(ns.close)
	return &Resolver{ns, time.Minute}
}

// texts resolves a name: its addresses, or the reason why there are none.
func texts(rs *Resolver, name string, faults *[]string) string {
	ips, code := rs.resolve(name, func(text string) {
		if faults != nil {
			*faults = append(*faults, text)
		}
	})
	if code != 0 {
		return codeText(code)
	}
	return strings.Join(sorted(ips), " ")
}

func sorted(ips []netip.Addr) (list []string) {
	for _, ip := range ips {
		list = append(list, ip.String())
	}
	slices.Sort(list)
	return list
}

func expect(t *testing.T, rs *Resolver, name, want string) {
	t.Helper()
	if got := texts(rs, name, nil); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

const soon = 20 * time.Millisecond

func TestAnswersAreKeptAsLongAsTheySay(t *testing.T) {
	t.Parallel()
	server := nameserver.Serve(t, nameserver.Zone{
		"hour.test":  {A: []string{"192.0.2.1"}},
		"never.test": {A: []string{"192.0.2.1"}, TTL: nameserver.NoTTL},
		"alias.test": {Alias: "hour.test"},
		// Of several records the one that may be kept least counts.
		"short.test": {Alias: "brief.test", TTL: nameserver.NoTTL},
		"brief.test": {A: []string{"192.0.2.1"}, TTL: nameserver.NoTTL},
	})
	rs := resolver(t, time.Minute, server)
	asked := func(name string, want ...string) {
		t.Helper()
		expect(t, rs, name, "192.0.2.1")
		got := server.Asked()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("for %s it was asked %q, want %q", name, got, want)
		}
	}
	asked("hour.test", "udp hour.test A", "udp hour.test AAAA")
	asked("hour.test")
	asked("alias.test", "udp alias.test A", "udp alias.test AAAA")
	asked("alias.test")
	for range 2 {
		asked("never.test", "udp never.test A", "udp never.test AAAA")
		asked("short.test", "udp brief.test A", "udp brief.test AAAA", "udp short.test A", "udp short.test AAAA")
	}
	rs.valid = time.Hour
	asked("never.test", "udp never.test A", "udp never.test AAAA")
	asked("never.test")
}

func TestErrorsAreNotKept(t *testing.T) {
	t.Parallel()
	server := nameserver.Serve(t, nameserver.Zone{"fails.test": {Code: 2}})
	rs := resolver(t, time.Minute, server)
	expect(t, rs, "fails.test", "2: Server failure")
	expect(t, rs, "gone.test", "3: Host not found")
	for _, name := range []string{"fails.test", "gone.test"} {
		server.Set(name, nameserver.Entry{A: []string{"192.0.2.1"}})
		expect(t, rs, name, "192.0.2.1")
	}
}

func TestServersTakeTurns(t *testing.T) {
	t.Parallel()
	zone := nameserver.Zone{}
	for _, name := range []string{"a.test", "b.test", "c.test", "d.test"} {
		zone[name] = nameserver.Entry{A: []string{"192.0.2.1"}}
	}
	one, two := nameserver.Serve(t, zone), nameserver.Serve(t, zone)
	rs := resolver(t, time.Minute, one, two)
	for _, name := range []string{"a.test", "b.test", "c.test", "d.test"} {
		expect(t, rs, name, "192.0.2.1")
	}
	for _, s := range []*nameserver.Server{one, two} {
		if asked := s.Asked(); len(asked) != 4 {
			t.Errorf("of 8 questions one server got %q", asked)
		}
	}
}

// What is no good answer is as none: the next server is asked.
func TestNextServerIsAsked(t *testing.T) {
	t.Parallel()
	good := nameserver.Entry{A: []string{"192.0.2.1"}}
	bend := func(f func(b []byte) []byte) nameserver.Entry {
		e := good
		e.Bend = f
		return e
	}
	for name, c := range map[string]struct {
		first nameserver.Entry
		fault string
	}{
		"silent": {nameserver.Entry{Silent: true}, ""},
		"stream": {nameserver.Entry{Silent: false, Stream: true, Bend: func(b []byte) []byte {
			if b[2]&2 != 0 {
				return b // of which the whole is not to be had
			}
			return b[:5]
		}}, ""}, // the other server may well answer first
		"other":    {bend(func(b []byte) []byte { b[0] ^= 1; return b }), "wrong ident "},
		"format":   {nameserver.Entry{Code: 1}, "DNS error (1: Format error), query id:"},
		"strange":  {nameserver.Entry{Code: 9}, "DNS error (9: Unknown error), query id:"},
		"question": {bend(func(b []byte) []byte { b[2] &^= 0x80; return b }), "invalid UDP DNS response "},
		"short":    {bend(func(b []byte) []byte { return b[:len(b)-1] }), "short DNS response"},
		"tiny":     {bend(func(b []byte) []byte { return b[:3] }), "short DNS response"},
		"name":     {bend(func(b []byte) []byte { b[13] ^= 1; return b }), "unexpected DNS response for "},
		"class":    {bend(func(b []byte) []byte { b[len(b)-11]++; return b }), "unexpected RR class 2 in DNS response"},
		"two":      {bend(func(b []byte) []byte { b[5] = 2; return b }), "invalid number of questions in DNS response"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := nameserver.Serve(t, nameserver.Zone{"app.test": c.first})
			rs := resolver(t, soon, bad, nameserver.Serve(t, nameserver.Zone{"app.test": good}))
			rs.ipv6 = false
			var faults []string
			if got := texts(rs, "app.test", &faults); got != "192.0.2.1" {
				t.Fatalf("got %q", got)
			}
			if c.fault != "" && (len(faults) == 0 || !strings.HasPrefix(faults[0], c.fault)) {
				t.Errorf("the log was told %q, want %q", faults, c.fault)
			}
		})
	}
}

// One family of addresses is not asked for when it is off. The directive's words for it
// are read here; nginx has "ipv4=" since 1.23.1.
func TestOneFamilyOnly(t *testing.T) {
	t.Parallel()
	server := nameserver.Serve(t, nameserver.Zone{
		"both.test":  {A: []string{"192.0.2.1"}, AAAA: []string{"2001:db8::1"}},
		"alias.test": {Alias: "both.test"},
		"four.test":  {A: []string{"192.0.2.1"}},
	})
	for off, want := range map[string]struct{ ip, four, kind string }{
		"ipv4=off": {"2001:db8::1", "3: Host not found", " AAAA"},
		"ipv6=off": {"192.0.2.1", "192.0.2.1", " A"},
	} {
		rs := resolver(t, time.Minute, server)
		if err := rs.set(nil, nil, off); err != nil {
			t.Fatal(err)
		}
		expect(t, rs, "both.test", want.ip)
		expect(t, rs, "alias.test", want.ip)
		expect(t, rs, "four.test", want.four)
		for _, q := range server.Asked() {
			if !strings.HasSuffix(q, want.kind) {
				t.Errorf("with %s it was asked %s", off, q)
			}
		}
	}
}

func TestAnswersThatAreTooLargeComeByTCP(t *testing.T) {
	t.Parallel()
	large := nameserver.Entry{Stream: true}
	for i := range 200 {
		large.A = append(large.A, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())
	}
	server := nameserver.Serve(t, nameserver.Zone{"large.test": large})
	rs := resolver(t, time.Minute, server)
	ips, code := rs.resolve("large.test", func(text string) { t.Error(text) })
	if code != 0 || len(ips) != 200 {
		t.Errorf("%d addresses, code %d", len(ips), code)
	}
}

// Many who want to know the same ask once, and who stops waiting takes nothing from others.
func TestOneLookUpForAll(t *testing.T) {
	t.Parallel()
	server := nameserver.Serve(t, nameserver.Zone{"app.test": {Silent: true}})
	rs := resolver(t, soon, server)
	hasty := &Resolver{rs.names, time.Millisecond}
	var wg sync.WaitGroup
	const patient = 8
	got := make([]string, patient)
	for i := range patient {
		wg.Go(func() { got[i] = texts(rs, "app.test", nil) })
	}
	waiting := func() int {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		if l := rs.pending["app.test"]; l != nil {
			return l.waiting
		}
		return 0
	}
	for deadline := time.Now().Add(time.Minute); waiting() < patient; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait", waiting())
		}
	}
	expect(t, hasty, "app.test", "110: Operation timed out")
	server.Set("app.test", nameserver.Entry{A: []string{"192.0.2.1"}, AAAA: []string{"2001:db8::1"}})
	wg.Wait()
	for _, text := range got {
		if text != "192.0.2.1 2001:db8::1" {
			t.Errorf("one got %q", text)
		}
	}
	if n := waiting(); n != 0 {
		t.Errorf("%d still wait", n)
	}
}

// A look-up that nobody waits for ends.
func TestForgottenLookUpEnds(t *testing.T) {
	t.Parallel()
	server := nameserver.Serve(t, nameserver.Zone{"silent.test": {Silent: true}})
	rs := resolver(t, time.Hour, server)
	rs.timeout = time.Millisecond
	for range 3 {
		expect(t, rs, "silent.test", "110: Operation timed out")
	}
	rs.lookups.Wait()
	if len(rs.pending) != 0 {
		t.Errorf("%d are under way", len(rs.pending))
	}
}

func TestKnownNamesAreBounded(t *testing.T) {
	t.Parallel()
	ns := newNames()
	defer ns.close()
	for i := range 3 * maxKnown {
		until := time.Now().Add(time.Hour)
		if i%2 == 0 {
			until = time.Time{}
		}
		ns.remember(strings.Repeat("x", i%7)+string(rune(i)), finding{until: until})
		if len(ns.known) > maxKnown {
			t.Fatalf("%d names are known", len(ns.known))
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	const head = "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03app\x04test\x00\x00\x01\x00\x01"
	f.Add([]byte(head+"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\x7f\x00\x00\x01"), false)
	f.Add([]byte(head+"\xc0\x0c\x00\x05\x00\x01\x00\x00\x0e\x10\x00\x04\x01x\xc0\x10"), true)
	f.Add([]byte(head+"\xc0\x0c\x00\x05\x00\x01\x00\x00\x0e\x10\x00\x02\xc0\x2a"), true)
	f.Fuzz(func(t *testing.T, b []byte, tcp bool) {
		a, err := parseAnswer(b, tcp)
		if err != nil {
			if err.Error() == "" {
				t.Error("a fault without words")
			}
			return
		}
		for _, ip := range a.ips {
			if ip.Is4() != (a.kind == typeA) {
				t.Errorf("%s for type %d", ip, a.kind)
			}
		}
		if a.name == "" || a.aliased && len(a.ips) > 0 {
			t.Errorf("read %+v", a)
		}
	})
}
