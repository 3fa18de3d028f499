package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/handoff"
	"github.com/baton-deploy/baton/internal/httpd"
)

// stormTime is how long the storm lasts.
const stormTime = 1500 * time.Millisecond

// A stormTaker takes for a server as a worker does, but refuses now and then.
type stormTaker struct {
	s *httpd.Server
	// mu guards what follows.
	mu      sync.Mutex
	held    int
	refuses bool
}

func (k *stormTaker) Want(t handoff.Ticket) bool {
	if rand.N(20) == 0 || !k.s.Wants(t.Kind, t.State, len(t.Files)) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.refuses {
		k.held++
	}
	return !k.refuses
}

func (k *stormTaker) Leaving() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refuses
}

func (k *stormTaker) Take(t handoff.Ticket) {
	_ = k.s.Take(t.Kind, t.State, t.Files)
	k.Drop(t)
}

func (k *stormTaker) Drop(handoff.Ticket) {
	k.mu.Lock()
	k.held--
	k.mu.Unlock()
}

// refuse lets nothing more in, and waits for what was promised a place.
func (k *stormTaker) refuse(t *testing.T) {
	until(t, "what is held is settled", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.refuses = true
		return k.held == 0
	})
}

// linkTo is a real link to a taker.
func linkTo(t *testing.T, to *stormTaker) (httpd.Give, func()) {
	gf, tf, err := handoff.Pair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		taker, err := handoff.NewTaker(context.Background(), tf)
		if err == nil {
			err = taker.Run(to)
		}
		if err != nil {
			t.Error(err)
		}
	}()
	g, err := handoff.NewGiver(context.Background(), gf, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	give := func(kind byte, state []byte, fds ...int) error {
		return g.Give(handoff.Ticket{Kind: kind, State: state, Files: fds})
	}
	return give, func() { _ = g.Close(); <-done }
}

// A storm is servers that retire to one another all the time, and clients that look
// at every byte meanwhile.
type storm struct {
	t       *testing.T
	addr    string
	ln      *net.TCPListener
	site    string
	content []byte
	over    chan struct{}
	clients sync.WaitGroup
	served  [4]atomic.Int64 // by kind of client
}

// ended reports whether clients are to begin nothing more.
func (s *storm) ended() bool {
	select {
	case <-s.over:
		return true
	default:
		return s.t.Failed()
	}
}

// server is one more that accepts. They copy files and send them, in turn.
func (s *storm) server(n int) *stormTaker {
	t := s.t
	next := serverFor(t, t.TempDir(), s.addr, strings.ReplaceAll(s.site, "SENDFILE", []string{"on", "off"}[n%2]))
	f, err := s.ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Start(map[string][]net.Listener{s.addr: {ln}}); err != nil {
		t.Fatal(err)
	}
	return &stormTaker{s: next}
}

// slowKind is the clients whose connections hold little.
const slowKind = 2

func (s *storm) dial(kind int) *client {
	if kind != slowKind {
		return dial(s.t, s.addr)
	}
	nc := dialNarrow(s.t, s.addr)
	return &client{s.t, nc, bufio.NewReader(nc)}
}

// run runs clients of one kind: f has a connection, and says whether it can go on.
func (s *storm) run(kind, clients int, f func(c *client, id, n int) (more bool, err error)) {
	for id := range clients {
		s.clients.Go(func() {
			for n := 0; !s.ended(); {
				c := s.dial(kind)
				_ = c.nc.SetDeadline(time.Now().Add(stormTime + 20*time.Second))
				for more := true; more && !s.ended(); n++ {
					var err error
					if more, err = f(c, id, n); err != nil {
						s.t.Errorf("client %d of kind %d: %v", id, kind, err)
						return
					}
					s.served[kind].Add(1)
				}
				c.nc.Close()
			}
		})
	}
}

// get asks and compares the answer's body. The client reads it slowly if it is told to.
func (c *client) get(raw string, want []byte, slowly bool) (more bool, err error) {
	if _, err := io.WriteString(c.nc, raw); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return false, err
	}
	got := bytes.NewBuffer(make([]byte, 0, len(want)))
	for err == nil {
		if slowly {
			atLeast(time.Now(), rand.N(5*time.Millisecond))
		}
		_, err = io.CopyN(got, resp.Body, 64<<10)
	}
	if err != io.EOF || !bytes.Equal(got.Bytes(), want) {
		return false, fmt.Errorf("%.30q: %d bytes, want %d: %w", raw, got.Len(), len(want), err)
	}
	return !resp.Close, nil
}

