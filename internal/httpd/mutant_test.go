package httpd_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// splices are what heads are made ambiguous with.
var splices = []string{
	"\r", "\n", "\r\n", "\r\r\n", " ", "\t", ":", "\x00", "\x7f", "\xff", "_", "-", ",", ";", "/", "//", "/../", "/./", "..", "%2e", "%2f", "%00", "%", "%zz",
	"?", "#", "@", "[", "]", "*", "0", "5", "a", "Host: b\r\n", "Host: c\r\n", "Content-Length: 5\r\n", "Content-Length: 0\r\n",
	"Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "Connection: keep-alive\r\n", " HTTP/1.1", " HTTP/1.0", "http://", "GET ", "POST ", "\r\n\r\n",
	"0\r\n\r\n", "5\r\nhello\r\n", "Expect: 100-continue\r\n", "X: y\r\n",
}

// mutant is one of the hostile requests with something put in, taken out or put
// twice.
func mutant(rnd *rand.Rand, from []string) string {
	raw := from[rnd.IntN(len(from))]
	if len(raw) > 400 {
		raw = from[0]
	}
	for range 1 + rnd.IntN(3) {
		i := rnd.IntN(len(raw) + 1)
		j := i + rnd.IntN(min(8, len(raw)-i+1))
		switch rnd.IntN(4) {
		case 0:
			raw = raw[:i] + raw[j:]
		case 1:
			raw = raw[:j] + raw[i:]
		default:
			raw = raw[:i] + splices[rnd.IntN(len(splices))] + raw[i:]
		}
	}
	return raw
}

// Whatever is done to a request, it ends where nginx sees its end, and nothing is
// accepted that nginx refuses.
func TestMutantsAreFramedAsByNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
		client_header_timeout 1s;
		client_body_timeout 1s;
		keepalive_timeout 1s;
		lingering_timeout 200ms;
		lingering_time 400ms;
		server { listen ADDR; server_name a; location / { return 200 "a $uri $args $host"; } }
		server { listen ADDR; server_name b; location / { return 200 "b $uri $args $host"; } }
		server { listen ADDR; server_name c; location / { return 200 "c $uri $args $host"; } }`, nil)
	rnd := rand.New(rand.NewPCG(mutantSeed, 0))
	from := append(append([]string(nil), smuggled...), lines...)
	raws := make(chan string)
	var wg sync.WaitGroup
	for range 64 { // most wait for a time-out, which is longer than a busy machine is late
		wg.Go(func() {
			for raw := range raws {
				sameOrStricter(t, p, raw)
			}
		})
	}
	for range mutants {
		raw := mutant(rnd, from)
		if controls(raw) {
			continue // stricter than nginx, on purpose: docs/differences.md
		}
		raws <- raw + "\r\n\r\n" // nginx judges half a line, we wait for its end
	}
	close(raws)
	wg.Wait()
}

// sameOrStricter is same, but that Baton may refuse what nginx 1.22.1 takes: 1.31.5 takes
// less, too.
func sameOrStricter(t *testing.T, p *sidebyside.Pair, raw string) {
	t.Helper()
	nginx, baton := p.DoAll(raw)
	if last := baton[len(baton)-1]; last.Code() == "400" || last.Code() == "405" {
		baton = baton[:len(baton)-1]
		nginx = nginx[:min(len(nginx), len(baton))]
	}
	if a, b := all(p, nginx), all(p, baton); a != b {
		t.Errorf("%.300q\n--- nginx\n%s\n--- baton\n%s", raw, a, b)
	}
}

const (
	mutantSeed = 1
	mutants    = 600
)

// controls reports whether a header line holds a control character that nginx lets
// stand in a field's value.
func controls(raw string) bool {
	return strings.ContainsAny(raw, "\x01\x02\x0b\x7f")
}
