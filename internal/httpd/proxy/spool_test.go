package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// A source is a server whose answers are larger than all sockets on the way to a
// client that does not read: what it could send tells where the answer is. It listens
// on a unix socket, which holds little; how much a TCP one may hold is the system's.
type source struct {
	addr  string       // "unix:/path"
	conns atomic.Int32 // so far; "/small" tells the number of its own
	sent  atomic.Int64 // bytes of bodies that were written
	whole atomic.Int32 // answers that were written whole
	ended atomic.Int32 // connections that have ended
}

// sourceBytes is more than the sockets hold.
const sourceBytes = 12 << 20

// startSource answers "/length", "/chunks" and "/close", which say how the body is
// framed, with sourceBytes of a pattern; "/cut" promises as much and ends half way.
func startSource(t *testing.T) *source {
	t.Helper()
	dir, err := os.MkdirTemp("", "source-") // t.TempDir's name may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	s := &source{addr: "unix:" + dir + "/s"}
	sidebyside.ScriptOn(t, ln, func(c net.Conn, br *bufio.Reader) {
		number := s.conns.Add(1)
		defer s.ended.Add(1)
		for {
			head, _, err := readRequest(br)
			if err != nil {
				return
			}
			path := strings.Fields(head)[1]
			if s.answer(c, path, number) != nil || path == "/cut" {
				return
			}
			if path == "/close" {
				// All has been read when the other side closes, too.
				_ = c.(*net.UnixConn).CloseWrite()
				_, _ = br.ReadByte()
				return
			}
		}
	})
	return s
}

// answer writes one answer.
func (s *source) answer(c net.Conn, path string, number int32) error {
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	size, chunked := int64(sourceBytes), false
	switch path {
	case "/chunks":
		head += "Transfer-Encoding: chunked\r\n"
		chunked = true
	case "/close":
	case "/unbuffered":
		head += "Content-Length: " + strconv.Itoa(sourceBytes) + "\r\nX-Accel-Buffering: no\r\n"
	case "/small":
		_, err := fmt.Fprintf(c, "%sContent-Length: 4\r\n\r\n%4d", head, number)
		return err
	default:
		head += "Content-Length: " + strconv.Itoa(sourceBytes) + "\r\n"
	}
	if path == "/cut" {
		size /= 2
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		return err
	}
	body := &pattern{n: size, noise: true}
	buf := make([]byte, 50_000)
	for {
		n, err := body.Read(buf)
		if err == io.EOF {
			break
		}
		p := buf[:n]
		if chunked {
			p = []byte(fmt.Sprintf("%x\r\n%s\r\n", n, p))
		}
		k, werr := c.Write(p)
		s.sent.Add(int64(min(k, n)))
		if werr != nil {
			return werr
		}
	}
	if chunked {
		if _, err := io.WriteString(c, "0\r\n\r\n"); err != nil {
			return err
		}
	}
	s.whole.Add(1)
	return nil
}

// slowly asks for path and reads nothing of the answer.
func slowly(t *testing.T, addr, path string, fields ...string) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 16<<10) })
	}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n"+strings.Join(fields, "")+"\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// sumOf reads the body of an answer.
func sumOf(t *testing.T, c io.Reader) (sum string, n int64, err error) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 64<<10), nil)
	if err != nil {
		t.Fatal(err)
	}
	var body io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	h := sha256.New()
	n, err = io.Copy(h, body)
	return fmt.Sprintf("%x", h.Sum(nil)), n, err
}

// sumOfPattern is what sumOf is of n bytes from a source.
func sumOfPattern(t *testing.T, n int64) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, &pattern{n: n, noise: true}); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// tempBytes is the size of all open files whose name contains part, which have
// lost it.
func tempBytes(t *testing.T, part string) (n int64, files int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		path := filepath.Join("/proc/self/fd", fd.Name())
		name, err := os.Readlink(path)
		if err != nil || !strings.Contains(name, part) {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			n += info.Size()
			files++
		}
	}
	return n, files
}

