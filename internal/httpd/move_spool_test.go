package httpd_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// floodBytes is more than the sockets between a backend and a client hold.
const floodBytes = 12 << 20

// floodPart is after how much a flood waits: more than the client's sockets hold, and
// what is left is more than the backend's do.
const floodPart = floodBytes * 3 / 4

// floodBody is what a flood sends, the same each time; no compressor makes it smaller.
func floodBody() io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{}), floodBytes)
}

// A flood is a backend that sends floodBytes, all but the first part of them when it
// is told to. The path says how they are framed. It listens on a unix socket, which
// holds little; how much a TCP one may hold is the system's.
type flood struct {
	addr string
	more chan struct{} // one for each answer
	sent atomic.Int64
	done atomic.Int32 // answers that were sent whole
}

func newFlood(t *testing.T) *flood {
	t.Helper()
	dir, err := os.MkdirTemp("", "flood-") // t.TempDir's name may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	f := &flood{addr: "unix:" + dir + "/s", more: make(chan struct{}, 10)}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection, or the deadline
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(time.Minute))
				if path, err := readAsked(bufio.NewReader(nc)); err == nil {
					f.answer(nc, path)
				}
			}()
		}
	}()
	return f
}

func (f *flood) answer(nc net.Conn, path string) {
	head := map[string]string{
		"/length": fmt.Sprintf("Content-Length: %d\r\n", floodBytes), "/chunks": "Transfer-Encoding: chunked\r\n", "/close": "",
		"/cut": fmt.Sprintf("Content-Length: %d\r\n", floodBytes),
	}[path]
	if _, err := io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"+head+"\r\n"); err != nil {
		return
	}
	body, buf := floodBody(), make([]byte, 30_011)
	for told := false; ; {
		n, err := io.ReadFull(body, buf)
		if n == 0 {
			break
		}
		if !told && f.sent.Load() > floodPart {
			if path == "/cut" {
				return
			}
			<-f.more
			told = true
		}
		p := buf[:n]
		if path == "/chunks" {
			p = []byte(fmt.Sprintf("%x\r\n%s\r\n", n, p))
		}
		if _, werr := nc.Write(p); werr != nil || err != nil && n == 0 {
			return
		}
		f.sent.Add(int64(n))
	}
	if path == "/chunks" {
		_, _ = io.WriteString(nc, "0\r\n\r\n")
	}
	f.done.Add(1)
}

// settled waits until the backend sends nothing more, for whatever reason.
func (f *flood) settled() {
	last, since := int64(-1), time.Now()
	for ; time.Since(since) < 200*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if n := f.sent.Load(); n != last {
			last, since = n, time.Now()
		}
	}
}

// slowClient asks for path and reads nothing. What it reads later is counted.
func slowClient(t *testing.T, addr, path, version, fields string) (*client, *counted) {
	t.Helper()
	nc := dialNarrow(t, addr)
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(nc, "GET "+path+" HTTP/"+version+"\r\nHost: a\r\n"+fields+"\r\n"); err != nil {
		t.Fatal(err)
	}
	count := &counted{r: nc}
	return &client{t, nc, bufio.NewReaderSize(count, 64<<10)}, count
}

// dialNarrow opens a connection on which little is under way. Its window is small from
// the beginning: one that becomes smaller than the segments agreed on is sent into every
// 200 ms, by a timer of the kernel.
func dialNarrow(t *testing.T, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10) })
	}}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// wantFlood reads the answer of a flood.
func (c *client) wantFlood() {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	got, want := sha256.New(), sha256.New()
	n, err := io.Copy(got, resp.Body)
	if err != nil {
		c.t.Errorf("%d bytes, then %v", n, err)
	}
	_, _ = io.Copy(want, floodBody())
	if n != floodBytes || string(got.Sum(nil)) != string(want.Sum(nil)) {
		c.t.Errorf("%d bytes came, or other ones", n)
	}
}

// makeTemps makes the folder for temporary files of the servers of a pair.
func makeTemps(t *testing.T) (setting string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spooled")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return "proxy_temp_path " + dir + ";"
}

