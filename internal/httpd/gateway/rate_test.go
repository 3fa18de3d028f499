package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// *_limit_rate bounds how fast an answer is read from its server, with buffering.
func TestServersAreReadAtARate(t *testing.T) {
	t.Parallel()
	const size = 60 << 10
	content := strings.Repeat("0123456789abcdef", size/16)
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = br.ReadString('\n'); err != nil {
				return
			}
		}
		fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		_, _ = io.WriteString(c, content)
	})
	p := sidebyside.Start(t, `server { listen ADDR;
		location /slow { proxy_limit_rate 40k; proxy_pass http://`+addr+`; }
		location /tiny { proxy_limit_rate 30k; proxy_buffer_size 1k; proxy_pass http://`+addr+`; }
		location /off { proxy_limit_rate 40k; proxy_buffering off; proxy_pass http://`+addr+`; } }`, nil)
	for path, least := range map[string]time.Duration{"/slow": 300 * time.Millisecond, "/tiny": 500 * time.Millisecond, "/off": 0} {
		for _, server := range []string{p.Nginx, p.Baton} {
			start := time.Now()
			c, err := net.Dial("tcp", server)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, sidebyside.Get(path))
			a := sidebyside.ReadAnswer(bufio.NewReader(c), "GET")
			c.Close()
			took := time.Since(start)
			if a.Body != content || a.Err != "" || took < least || took > time.Minute {
				t.Errorf("%s of %s: %d bytes, %q, in %s, want at least %s", path, server, len(a.Body), a.Err, took, least)
			}
		}
	}
}
