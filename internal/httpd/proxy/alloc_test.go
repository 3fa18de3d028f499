//go:build !race

// The race detector makes pools forget, so that every request allocates.

package proxy_test

import (
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

func TestProxyingAllocatesNothing(t *testing.T) {
	p := sidebyside.Start(t, benchConfig(rawBackend(t, answerOf(1<<10))), nil)
	k := newKeptClient(t, p.Baton, "GET /x HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
	buf := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(2000, func() { k.one(t, buf) }); n > 1 {
		t.Errorf("%v allocations for a proxied request, want at most 1", n)
	}
}