// retired is Retire that must not wait for the client.
func retired(t *testing.T, s *httpd.Server, give httpd.Give) {
	t.Helper()
	done := make(chan httpd.Retired, 1)
	go func() { done <- s.Retire(t.Context(), give) }()
	select {
	case got := <-done:
		if got != (httpd.Retired{Moved: 1}) {
			t.Fatalf("Retire = %+v", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("the connection did not move")
	}
}

// An answer that is kept for a slow client moves at once, whatever of it is still to
// come from its server, and moves again. It is logged once, with all bytes.
func TestKeptAnswerMoves(t *testing.T) {
	for _, test := range []struct {
		name, settings string
		paths          []string // with another module than the proxy's, or version of HTTP
		bounded        bool     // the backend cannot send more than the sockets hold
	}{
		{"file", "", []string{"/length", "/chunks", "/close", "/close 1.0", "/length scgi", "/close uwsgi"}, false},
		{"full file", "proxy_max_temp_file_size 1m;", []string{"/length", "/chunks"}, true},
		{"little memory", "proxy_max_temp_file_size 0; proxy_buffers 4 4k;", []string{"/length", "/chunks", "/close 1.0"}, true},
		{"much memory", "proxy_max_temp_file_size 0; proxy_buffers 64 32k;", []string{"/length", "/close", "/close scgi", "/length uwsgi"}, true},
		{"nothing kept", "proxy_buffering off;", []string{"/length", "/chunks", "/length scgi", "/close uwsgi"}, true},
		{"without sendfile", "sendfile off;", []string{"/length", "/chunks"}, false},
		{"without a folder", "proxy_temp_path /nonexistent/for/sure; proxy_buffers 64 32k;", []string{"/length", "/chunks"}, true},
		{"at a rate", "limit_rate 12m; proxy_max_temp_file_size 1m;", []string{"/length", "/chunks"}, true},
	} {
		for _, path := range test.paths {
			t.Run(test.name+path, func(t *testing.T) {
				t.Parallel()
				moveFlood(t, test.settings, path, test.bounded)
			})
		}
	}
}

func moveFlood(t *testing.T, settings, path string, bounded bool) {
	path, how, _ := strings.Cut(path, " ")
	version, module, old10 := "1.1", "proxy", how == "1.0"
	switch {
	case old10:
		version = how
	case how != "":
		module = how
	}
	if !strings.Contains(settings, "proxy_temp_path") {
		settings += makeTemps(t)
	}
	if !strings.Contains(settings, "sendfile") {
		settings += "sendfile on;"
	}
	f := newFlood(t)
	log, err := os.OpenFile(filepath.Join(t.TempDir(), "access.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	text := `log_format sent '$status $bytes_sent $upstream_response_length'; server { LISTEN location = /who { echo WHO; }
		location / { access_log ` + log.Name() + ` sent; ` + passes[module] + f.addr + `; ` + strings.ReplaceAll(settings, "proxy_", module+"_") + ` } }`
	addr, old, next := pair(t, text)
	again := serverFor(t, t.TempDir(), addr, strings.ReplaceAll(text, "WHO", "again"))
	last := serverFor(t, t.TempDir(), addr, strings.ReplaceAll(text, "WHO", "last"))
	for _, s := range []*httpd.Server{old, next, again, last} {
		s.Reopen(map[string]*os.File{log.Name(): log})
	}
	c, count := slowClient(t, addr, path, version, "")
	f.settled()
	retired(t, old, giveTo(next))
	f.settled()
	if n := f.sent.Load(); bounded && n > floodPart {
		t.Errorf("the backend could send %d bytes to a client that reads nothing", n)
	}
	f.more <- struct{}{}
	f.settled()
	retired(t, next, giveTo(again))
	go again.Retire(t.Context(), giveTo(last)) // while the client reads
	c.wantFlood()
	if f.done.Load() != 1 {
		t.Error("the backend could not send everything")
	}
	want := fmt.Sprintf("200 %d %d\n", count.n-c.br.Buffered(), floodBytes)
	if !old10 {
		if _, body := c.do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n"); body != "last" {
			t.Errorf("the next request: %q", body)
		}
	}
	got := ""
	until(t, "line of the log", func() bool {
		b, err := os.ReadFile(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		got = string(b)
		return got != ""
	})
	if got != want {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// What the successor refuses goes on as if nothing had been asked.
func TestRefusedKeptAnswerGoesOn(t *testing.T) {
	for _, settings := range []string{"", "proxy_max_temp_file_size 0; proxy_buffers 64 32k;", "proxy_max_temp_file_size 0;"} {
		for _, path := range []string{"/length", "/chunks"} {
			f := newFlood(t)
			addr, old, _ := pair(t, `server { LISTEN location / { proxy_pass http://`+f.addr+`; proxy_http_version 1.1; `+makeTemps(t)+settings+` } }`)
			c, _ := slowClient(t, addr, path, "1.1", "")
			f.settled()
			asked := make(chan struct{}, 100)
			done := make(chan httpd.Retired)
			go func() {
				done <- old.Retire(t.Context(), func(byte, []byte, ...int) error {
					asked <- struct{}{}
					return errors.New("refused")
				})
			}()
			<-asked
			f.more <- struct{}{}
			if settings == "" {
				until(t, "backend that does not wait for the client", func() bool { return f.done.Load() > 0 })
			}
			c.wantFlood()
			c.nc.Close()
			if got := <-done; got.Moved != 0 || got.Drained != 1 {
				t.Errorf("Retire = %+v", got)
			}
		}
	}
}

// An answer whose server has failed stays: its client gets what there is, and sees
// that something is missing.
func TestKeptAnswerOfAFailedServerDrains(t *testing.T) {
	f := newFlood(t)
	addr, old, next := pair(t, `server { LISTEN location / { proxy_pass http://`+f.addr+`; proxy_http_version 1.1; `+makeTemps(t)+` } }`)
	c, _ := slowClient(t, addr, "/cut", "1.1", "")
	f.settled()
	done := make(chan httpd.Retired)
	go func() { done <- old.Retire(t.Context(), giveTo(next)) }()
	awaitClosed(t, addr)
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != f.sent.Load() || err == nil {
		t.Errorf("%d of %d bytes came, %v", n, f.sent.Load(), err)
	}
	if got := <-done; got != (httpd.Retired{Drained: 1}) {
		t.Errorf("Retire = %+v", got)
	}
}

// What an encoder holds cannot move.
func TestKeptAnswerThatCannotMoveDrains(t *testing.T) {
	f := newFlood(t)
	addr, old, next := pair(t, `gzip on; gzip_types *; gzip_proxied any; server { LISTEN
		location / { proxy_pass http://`+f.addr+`; proxy_http_version 1.1; `+makeTemps(t)+` } }`)
	c, _ := slowClient(t, addr, "/length", "1.1", "Accept-Encoding: gzip\r\n")
	f.more <- struct{}{}
	until(t, "end of the backend's answer", func() bool { return f.done.Load() > 0 })
	done := make(chan httpd.Retired)
	go func() { done <- old.Retire(t.Context(), giveTo(next)) }()
	awaitClosed(t, addr)
	select {
	case got := <-done:
		t.Fatalf("Retire = %+v before the answer was complete", got)
	default:
	}
	for line := ""; line != "0\r\n"; {
		var err error
		if line, err = c.br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-done; got.Moved != 1 {
		t.Errorf("Retire = %+v", got)
	}
}

// With proxy_ignore_client_abort an answer is read to its end although the client has
// gone, wherever the client was when it went.
func TestIgnoredAbortMoves(t *testing.T) {
	for _, settings := range []string{"", "proxy_buffering off;", "proxy_max_temp_file_size 0;"} {
		t.Run(settings, func(t *testing.T) {
			t.Parallel()
			f := newFlood(t)
			addr, old, next := pair(t, `server { LISTEN location / { proxy_ignore_client_abort on; `+passes["proxy"]+f.addr+`; `+makeTemps(t)+settings+` } }`)
			c, _ := slowClient(t, addr, "/length", "1.1", "")
			f.settled()
			retired(t, old, giveTo(next))
			c.nc.Close()
			f.more <- struct{}{}
			until(t, "end of the answer", func() bool { return next.Conns() == 0 })
			if f.sent.Load() != floodBytes {
				t.Errorf("the backend could send %d of %d bytes", f.sent.Load(), floodBytes)
			}
		})
	}
}
