package http2_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// serve answers on ln until the test ends with what it was asked; /stream with a line
// for each that it gets, /echo with the body.
func serve(t *testing.T, ln net.Listener) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		w.Header().Set("Content-Type", "text/plain")
		if strings.HasPrefix(r.URL.Path, "/echo") {
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.Copy(flusher{w}, r.Body)
			return
		}
		body, _ := io.ReadAll(r.Body)
		var fields []string
		for name, values := range r.Header {
			fields = append(fields, name+"="+strings.Join(values, ","))
		}
		slices.Sort(fields)
		fmt.Fprintf(w, "%s %s %s length %d %v\n%v\n%s\n", r.Method, r.RequestURI, r.Proto, r.ContentLength, r.TransferEncoding, fields, body)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
}

// A flusher sends each write on at once.
type flusher struct{ http.ResponseWriter }

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	_ = http.NewResponseController(f.ResponseWriter).Flush()
	return n, err
}

// clients is where HTTP/2 is spoken, with and without TLS.
type clients struct {
	*sidebyside.Pair
	ca     *testbed.Authority
	secure bool
}

// withAndWithoutTLS runs test for both.
func withAndWithoutTLS(t *testing.T, test func(t *testing.T, c clients)) {
	t.Helper()
	withBoth(t, "", test)
}

// withBoth is withAndWithoutTLS of servers that have some more text.
func withBoth(t *testing.T, more string, test func(t *testing.T, c clients)) {
	t.Helper()
	ca := testbed.NewAuthority(t, "Test CA")
	site := ca.Issue(testbed.Certificate{Name: "www.example.com"})
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %v", secure), func(t *testing.T) {
			t.Parallel()
			listen := "listen ADDR http2;"
			if secure {
				listen = "listen ADDR ssl http2; ssl_certificate ROOT/site.crt; ssl_certificate_key ROOT/site.key;"
			}
			p := sidebyside.Start(t, strings.ReplaceAll(`
				client_max_body_size 0;
				access_log logs/access.log;
				server {
					`+listen+more+`
					root ROOT;
					location /kind { return 200 "$http2 $server_protocol $scheme $ssl_alpn_protocol $connection_requests"; }
					location /echo { proxy_pass http://127.0.0.1:BACK; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off; }
					location /kept { proxy_pass http://127.0.0.1:BACK/echo; proxy_http_version 1.1; }
				}`, "BACK", backend(t)), sidebyside.Files{
				"site.crt": site.CertPEM(), "site.key": site.KeyPEM(), "ca.crt": ca.CertPEM(),
				"small.txt": "small\n", "large.bin": strings.Repeat("0123456789abcdef", 1<<16),
			})
			test(t, clients{p, ca, secure})
		})
	}
}

// http is Go's client, which speaks HTTP/2 only.
func (c clients) http(t *testing.T) *http.Client {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP2(c.secure)
	protocols.SetUnencryptedHTTP2(!c.secure)
	tr := &http.Transport{
		Protocols: &protocols, DisableCompression: true,
		TLSClientConfig: &tls.Config{RootCAs: c.ca.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.Baton)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: waitLimit}
}

// url is the server's by the name in its certificate.
func (c clients) url(path string) string {
	scheme := "http"
	if c.secure {
		scheme = "https"
	}
	return scheme + "://www.example.com" + path
}

// fetch returns what an answer holds.
func fetch(c *http.Client, method, url string, body io.Reader) (string, error) {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || resp.ProtoMajor != 2) {
		err = fmt.Errorf("%s %s", resp.Proto, resp.Status)
	}
	return string(content), err
}

func TestGoClient(t *testing.T) {
	t.Parallel()
	withAndWithoutTLS(t, func(t *testing.T, c clients) {
		client := c.http(t)
		want := "h2c HTTP/2.0 http  "
		if c.secure {
			want = "h2 HTTP/2.0 https h2 "
		}
		for i := range 3 {
			if got, err := fetch(client, "GET", c.url("/kind"), nil); err != nil || got != want+fmt.Sprint(i+1) {
				t.Errorf("got %q, %v, want %q", got, err, want+fmt.Sprint(i+1))
			}
		}
		large, err := os.ReadFile(filepath.Join(c.Dir, "large.bin"))
		if err != nil {
			t.Fatal(err)
		}
		random := make([]byte, 1<<20)
		rand.Read(random)
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				method, path, body, want := "GET", "/large.bin", []byte(nil), large
				switch i % 4 {
				case 1:
					path, want = "/small.txt", []byte("small\n")
				case 2:
					method, path, body, want = "POST", "/echo", random, random
				case 3:
					method, path, body, want = "POST", "/kept", random, random
				}
				got, err := fetch(client, method, c.url(path), bytes.NewReader(body))
				if err != nil || got != string(want) {
					t.Errorf("%s %s: %d bytes, %v, want %d", method, path, len(got), err, len(want))
				}
			})
		}
		all.Wait()
	})
}