// A slow client does not hold the server: its answer is read to the end at once, as
// by nginx, and its connection serves others, while nobody has read the answer.
func TestSlowClientDoesNotHoldTheServer(t *testing.T) {
	want := sumOfPattern(t, sourceBytes)
	for _, test := range []struct{ path, fields string }{
		{"/length", ""}, {"/chunks", ""}, {"/close", ""}, {"/chunks", "Accept-Encoding: gzip\r\n"}, {"/length", "Connection: close\r\n"},
	} {
		t.Run(test.path[1:]+test.fields, func(t *testing.T) {
			s := startSource(t)
			p := sidebyside.Start(t, `gzip_types *; gzip_proxied any; gzip_comp_level 1; gzip on;
log_format t '$status $upstream_response_length $upstream_response_time $request_time $upstream_bytes_received $body_bytes_sent';
access_log logs/t.log t;
upstream u { server `+s.addr+`; keepalive 4; }
server { listen ADDR; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; } }`, nil)
			for _, addr := range []string{p.Nginx, p.Baton} {
				s.conns.Store(0)
				s.whole.Store(0)
				ended := s.ended.Load()
				start := time.Now()
				c := slowly(t, addr, test.path, test.fields)
				waitFor(t, "the server has sent its answer", func() bool { return s.whole.Load() == 1 })
				if test.path == "/close" {
					waitFor(t, "the connection to the server ends", func() bool { return s.ended.Load() > ended })
				} else {
					waitFor(t, "another request is served on the same connection", func() bool {
						return get(t, addr, "/small") == "   1"
					})
				}
				took := time.Since(start) // the server is done with by now
				waitFor(t, "a while that the answer took not", func() bool { return time.Since(start) > 2*took+200*time.Millisecond })
				if sum, n, err := sumOf(t, c); err != nil || sum != want {
					t.Errorf("%d bytes came, or other ones, %v", n, err)
				}
				c.Close()
			}
			waitFor(t, "the temporary file is gone", func() bool { _, n := tempBytes(t, "proxy_temp"); return n == 0 })
			waitFor(t, "the slow request is logged", func() bool {
				_, log := p.Logs("logs/t.log")
				return strings.Contains(log, fmt.Sprintf("200 %d ", sourceBytes))
			})
			nginx, log := p.Logs("logs/t.log")
			upstream, request, counts := logged(t, log)
			if upstream > request*2/3 {
				t.Errorf("the server took %v of %v s: the slowness is the client's", upstream, request)
			}
			if test.path == "/length" { // else the two make chunks of other sizes
				if _, _, want := logged(t, nginx); want != counts {
					t.Errorf("bytes received and sent: %q, nginx has %q", counts, want)
				}
			}
		})
	}
}

// logged finds the slow request's line in a log.
func logged(t *testing.T, log string) (upstream, request float64, counts string) {
	t.Helper()
	for line := range strings.Lines(log) {
		var status, length int
		var received, sent string
		if _, err := fmt.Sscan(line, &status, &length, &upstream, &request, &received, &sent); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if length == sourceBytes {
			return upstream, request, received + " " + sent
		}
	}
	t.Fatalf("the slow request is not in the log:\n%s", log)
	return 0, 0, ""
}

// get is one request of its own connection.
func get(t *testing.T, addr, path string) (body string) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}).Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is kept is bounded: then the server waits for the client.
func TestKeptAnswerIsBounded(t *testing.T) {
	want := sumOfPattern(t, sourceBytes)
	for name, test := range map[string]struct {
		settings, path string
		file           int64
	}{
		"file":        {"proxy_max_temp_file_size 2m;", "/length", 2 << 20},
		"no file":     {"proxy_max_temp_file_size 0;", "/chunks", 0},
		"memory":      {"proxy_max_temp_file_size 0; proxy_buffers 64 32k;", "/length", 0},
		"off":         {"proxy_buffering off;", "/length", 0},
		"by a field":  {"", "/unbuffered", 0},
		"with a rate": {"limit_rate 20m; proxy_max_temp_file_size 1m; proxy_temp_file_write_size 9000;", "/chunks", 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSource(t)
			p := sidebyside.Start(t, `server { listen ADDR; location / { proxy_pass http://`+s.addr+`; proxy_http_version 1.1; `+test.settings+` } }`, nil)
			c := slowly(t, p.Baton, test.path)
			last, since := int64(-1), time.Now()
			waitFor(t, "the server has to wait", func() bool {
				if n := s.sent.Load(); n != last {
					last, since = n, time.Now()
				}
				return time.Since(since) > 300*time.Millisecond
			})
			if s.whole.Load() != 0 {
				t.Fatal("the server has sent all of its answer")
			}
			const slack = 64 << 10 // what was in memory goes into the file at once
			if n, _ := tempBytes(t, "proxy_temp"); n < test.file || n > test.file+min(test.file, slack) {
				t.Errorf("the file has %d bytes, want %d", n, test.file)
			}
			if sum, n, err := sumOf(t, c); err != nil || sum != want {
				t.Errorf("%d bytes came, or other ones, %v", n, err)
			}
		})
	}
}