// backend sends the storm's content, framed as the path says, or small pieces of it.
func (s *storm) backend(nc net.Conn, req *http.Request) {
	piece := func() int { return 1 + rand.N(100_000) }
	switch {
	case strings.HasSuffix(req.URL.Path, "length"):
		fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(s.content))
		for rest := s.content; len(rest) > 0; {
			n, err := nc.Write(rest[:min(len(rest), piece())])
			if rest = rest[n:]; err != nil {
				return
			}
		}
	case strings.HasSuffix(req.URL.Path, "close"):
		_, _ = nc.Write(append([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), s.content...))
	default:
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for rest := s.content; len(rest) > 0; {
			n := min(len(rest), piece())
			if _, err := fmt.Fprintf(nc, "%x\r\n%s\r\n", n, rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		_, _ = io.WriteString(nc, "0\r\n\r\n")
	}
}

// start starts the clients.
func (s *storm) start() {
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }
	s.run(0, 12, func(c *client, id, n int) (bool, error) { // keep-alive, some in two pieces
		body := strings.Repeat("x", 1+rand.N(5000))
		raw := fmt.Sprintf("POST /echo?n=%d-%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", id, n, len(body), body)
		cut := rand.N(2) * rand.N(len(raw))
		_, _ = io.WriteString(c.nc, raw[:cut])
		atLeast(time.Now(), rand.N(2*time.Millisecond))
		return c.get(raw[cut:], fmt.Appendf(nil, "%d-%d|%s", id, n, body), false)
	})
	s.run(1, 3, func(c *client, id, _ int) (bool, error) {
		return c.get(get([]string{"/big", "/paced/big"}[id%2]), s.content, false)
	})
	s.run(slowKind, 6, func(c *client, id, n int) (bool, error) {
		place := []string{"/file/", "/memory/", "/none/"}[id%3]
		return c.get(get(place+[]string{"length", "close", "chunks"}[n%3]), s.content, id >= 3)
	})
	s.run(3, 6, func(c *client, _, _ int) (bool, error) { // tunnels
		_, _ = io.WriteString(c.nc, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		if resp, err := http.ReadResponse(c.br, nil); err != nil || resp.StatusCode != 101 {
			return false, fmt.Errorf("tunnel: %v, %w", resp, err)
		}
		for range 200 {
			sent := bytes.Repeat([]byte{byte(rand.N(256))}, 1+rand.N(20_000))
			got := make([]byte, len(sent))
			if _, err := c.nc.Write(sent); err != nil {
				return false, err
			}
			if _, err := io.ReadFull(c.br, got); err != nil || !bytes.Equal(got, sent) {
				return false, fmt.Errorf("tunnel: %d bytes came back: %w", len(sent), err)
			}
		}
		return false, nil
	})
}

// A leaver is a server that retires.
type leaver struct {
	s    *httpd.Server
	gone atomic.Bool
}

// Everything moves from one server to the next all the time, over real links, some of
// which refuse, and no client sees anything of it.
func TestStormOfMoves(t *testing.T) {
	dir, content := bigFile(t, 4<<20)
	s := &storm{t: t, content: content, over: make(chan struct{})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s.ln, s.addr = ln.(*net.TCPListener), ln.Addr().String()
	backend := `proxy_pass http://` + backendFunc(t, s.backend) + `; proxy_http_version 1.1; `
	ws, _ := echoBackend(t)
	s.site = `sendfile SENDFILE; keepalive_requests 1000000; root ` + dir + `; proxy_temp_path ` + dir + `; server { LISTEN
		location /paced { alias ` + dir + `; limit_rate 20m; }
		location /file { ` + backend + ` proxy_max_temp_file_size 3m; }
		location /memory { ` + backend + ` proxy_max_temp_file_size 0; }
		location /none { ` + backend + ` proxy_buffering off; }
		location /ws { proxy_pass http://` + ws + `; ` + tunnelPlace + ` }
		location /echo { echo "$arg_n"; } }`
	serving := s.server(0)
	s.start()
	var retiring sync.WaitGroup
	var moved atomic.Int64
	var links []func()
	var leaving []*leaver
	generations := 1
	for began := time.Now(); time.Since(began) < stormTime && !t.Failed(); generations++ {
		atLeast(time.Now(), rand.N(60*time.Millisecond))
		old, next := serving, s.server(generations)
		link := func() httpd.Give {
			give, end := linkTo(t, next)
			links = append(links, end)
			return give
		}
		for _, l := range leaving { // as a master does: who was to take from it retires by now
			if !l.gone.Load() {
				give := link()
				retiring.Go(func() { l.s.Redirect(give) })
			}
		}
		give, l := link(), &leaver{s: old.s}
		leaving = append(leaving, l)
		retiring.Go(func() {
			old.refuse(t)
			moved.Add(int64(old.s.Retire(context.Background(), give).Moved))
			l.gone.Store(true)
		})
		serving = next
	}
	close(s.over)
	s.clients.Wait()
	retiring.Wait()
	for _, end := range links {
		end()
	}
	for kind := range s.served {
		if s.served[kind].Load() == 0 {
			t.Errorf("no client of kind %d was served", kind)
		}
	}
	if moved.Load() == 0 {
		t.Errorf("nothing moved in %d generations", generations)
	}
	t.Logf("%d generations, %d moves, %v served", generations, moved.Load(), []int64{s.served[0].Load(), s.served[1].Load(), s.served[2].Load(), s.served[3].Load()})
}
