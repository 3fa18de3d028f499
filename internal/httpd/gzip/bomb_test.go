package gzip_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

const (
	bombBytes   = 1 << 30
	memberBytes = 8 << 20
	// fewBytes is what one response may keep in memory.
	fewBytes = 4 << 20
)

// bomb is a megabyte that grows to a gigabyte.
func bomb(t *testing.T) string {
	t.Helper()
	b := strings.Repeat(packed(t, string(make([]byte, memberBytes))), bombBytes/memberBytes)
	if len(b) > 2<<20 {
		t.Fatalf("the bomb has %d bytes", len(b))
	}
	return b
}

// heap is how much memory is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A client that reads slowly, or not at all, or is gone, does not make a bomb fill
// memory, nor the processor go on with it. It is no parallel test: it looks at memory.
func TestBombStaysSmall(t *testing.T) {
	port, err := testbed.TakePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	p := sidebyside.Start(t, `
		log_format sent "$uri $body_bytes_sent"; access_log logs/sent.log sent;
		server {
			listen ADDR; listen IP:`+strconv.Itoa(port.Number)+` http2; root ROOT; gunzip on;
			location /file/ { alias ROOT/; gzip_static always; }
			location /raw/ { alias ROOT/; gunzip off; gzip_static always; access_log off; }
			location /proxied/ { proxy_pass http://ADDR/raw/; }
			location /unbuffered/ { proxy_pass http://ADDR/raw/; proxy_buffering off; }
			location /rate/ { proxy_pass http://ADDR/raw/; limit_rate 1m; }
		}`, sidebyside.Files{"bomb.gz": bomb(t)})
	before := heap()
	for _, folder := range []string{"/file/", "/proxied/", "/unbuffered/", "/rate/"} {
		t.Run(strings.Trim(folder, "/"), func(t *testing.T) {
			routines := runtime.NumGoroutine()
			c, err := net.Dial("tcp", p.Baton)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprint(c, sidebyside.Get(folder+"bomb"))
			for _, n := range []int64{1 << 10, 512 << 10} {
				if _, err := io.CopyN(io.Discard, c, n); err != nil {
					t.Fatal(err)
				}
				waits(t, c)
				if more := heap() - before; more > fewBytes {
					t.Errorf("%d bytes are in memory", more)
				}
			}
			c.Close()
			testbed.WaitFor(t, "the server to give up", func() bool { return runtime.NumGoroutine() <= routines })
			if sent := bytesSent(t, p, folder); sent > 64<<20 {
				t.Errorf("%d bytes were decompressed for a client that went away", sent)
			}
		})
	}
	t.Run("http2", func(t *testing.T) {
		host, _, _ := net.SplitHostPort(p.Baton)
		stalledStream(t, net.JoinHostPort(host, strconv.Itoa(port.Number)), before)
	})
	if got := p.Same(sidebyside.Ask("HEAD", "/file/bomb")); got.Code() != "200" {
		t.Errorf("HEAD: %s", got)
	}
}

// stalledStream asks for the bomb by HTTP/2 and never opens the window again.
func stalledStream(t *testing.T, addr string, before int64) {
	t.Helper()
	routines := runtime.NumGoroutine()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fr := http2.NewFramer(c, c)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "b"}, {":path", "/proxied/bomb"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	fmt.Fprint(c, http2.ClientPreface)
	_ = fr.WriteSettings()
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	const window = 65535
	for got := 0; got < window; {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*http2.DataFrame); ok {
			got += len(d.Data())
		}
	}
	for range 10 {
		if more := heap() - before; more > fewBytes {
			t.Errorf("%d bytes are in memory", more)
		}
	}
	c.Close()
	testbed.WaitFor(t, "the server to give up", func() bool { return runtime.NumGoroutine() <= routines })
}

// waits returns when nothing more comes to c, which nobody reads.
func waits(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	last, same := 0, 0
	testbed.WaitFor(t, "the server to wait for its client", func() bool {
		var n int
		_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
		if same++; n == 0 || n != last {
			last, same = n, 0
		}
		return same == 10
	})
}

// bytesSent is what the log says about a request for the bomb.
func bytesSent(t *testing.T, p *sidebyside.Pair, folder string) (n int64) {
	t.Helper()
	line := regexp.MustCompile(regexp.QuoteMeta(folder) + `bomb (\d+)`)
	testbed.WaitFor(t, "line in the log", func() bool {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(p.Dir), "baton/logs/sent.log"))
		m := line.FindSubmatch(b)
		if err != nil || m == nil {
			return false
		}
		n, err = strconv.ParseInt(string(m[1]), 10, 64)
		return err == nil
	})
	return n
}