// A client that goes away ends its request at once, unless the server is to be heard
// to its end.
func TestSlowClientGoesAway(t *testing.T) {
	s := startSource(t)
	p := sidebyside.Start(t, `server { listen ADDR; proxy_http_version 1.1; proxy_max_temp_file_size 1m;
	location / { proxy_pass http://`+s.addr+`; } location /ignore/ { proxy_pass http://`+s.addr+`:/; proxy_ignore_client_abort on; } }`, nil)
	for _, path := range []string{"/length", "/chunks", "/ignore/length", "/ignore/chunks"} {
		s.sent.Store(0)
		s.ended.Store(0)
		s.whole.Store(0)
		c := slowly(t, p.Baton, path)
		waitFor(t, "a part of the answer is kept", func() bool { n, _ := tempBytes(t, "proxy_temp"); return n >= 1<<20 })
		c.Close()
		if strings.HasPrefix(path, "/ignore") {
			waitFor(t, path+": the server is heard to its end", func() bool { return s.whole.Load() == 1 })
		} else {
			waitFor(t, path+": the server's connection ends", func() bool { return s.ended.Load() == 1 })
			if s.whole.Load() != 0 {
				t.Errorf("%s: the answer was read to its end", path)
			}
		}
		waitFor(t, "the temporary file is gone", func() bool { _, n := tempBytes(t, "proxy_temp"); return n == 0 })
	}
}

// What came before a server failed reaches the client, which then sees that
// something is missing.
func TestServerFailsBeforeASlowClient(t *testing.T) {
	s := startSource(t)
	p := sidebyside.Start(t, `server { listen ADDR; location / { proxy_pass http://`+s.addr+`; proxy_http_version 1.1; } }`, nil)
	for _, addr := range []string{p.Nginx, p.Baton} {
		c := slowly(t, addr, "/cut")
		waitFor(t, "the server has failed", func() bool { return s.ended.Load() > 0 })
		s.ended.Store(0)
		sum, n, err := sumOf(t, c)
		if n != sourceBytes/2 || sum != sumOfPattern(t, sourceBytes/2) || err == nil {
			t.Errorf("%d bytes, want %d, %v", n, sourceBytes/2, err)
		}
	}
	sameErrors(t, p, "buffered to a temporary file", "prematurely closed")
}

// sameErrors compares the lines of the error logs that contain one of words, but for
// time, process and the name of the file.
func sameErrors(t *testing.T, p *sidebyside.Pair, words ...string) {
	t.Helper()
	lines := func(log string) (found []string) {
		for line := range strings.Lines(log) {
			for _, word := range words {
				if strings.Contains(line, word) {
					_, line, _ = strings.Cut(line, "[")
					level, rest, _ := strings.Cut(line, "]")
					_, rest, _ = strings.Cut(rest, "*")
					_, rest, _ = strings.Cut(rest, " ")
					before, name, ok := strings.Cut(rest, "temporary file ")
					if _, after, found := strings.Cut(name, " while"); ok && found {
						rest = before + after
					}
					found = append(found, level+" "+rest)
				}
			}
		}
		return found
	}
	nginx, baton := p.Logs("logs/error.log")
	n, b := lines(nginx), lines(baton)
	if len(n) != len(words) || strings.Join(n, "") != strings.Join(b, "") {
		t.Errorf("nginx logs\n%s\nwe log\n%s", strings.Join(n, ""), strings.Join(b, ""))
	}
}

