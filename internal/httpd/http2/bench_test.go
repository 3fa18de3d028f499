package http2_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/modules"
	"golang.org/x/net/http2"
)

// BenchmarkRequest asks for 1 KB with ten requests under way on one connection: Baton,
// through all that a request goes through, and beside it net/http with a handler that
// only writes. What the client allocates is the same in both.
func BenchmarkRequest(b *testing.B) {
	content := make([]byte, 1024)
	b.Run("net-http", func(b *testing.B) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{"text/plain"}
			w.Header()["Content-Length"] = []string{"1024"}
			_, _ = w.Write(content)
		})}
		s.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = s.Serve(ln) }()
		defer s.Close()
		load(b, ln.Addr().String())
	})
	b.Run("baton", func(b *testing.B) {
		dir := b.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a"), content, 0o644); err != nil {
			b.Fatal(err)
		}
		addr, stop := baton(b, dir, "server { listen 127.0.0.1:1 http2; access_log off; keepalive_requests 1000000000; root "+dir+"; }")
		defer stop()
		load(b, addr)
	})
}

// baton serves the content of an http block, whatever it says to listen on, on a free
// port.
func baton(b *testing.B, dir, text string) (addr string, stop func()) {
	b.Helper()
	table, err := modules.Table()
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte("events {}\nhttp {\n"+text+"\n}\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	c, err := conf.Load(table, conf.Options{Prefix: dir, File: file, ErrorLog: "error.log"})
	if err != nil {
		b.Fatal(err)
	}
	site, err := httpd.Compile(c, modules.All(), "baton/1")
	if err != nil {
		b.Fatal(err)
	}
	s := httpd.NewServer(site, httpd.Env{Log: slog.New(slog.DiscardHandler)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr = ln.Addr().String()
	if err := s.Start(map[string][]net.Listener{site.Listens()[0]: {ln}}); err != nil {
		b.Fatal(err)
	}
	return addr, func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		s.Retire(done, nil)
	}
}

// load sends b.N requests on one connection.
func load(b *testing.B, addr string) {
	const underWay = 10
	p := dial(b, addr)
	p.ReadMetaHeaders = nil
	p.SetReuseFrames()
	_ = p.WriteWindowUpdate(0, 1<<30)
	_ = p.WriteSettingsAck()
	p.block.Reset()
	p.ask(1, true, ":method: GET", ":scheme: http", ":path: /a", ":authority: example.com")
	ends := func(f http2.Frame) bool {
		return f.Header().Flags.Has(http2.FlagDataEndStream) && f.Header().StreamID > 0
	}
	read := func() {
		for {
			f, err := p.ReadFrame()
			if err != nil && err != io.EOF {
				b.Fatal(err)
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				b.Fatal(g)
			}
			if ends(f) {
				return
			}
		}
	}
	read()
	block := []byte{0x82, 0x86, 0x04, 2, '/', 'a', 0x41, 1, 'h'}
	id := uint32(3)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		k := min(underWay, b.N-n)
		for range k {
			_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
			id += 2
		}
		for range k {
			read()
		}
		if n += k; n%1000 < underWay {
			_ = p.WriteWindowUpdate(0, 1<<20)
		}
	}
}
