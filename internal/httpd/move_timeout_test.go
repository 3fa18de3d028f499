package httpd_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// A time-out of whole runs for before when its connection moves. If it began anew then it
// would not end within another whole: a busy machine may be as late as before is long.
const whole, before = 3500 * time.Millisecond, 3 * time.Second

// Time-outs go on counting over a move, and so do requests.
func TestTimeoutsGoOnCounting(t *testing.T) {
	t.Parallel() // mostly waits
	echoing, _ := echoBackend(t)
	quiet := make(chan struct{})
	halting := backendFunc(t, func(nc net.Conn, _ *http.Request) {
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\none")
		<-quiet
	})
	t.Cleanup(func() { close(quiet) })
	get := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, tc := range []struct {
		name, directives, request, rest string
	}{
		{"keep-alive", "keepalive_timeout 3500ms; client_header_timeout 1h;", get, ""},
		{"head", "keepalive_timeout 1h; client_header_timeout 3500ms;", get, "GET / HT"},
		{"first head", "keepalive_timeout 1h; client_header_timeout 3500ms;", "", "GET / HT"},
		{"no byte", "keepalive_timeout 1h; client_header_timeout 3500ms;", "", ""},
		{"tunnel", "location /ws { proxy_pass http://" + echoing + "; proxy_http_version 1.1; proxy_read_timeout 3500ms;" +
			"proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }",
			"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", ""},
		{"answer", "location /halts { proxy_pass http://" + halting + "; proxy_http_version 1.1; proxy_read_timeout 3500ms; }",
			"GET /halts HTTP/1.1\r\nHost: a\r\n\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // mostly waits
			r := newRelay(t, "tcp", "location / { echo WHO; } "+tc.directives)
			began := time.Now() // before the server's time runs
			c, _ := r.dial()
			if tc.request != "" {
				if _, err := io.WriteString(c.nc, tc.request); err != nil {
					t.Fatal(err)
				}
				if head := headOf(t, c); !strings.Contains(head, " 101 ") {
					_, _ = c.br.Discard(len("one"))
				}
			}
			if _, err := io.WriteString(c.nc, tc.rest); err != nil {
				t.Fatal(err)
			}
			awaitTotals(t, r.servers[0], func(n httpd.Totals) bool { return n.Active == 1 })
			atLeast(time.Now(), before)
			moving := time.Now()
			r.move()
			_, err := c.br.ReadByte()
			if took, since := time.Since(began), time.Since(moving); err != io.EOF || took < whole || since >= whole {
				t.Errorf("the connection ended with %v after %v, and %v after it moved, want the end after %v", err, took, since, whole)
			}
		})
	}
}

// A tunnel that is interrupted and refused was idle before that too.
func TestTunnelTimeoutGoesOnWhenRefused(t *testing.T) {
	t.Parallel() // mostly waits
	backend, _ := echoBackend(t)
	addr, old, _ := pair(t, `server { LISTEN location /ws { proxy_pass http://`+backend+`; proxy_read_timeout 3500ms; `+tunnelPlace+` } }`)
	ws := dial(t, addr)
	ws.ask("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", 0)
	atLeast(time.Now(), before)
	give, asked := refusing()
	moving := time.Now()
	old.Retire(t.Context(), give)
	if since := time.Since(moving); since >= whole || asked.Load() == 0 {
		t.Errorf("it ended %v after it was offered, %d times; want %v less than that", since, asked.Load(), before)
	}
}

// How long the beginning of a head has waited is not lost when its connection moves on
// before it was read on.
func TestHeadTimeoutSurvivesTwoMoves(t *testing.T) {
	t.Parallel() // mostly waits
	directives := `client_header_timeout 3500ms; server { LISTEN echo WHO; }`
	addr, old, next := pair(t, directives)
	third := serverFor(t, t.TempDir(), addr, directives)
	c := dial(t, addr)
	if _, err := io.WriteString(c.nc, "GET / HTTP/1.1\r\nHo"); err != nil {
		t.Fatal(err)
	}
	awaitTotals(t, old, func(n httpd.Totals) bool { return n.Reading == 1 })
	atLeast(time.Now(), before)
	moving := time.Now()
	next.Redirect(giveTo(third)) // so that it goes on at once
	if r := old.Retire(t.Context(), giveTo(next)); r.Moved != 1 {
		t.Fatalf("Retire = %+v", r)
	}
	until(t, "the third has it", func() bool { return third.Conns() == 1 })
	_, err := c.br.ReadByte()
	if since := time.Since(moving); err != io.EOF || since >= whole {
		t.Errorf("it ended with %v, %v after it moved, want the end %v less after that", err, since, before)
	}
}

// A head that moved before it was whole does not count as pipelined.
func TestMovedHeadIsNotPipelined(t *testing.T) {
	addr, old, next := pair(t, `server { LISTEN echo "$pipe"; }`)
	c := dial(t, addr)
	if _, err := io.WriteString(c.nc, "GET / HTTP/1.1\r\nHo"); err != nil {
		t.Fatal(err)
	}
	awaitTotals(t, old, func(n httpd.Totals) bool { return n.Reading == 1 })
	if r := old.Retire(t.Context(), giveTo(next)); r.Moved != 1 {
		t.Fatalf("Retire = %+v", r)
	}
	if _, body := c.do("st: a\r\n\r\n"); body != "." {
		t.Errorf("$pipe = %q", body)
	}
}

func TestRequestsGoOnCounting(t *testing.T) {
	r := newRelay(t, "tcp", "echo WHO; keepalive_requests 3;")
	c, _ := r.dial()
	for i, want := range []string{"one", "two", "three"} {
		resp, body := c.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if body != want || resp.Close != (i == 2) {
			t.Errorf("request %d: %q, close %v", i+1, body, resp.Close)
		}
		if i < 2 {
			r.move()
		}
	}
	c.ended()
}

// A client that takes nothing has as long as the configuration says after a move, too.
func TestSendTimeoutHoldsAfterAMove(t *testing.T) {
	const timeout = 1200 * time.Millisecond
	for name, place := range map[string]string{
		"file":      "root DIR;",
		"copied":    "root DIR; sendfile off;",
		"kept":      "proxy_pass http://FLOOD; proxy_http_version 1.1; TEMPS",
		"streaming": "proxy_pass http://FLOOD; proxy_http_version 1.1; proxy_buffering off;",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // mostly waits
			dir, _ := bigFile(t, floodBytes)
			f := newFlood(t)
			defer close(f.more)
			place := strings.NewReplacer("DIR", dir, "FLOOD", f.addr, "TEMPS", makeTemps(t)).Replace(place)
			addr, old, next := pair(t, "sendfile on; server { LISTEN send_timeout 1200ms; location / { "+place+" } }")
			path := "/big"
			if strings.Contains(place, "proxy") {
				path = "/length"
			}
			slowClient(t, addr, path, "1.1", "")
			awaitTotals(t, old, func(n httpd.Totals) bool { return n.Writing == 1 })
			began := time.Now()
			retired(t, old, giveTo(next))
			until(t, "end of the connection", func() bool { return next.Conns() == 0 })
			if took := time.Since(began); took < timeout/2 || took > timeout+30*time.Second {
				t.Errorf("it ended after %v, want %v", took, timeout)
			}
		})
	}
}
