package proxy_test

import (
	"bufio"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// More clients at once than connections are kept find those that others have just used.
func TestManyClientsShareKeptConnections(t *testing.T) {
	var conns atomic.Int64
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		conns.Add(1)
		for {
			if _, _, err := readRequest(br); err != nil {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
	p := sidebyside.StartAlone(t, `
upstream u { server `+addr+`; keepalive 4; }
server { listen ADDR; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`, nil)
	if n := sidebyside.Crowd(t, p.Baton, 32, 40, "/"); conns.Load() > n/6 {
		t.Errorf("%d connections were opened for %d requests of 32 clients", conns.Load(), n)
	}
}
