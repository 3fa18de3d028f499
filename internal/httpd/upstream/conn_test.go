package upstream

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Many requests open connections to one server at once. The race detector is what
// judges.
func TestDialsToOneServerAtOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := ipEndpoint(netip.MustParseAddrPort(ln.Addr().String()))
	from := ipEndpoint(netip.MustParseAddrPort("127.0.0.1:0"))
	p := &Peer{endpoint: to}
	o := &DialOptions{Timeout: 5 * time.Second, Bind: from.addr}
	var dials sync.WaitGroup
	for range 8 {
		dials.Go(func() {
			c, err := Dial(p, o)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	dials.Wait()
}
