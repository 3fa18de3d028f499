package gzip_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A server that says one thing and waits before it says the next is heard at once:
// what it said is not kept until more comes, compressed or decompressed on its way.
func TestStreamsFlush(t *testing.T) {
	t.Parallel()
	next := make(chan bool)
	backend := stream(t, next)
	p := sidebyside.Start(t, `
		gzip_types *; gzip_min_length 1; gzip_proxied any;
		server { listen ADDR;
			location /pack/ { gzip on; proxy_buffering off; proxy_pass http://`+backend+`/plain; }
			location /unpack/ { gunzip on; proxy_buffering off; proxy_pass http://`+backend+`/packed; }
			location /both/ { gunzip on; proxy_pass http://`+backend+`/members; }
		}`, nil)
	for _, x := range []struct{ target, accept string }{{"/pack/", "gzip"}, {"/unpack/", ""}, {"/both/", ""}} {
		c, err := net.Dial("tcp", p.Baton)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(c, sidebyside.Get(x.target, "Accept-Encoding: "+x.accept))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = resp.Body
		if resp.Header.Get("Content-Encoding") == "gzip" {
			if body, err = gzip.NewReader(resp.Body); err != nil {
				t.Fatal(err)
			}
		} else if x.accept != "" {
			t.Fatalf("%s is not compressed", x.target)
		}
		for i := range 3 {
			want := fmt.Sprintf("said %d;", i)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(body, got); err != nil || string(got) != want {
				t.Fatalf("%s: %q, %v", x.target, got, err)
			}
			next <- true
		}
		if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
			t.Errorf("%s: at the end %q, %v", x.target, rest, err)
		}
	}
}

// stream is a server that says the next thing when it is told to.
func stream(t *testing.T, next <-chan bool) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		out := io.Writer(w)
		zip := gzip.NewWriter(w)
		if r.URL.Path != "/plain" {
			w.Header().Set("Content-Encoding", "gzip")
			out = zip
		}
		for i := range 3 {
			fmt.Fprintf(out, "said %d;", i)
			switch r.URL.Path {
			case "/packed":
				_ = zip.Flush()
			case "/members":
				_ = zip.Close()
				zip.Reset(w)
			}
			w.(http.Flusher).Flush()
			select {
			case <-next:
			case <-time.After(time.Minute):
				return
			}
		}
		if r.URL.Path == "/packed" {
			_ = zip.Close()
		}
	})}
	go func() { _ = srv.Serve(ln) }() // ends with Close
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}
