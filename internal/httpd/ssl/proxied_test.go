package ssl_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// serveBackend answers with as many bytes as it is asked for, with what it was sent, or
// by changing protocols to one in which it says everything twice.
func serveBackend(t *testing.T) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Upgrade") != "":
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
			for {
				line, err := rw.ReadString('\n')
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, line+line)
			}
		case r.Method == http.MethodPost:
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		default:
			_, _ = w.Write(pattern(9_000_000))
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// pattern is n bytes that differ.
func pattern(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.Bytes()[:n]
}

func startProxy(t *testing.T) *sidebyside.Pair {
	t.Helper()
	a := newAuthorities(t)
	backend := serveBackend(t)
	return sidebyside.Start(t, certificate+`
		server { listen ADDR ssl; client_max_body_size 0; proxy_http_version 1.1; keepalive_requests 100000;
			location / { proxy_pass http://`+backend+`; }
			location /file/ { proxy_pass http://`+backend+`/; proxy_buffers 4 8k; proxy_busy_buffers_size 8k; }
			location /slow/ { proxy_pass http://`+backend+`/; limit_rate 20m; }
			location /stream/ { proxy_pass http://`+backend+`/; proxy_buffering off; gzip on; gzip_types *; }
			location /up { proxy_pass http://`+backend+`; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }
		}`, a.files())
}

// A client gets all of a server's answer however slowly it reads.
func TestSlowClientOfProxy(t *testing.T) {
	t.Parallel()
	p := startProxy(t)
	want := pattern(9_000_000)
	for _, place := range []string{"/", "/file/", "/slow/", "/stream/"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			c := dial(t, p.Baton, named("a"))
			_ = c.SetDeadline(time.Now().Add(4 * patience)) // all of it takes a while where others work, too
			_, _ = io.WriteString(c, hostOf("a", place))
			in := bufio.NewReaderSize(c, 20_000)
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for pause := time.NewTicker(time.Millisecond); got.Len() < 2_000_000; <-pause.C {
				if _, err := io.CopyN(&got, resp.Body, 20_000); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.Copy(&got, resp.Body); err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%d bytes, or other ones, %v", got.Len(), err)
			}
		})
	}
}

// Large bodies go up, one after the other on a connection.
func TestUploadsByTLS(t *testing.T) {
	t.Parallel()
	p := startProxy(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := named("a")
		config.MaxVersion = version
		c := dial(t, p.Baton, config)
		_ = c.SetDeadline(time.Now().Add(4 * patience)) // all of it takes a while where others work, too
		in := bufio.NewReader(c)
		for _, size := range []int{0, 1, 16_384, 1_000_000, 5_000_000} {
			body := pattern(size)
			go func() {
				fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
				_, _ = c.Write(body)
			}()
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes: %d came back, or other ones, %v", size, len(got), err)
			}
		}
	}
}

// A tunnel passes on what comes from either side.
func TestTunnelByTLS(t *testing.T) {
	t.Parallel()
	p := startProxy(t)
	for _, addr := range []string{p.Nginx, p.Baton} {
		c := dial(t, addr, named("a"))
		_, _ = io.WriteString(c, "GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("%s: %v, %v", addr, resp, err)
		}
		for i := range 100 {
			line := strings.Repeat(fmt.Sprint(i), 1+i*50) + "\n"
			_, _ = io.WriteString(c, line)
			got := make([]byte, 2*len(line))
			if _, err := io.ReadFull(in, got); err != nil || string(got) != line+line {
				t.Fatalf("%s: %d bytes, %v", addr, len(got), err)
			}
		}
		_ = c.CloseWrite()
		if rest, how := ends(c); len(rest) > 0 || how != "closed" {
			t.Errorf("%s: then %q, %s", addr, rest, how)
		}
	}
}
