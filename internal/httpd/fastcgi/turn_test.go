package fastcgi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// crowd has many clients ask addr at once, again and again, each on a connection of its
// own, and returns how many answers they got.
func crowd(t *testing.T, addr string, clients, requests int, path string) (answers int64) {
	t.Helper()
	var got atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			br := bufio.NewReader(c)
			for range requests {
				if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Error(err)
					return
				}
				resp, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					t.Errorf("status %d, %v", resp.StatusCode, err)
					return
				}
				got.Add(1)
			}
		})
	}
	wg.Wait()
	return got.Load()
}

// More clients at once than connections are kept find those that others have just used.
func TestManyClientsShareKeptConnections(t *testing.T) {
	var conns atomic.Int64
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		conns.Add(1)
		for {
			if _, err := readRequest(br); err != nil {
				return
			}
			if _, err := io.WriteString(c, out(plain+"ok")+finish()); err != nil {
				return
			}
		}
	})
	p := sidebyside.StartAlone(t, `
upstream u { server `+addr+`; keepalive 4; }
server { listen ADDR; location / { fastcgi_pass u; fastcgi_keep_conn on; } }`, nil)
	if n := crowd(t, p.Baton, 32, 40, "/"); conns.Load() > n/6 {
		t.Errorf("%d connections were opened for %d requests of 32 clients", conns.Load(), n)
	}
}