// What is passed on as it comes goes both ways at once.
func TestTalk(t *testing.T) {
	t.Parallel()
	withAndWithoutTLS(t, func(t *testing.T, c clients) {
		question, ask := io.Pipe()
		req, err := http.NewRequest("POST", c.url("/echo"), question)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(ask, "one\n") }() // read by the transport
		resp, err := c.http(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf := make([]byte, 100)
		for _, word := range []string{"one\n", "two\n", "three\n"} {
			if word != "one\n" {
				_, _ = io.WriteString(ask, word)
			}
			n, err := io.ReadFull(resp.Body, buf[:len(word)])
			if err != nil || string(buf[:n]) != word {
				t.Fatalf("heard %q, %v, want %q", buf[:n], err, word)
			}
		}
		ask.Close()
		if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
			t.Errorf("the end is %q, %v", rest, err)
		}
	})
}

func TestCurl(t *testing.T) {
	t.Parallel()
	withAndWithoutTLS(t, func(t *testing.T, c clients) {
		_, port, _ := net.SplitHostPort(c.Baton)
		url := strings.Replace(c.url("/"), "www.example.com", "www.example.com:"+port, 1)
		common := []string{"-sS", "--max-time", "10", "--http2", "--resolve", "www.example.com:" + port + ":127.0.0.2"}
		if c.secure {
			common = append(common, "--cacert", filepath.Join(c.Dir, "ca.crt"))
		} else {
			common = append(common, "--http2-prior-knowledge")
		}
		curl := func(args ...string) string {
			out, err := exec.Command("curl", append(common, args...)...).CombinedOutput()
			if err != nil {
				t.Errorf("curl %v: %v: %s", args, err, out)
			}
			return string(out)
		}
		fetch := []string{"-w", "%{http_version} %{http_code} %{size_download} %{num_connects}\n", "-o", "/dev/null", url + "large.bin"}
		want := "2 200 1048576 1\n"
		if c.secure { // without TLS curl 7.88 fails when it uses a connection again, with nginx too
			fetch, want = append(fetch, "-o", "/dev/null", url+"small.txt"), want+"2 200 6 0\n"
		}
		if got := curl(fetch...); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := curl("--data-binary", "@"+filepath.Join(c.Dir, "large.bin"), url+"echo"); len(got) != 1<<20 {
			t.Errorf("%d bytes came back", len(got))
		}
		if got := curl("-I", url+"small.txt"); !strings.HasPrefix(got, "HTTP/2 200 \r\nserver: nginx") {
			t.Errorf("got %q", got)
		}
	})
}

// nghttp2's load generator gets every answer, with as many streams as there may be.
func TestH2load(t *testing.T) {
	t.Parallel()
	withAndWithoutTLS(t, func(t *testing.T, c clients) {
		for _, path := range []string{"small.txt", "large.bin"} {
			n, url := "2000", strings.Replace(c.url("/"), "www.example.com", c.Baton, 1)+path
			if path == "large.bin" {
				n = "100"
			}
			out, err := exec.Command("h2load", "-n", n, "-c", "4", "-m", "100", "-T", "60", url).CombinedOutput()
			if err != nil || !strings.Contains(string(out), ", "+n+" succeeded, 0 failed, 0 errored") {
				t.Errorf("%s: %v: %s", path, err, out)
			}
		}
	})
}

// HTTP/1 is spoken at the same address to who begins with it.
func TestHTTP1BesideHTTP2(t *testing.T) {
	t.Parallel()
	withAndWithoutTLS(t, func(t *testing.T, c clients) {
		tr := c.http(t).Transport.(*http.Transport)
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(true)
		resp, err := (&http.Client{Transport: tr, Timeout: waitLimit}).Get(c.url("/kind"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.ProtoMajor != 1 || !strings.HasPrefix(string(body), " HTTP/1.1 http") {
			t.Errorf("%s: %q", resp.Proto, body)
		}
	})
}
