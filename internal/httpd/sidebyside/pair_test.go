package sidebyside

import (
	"strings"
	"testing"
)

// The harness itself: both servers answer, and what they say of themselves is
// equal.
func TestBothAnswer(t *testing.T) {
	p := Start(t, `server { listen ADDR; root ROOT; }`, Files{"a.html": "hello"})
	nginx, baton := p.Do("GET /../ HTTP/1.1\r\nHost: x\r\n\r\n")
	for _, a := range []Answer{nginx, baton} {
		if a.Status != "HTTP/1.1 400 Bad Request" || a.Field("server") != Product || !strings.Contains(a.Body, Product) {
			t.Errorf("answer = %s", a)
		}
	}
	p.Same("GET /../ HTTP/1.1\r\nHost: x\r\n\r\n")
	if nginx, baton := p.DoAll(Get("/../") + Get("/../")); len(nginx) != 1 || len(baton) != 1 {
		t.Errorf("%d and %d answers on a connection that is closed after the first", len(nginx), len(baton))
	}
}