// Without its folder nothing is kept in a file, the log tells, and the answer is
// whole.
func TestAnswerWithoutATemporaryFile(t *testing.T) {
	s := startSource(t)
	p := sidebyside.Start(t, `server { listen ADDR; location / { proxy_pass http://`+s.addr+`; proxy_http_version 1.1; proxy_temp_path proxy_temp/gone 1 2; } }`, nil)
	c := slowly(t, p.Baton, "/length")
	waitFor(t, "the log tells", func() bool {
		_, log := p.Logs("logs/error.log")
		return strings.Contains(log, "[crit]") && strings.Contains(log, `mkdir() "`) && strings.Contains(log, `proxy_temp/gone/1" failed (2: No such file or directory) while reading upstream, client: `)
	})
	if sum, n, err := sumOf(t, c); err != nil || sum != sumOfPattern(t, sourceBytes) {
		t.Errorf("%d bytes came, or other ones, %v", n, err)
	}
	if _, log := p.Logs("logs/error.log"); strings.Count(log, "[crit]") > 1 {
		t.Errorf("the log tells more than once:\n%s", log)
	}
}

// The numbers of levels name folders as in nginx.
func TestTemporaryFileHasANameForTheLog(t *testing.T) {
	s := startSource(t)
	p := sidebyside.Start(t, `server { listen ADDR; location / { proxy_pass http://`+s.addr+`; proxy_http_version 1.1; proxy_temp_path tmp/levels 1 2; } }`, nil)
	for _, server := range []string{"nginx", "baton"} {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(p.Dir), server, "tmp/levels"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, addr := range []string{p.Nginx, p.Baton} {
		c := slowly(t, addr, "/length")
		waitFor(t, "the server has sent its answer", func() bool { return s.whole.Load() == int32(i+1) })
		if sum, _, err := sumOf(t, c); err != nil || sum != sumOfPattern(t, sourceBytes) {
			t.Error("other bytes came", err)
		}
	}
	nginx, baton := p.Logs("logs/error.log")
	for server, log := range map[string]string{"nginx": nginx, "baton": baton} {
		if name := server + "/tmp/levels/1/00/0000000001 while reading upstream, client: 127.0.0.1, server: , request:"; !strings.Contains(log, name) {
			t.Errorf("%s does not log %s:\n%s", server, name, log)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(p.Dir), "baton/tmp/levels/*/*/*")); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// A client as fast as its server gets the same through the same ways.
func TestFastClientGetsTheSame(t *testing.T) {
	s := startSource(t)
	p := sidebyside.Start(t, `server { listen ADDR; location / { proxy_pass http://`+s.addr+`; proxy_http_version 1.1; } location /off/ { proxy_pass http://`+s.addr+`:/; proxy_buffering off; } }`, nil)
	want := sumOfPattern(t, sourceBytes)
	for _, path := range []string{"/length", "/chunks", "/close", "/off/length", "/off/chunks"} {
		c := slowly(t, p.Baton, path)
		if sum, n, err := sumOf(t, c); err != nil || sum != want {
			t.Errorf("%s: %d bytes came, or other ones, %v", path, n, err)
		}
	}
	resp, err := http.Get("http://" + p.Baton + "/length")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, resp.Body); err != nil || b.Len() != sourceBytes {
		t.Error(b.Len(), err)
	}
}

// An answer that was read whole at once holds no server either, although its client
// gets it slowly.
func TestSmallAnswerToASlowClientHoldsNoServer(t *testing.T) {
	const size = 30_000
	var ended atomic.Int32
	addr := sidebyside.Script(t, func(c net.Conn, br *bufio.Reader) {
		if _, _, err := readRequest(br); err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
		_, _ = br.ReadByte() // until it is let go of
		ended.Add(1)
	})
	p := sidebyside.Start(t, `log_format s '$uri $status $body_bytes_sent'; access_log logs/s.log s;
server { listen ADDR; limit_rate 10k; location / { proxy_pass http://`+addr+`; } }`, nil)
	c := slowly(t, p.Baton, "/slow")
	waitFor(t, "the server is let go of", func() bool { return ended.Load() == 1 })
	if _, log := p.Logs("logs/s.log"); strings.Contains(log, "/slow") {
		t.Error("the server was free only when the client had everything")
	}
	if _, n, err := sumOf(t, c); n != size || err != nil {
		t.Errorf("%d bytes came, %v", n, err)
	}
	waitFor(t, "the answer is logged", func() bool {
		_, log := p.Logs("logs/s.log")
		return strings.Contains(log, fmt.Sprintf("/slow 200 %d\n", size))
	})
}
