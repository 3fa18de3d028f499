package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// TestBodyInFileOnly: the server is told of a file that has the body while it answers;
// with "on" it stays, with "clean" it goes with the request. Names that are taken are
// passed over.
func TestBodyInFileOnly(t *testing.T) {
	t.Parallel()
	told := make(chan string, 1)
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(req.Body)
		name := req.Header.Get("X-File")
		lies, err := os.ReadFile(name)
		if err != nil {
			lies = []byte("no file")
		}
		told <- name
		text := fmt.Sprintf("%d sent, %q lies there", len(body), lies)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	})
	const tell = "proxy_set_header X-File $request_body_file; proxy_set_header Connection close;"
	p := sidebyside.Start(t, `server { listen ADDR; client_body_temp_path ROOT/IP 1;
		location /on { client_body_in_file_only on; `+tell+` proxy_pass http://`+addr+`; }
		location /clean { client_body_in_file_only clean; `+tell+` proxy_set_header Content-Length ""; proxy_pass_request_body off; proxy_pass http://`+addr+`; }
		location /streamed { client_body_in_file_only on; proxy_request_buffering off; proxy_http_version 1.1; `+tell+` proxy_pass http://`+addr+`; }
		location /off { `+tell+` proxy_pass http://`+addr+`; } }`, sidebyside.Files{"127.0.0.1/": "", "127.0.0.2/": ""})
	for n := range 10 { // left by who ran before
		dir := filepath.Join(p.Dir, "127.0.0.2", fmt.Sprint(n))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%010d", n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, stays := range map[string]bool{"/on": true, "/clean": false, "/streamed": false, "/off": false} {
		for _, raw := range []string{
			sidebyside.Ask("POST", path, "Content-Length: 5") + "hello",
			sidebyside.Ask("POST", path, "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n",
			sidebyside.Get(path),
		} {
			for _, at := range []string{p.Nginx, p.Baton} {
				c, err := net.Dial("tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(c, raw)
				a := sidebyside.ReadAnswer(bufio.NewReader(c), "POST")
				_, _ = io.Copy(io.Discard, c)
				c.Close()
				name := <-told
				want := `5 sent, "no file" lies there`
				switch {
				case strings.HasPrefix(raw, "GET"):
					want = `0 sent, "no file" lies there`
				case path == "/on":
					want = `5 sent, "hello" lies there`
				case path == "/clean":
					want = `0 sent, "hello" lies there`
				}
				if a.Body != want {
					t.Errorf("%s, %s: %s, want %s", at, path, a.Body, want)
				}
				for deadline := time.Now().Add(patience); name != ""; {
					_, err := os.Stat(name)
					if (err == nil) == stays {
						break
					}
					if time.Now().After(deadline) {
						t.Errorf("%s, %s: the file: %v, is to stay: %v", at, path, err, stays)
						break
					}
					time.Sleep(time.Millisecond)
				}
			}
		}
	}
}
