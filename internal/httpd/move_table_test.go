package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// A relay is servers that retire to one another: one, two, three. They write one
// access log, as workers of generations do.
type relay struct {
	t       *testing.T
	network string
	addr    string // to dial
	log     string
	servers []*httpd.Server
	at      int
}

// loggedFormat says what a line must have kept of a moved connection. WHO is the
// server that wrote it.
const loggedFormat = `'$connection $connection_requests $status $bytes_sent $body_bytes_sent $request_length $request_time $remote_addr "$request" WHO'`

var loggedLine = regexp.MustCompile(`^(\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+\.\d+) (\S+) "(.*)" (\w+)$`)

// A logged is one line of that format.
type logged struct {
	number, served, status, sent, body, length int
	took                                       time.Duration
	remote, request, who                       string
}

func (l logged) String() string {
	return fmt.Sprintf("%s %d: %d, %d bytes, %d of content, by %s", l.request, l.served, l.status, l.sent, l.body, l.who)
}

// newRelay starts the first of three servers, each with a server block of these
// directives, in which WHO is the name of the server.
func newRelay(t *testing.T, network, directives string) *relay {
	t.Helper()
	return newRelayLogging(t, network, loggedFormat, directives)
}

// newRelayLogging is newRelay with another format of the log.
func newRelayLogging(t *testing.T, network, format, directives string) *relay {
	t.Helper()
	ln, key := listenOn(t, network)
	r := &relay{t: t, network: network, addr: ln.Addr().String(), log: filepath.Join(t.TempDir(), "moves.log")}
	for _, who := range []string{"one", "two", "three"} {
		all := "log_format moves " + format + ";\nserver { LISTEN access_log " + r.log + " moves;\n" + directives + "}"
		file, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		s := httpd.NewServer(siteFor(t, t.TempDir(), key, strings.ReplaceAll(all, "WHO", who)),
			httpd.Env{Log: slog.New(slog.DiscardHandler), Logs: map[string]*os.File{r.log: file}})
		t.Cleanup(func() {
			s.Close()
			s.Retire(context.Background(), nil)
			file.Close()
		})
		r.servers = append(r.servers, s)
	}
	if err := r.servers[0].Start(map[string][]net.Listener{key: {ln}}); err != nil {
		t.Fatal(err)
	}
	return r
}

// listenOn opens a socket, and returns the key that it has in a configuration.
func listenOn(t *testing.T, network string) (ln net.Listener, key string) {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	key = ln.Addr().String()
	if network == "unix" {
		key = "unix:" + key
	}
	return ln, key
}

// move retires the server that serves to the next one; the connection moves at once.
func (r *relay) move() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	if got := r.servers[r.at].Retire(ctx, giveTo(r.servers[r.at+1])); got != (httpd.Retired{Moved: 1}) {
		r.t.Fatalf("Retire = %+v", got)
	}
	r.at++
}

// lines waits for n lines of the log; there must be no more.
func (r *relay) lines(n int) (lines []logged) {
	r.t.Helper()
	var text []byte
	until(r.t, fmt.Sprintf("%d lines of the log", n), func() bool {
		text, _ = os.ReadFile(r.log)
		return bytes.Count(text, []byte("\n")) >= n
	})
	for line := range strings.Lines(string(text)) {
		m := loggedLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			r.t.Fatalf("line of the log: %q", line)
		}
		num := func(i int) int { n, _ := strconv.Atoi(m[i]); return n }
		took, _ := time.ParseDuration(m[7] + "s")
		lines = append(lines, logged{num(1), num(2), num(3), num(4), num(5), num(6), took, m[8], m[9], m[10]})
	}
	if len(lines) != n {
		r.t.Fatalf("%d lines of the log, want %d:\n%s", len(lines), n, text)
	}
	return lines
}

// want compares a line of the log with what is known of the request. The time that a move
// itself takes is in no line, so half of what passed is the least that is wanted.
func (r *relay) want(got logged, served, status int, sent, body int64, atLeast time.Duration, who string) {
	r.t.Helper()
	remote := "127.0.0.1"
	if r.network == "unix" {
		remote = "unix:"
	}
	if got.number != 1 || got.served != served || got.status != status || got.sent != int(sent) || got.body != int(body) ||
		got.took < atLeast/2 || got.took > atLeast+time.Minute || got.remote != remote || got.who != who {
		r.t.Errorf("logged %+v\nwant request %d of connection 1, status %d, %d bytes sent, %d of content, after %v, from %s, by %s",
			got, served, status, sent, body, atLeast, remote, who)
	}
}

// A counter is a connection that counts what comes.
type counter struct {
	net.Conn
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n += int64(n)
	return n, err
}

func (r *relay) dial() (*client, *counter) {
	r.t.Helper()
	nc, err := net.Dial(r.network, r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	n := &counter{Conn: nc}
	return &client{r.t, n, bufio.NewReader(n)}, n
}

// got is how many bytes of answers the client has read since before.
func (n *counter) since(c *client, before int64) int64 { return n.n - int64(c.br.Buffered()) - before }

// inEveryForm runs test over TCP and unix sockets, with both versions of HTTP. head
// makes a request's head.
func inEveryForm(t *testing.T, test func(t *testing.T, network string, head func(line string, fields ...string) string)) {
	for _, network := range []string{"tcp", "unix"} {
		for _, version := range []string{"HTTP/1.0", "HTTP/1.1"} {
			t.Run(network+" "+version, func(t *testing.T) {
				t.Parallel() // mostly waits
				test(t, network, func(line string, fields ...string) string {
					if version == "HTTP/1.0" {
						fields = append(fields, "Connection: keep-alive")
					}
					return line + " " + version + "\r\nHost: a\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
				})
			})
		}
	}
}

// atLeast waits until d has passed since began.
func atLeast(began time.Time, d time.Duration) {
	for time.Since(began) < d {
		time.Sleep(time.Millisecond)
	}
}

func TestWaitingConnectionKeepsItsMeaning(t *testing.T) {
	inEveryForm(t, func(t *testing.T, network string, head func(string, ...string) string) {
		r := newRelay(t, network, `echo "WHO";`)
		c, n := r.dial()
		awaitTotals(t, r.servers[0], func(n httpd.Totals) bool { return n.Waiting == 1 })
		r.move() // accepted, no byte yet
		_, body := c.do(head("GET /first"))
		if body != "two" {
			t.Errorf("first answer by %q", body)
		}
		first := n.since(c, 0)
		// A whole request, and the beginning of the next one behind it.
		begun := head("POST /second", "Content-Length: 3")
		cut := len(begun) - 9
		before := n.since(c, 0)
		if _, body = c.do(head("GET /mid") + begun[:cut]); body != "two" {
			t.Errorf("answer by %q", body)
		}
		mid := n.since(c, before)
		awaitTotals(t, r.servers[1], func(n httpd.Totals) bool { return n.Reading == 1 })
		began := time.Now()
		atLeast(began, 150*time.Millisecond)
		r.move()
		before = n.since(c, 0)
		resp, body := c.do(begun[cut:] + "abc")
		if body != "three|abc" || resp.Close {
			t.Errorf("last answer %q, close %v", body, resp.Close)
		}
		lines := r.lines(3)
		r.want(lines[0], 1, 200, first, 3, 0, "two")
		r.want(lines[1], 2, 200, mid, 3, 0, "two")
		r.want(lines[2], 3, 200, n.since(c, before), 9, 150*time.Millisecond, "three")
		if want := len(begun) + 3; lines[2].length != want {
			t.Errorf("$request_length of the request in two halves is %d, want %d", lines[2].length, want)
		}
	})
}

func TestDownloadsKeepTheirMeaning(t *testing.T) {
	const size = 600 << 10
	inEveryForm(t, func(t *testing.T, network string, head func(string, ...string) string) {
		for _, tc := range []struct {
			name, sendfile, field string
			from, to, status      int
		}{
			{"whole", "on", "X-A: b", 0, size, 200},
			{"copied", "off", "X-A: b", 0, size, 200},
			{"range", "on", "Range: bytes=10000-", 10000, size, 206},
			{"range, copied", "off", "Range: bytes=-600000", size - 600000, size, 206},
		} {
			t.Run(tc.name, func(t *testing.T) {
				dir, content := bigFile(t, size)
				r := newRelay(t, network, `sendfile `+tc.sendfile+`; limit_rate 400k; root `+dir+`; location = /who { limit_rate 0; echo WHO; }`)
				c, n := r.dial()
				c.do(head("GET /who"))
				before := n.since(c, 0)
				raw := head("GET /big", tc.field)
				// The next request is there already.
				said, got := c.ask(raw+head("GET /who"), 50<<10)
				began := time.Now()
				r.move()
				got = c.rest(got, 410<<10)
				atLeast(began, 50*time.Millisecond)
				soFar := time.Since(began)
				r.move()
				if got = c.rest(got, tc.to-tc.from); !bytes.Equal(got, content[tc.from:tc.to]) {
					t.Error("the content differs")
				}
				sent := n.since(c, before)
				if !strings.Contains(said, " "+strconv.Itoa(tc.status)+" ") {
					t.Errorf("head %q", said)
				}
				if _, body := c.read(); body != "three" {
					t.Errorf("the next request: %q", body)
				}
				lines := r.lines(3)
				r.want(lines[1], 2, tc.status, sent, sent-int64(len(said)), soFar, "three")
				if lines[1].length != len(raw) {
					t.Errorf("$request_length %d, want %d", lines[1].length, len(raw))
				}
				if lines[2].served != 3 || lines[2].number != 1 {
					t.Errorf("the next line: %v", lines[2])
				}
			})
		}
	})
}

func TestStreamsKeepTheirMeaning(t *testing.T) {
	inEveryForm(t, func(t *testing.T, network string, head func(string, ...string) string) {
		for _, framing := range []string{"length", "chunks", "inside", "close"} {
			t.Run(framing, func(t *testing.T) {
				more := make(chan struct{})
				defer close(more)
				r := newRelay(t, network, `location / { proxy_pass http://`+halves(t, more)+`; proxy_http_version 1.1; } location = /who { echo WHO; }`)
				c, n := r.dial()
				c.do(head("GET /who"))
				before := n.since(c, 0)
				if _, err := io.WriteString(c.nc, head("GET /"+framing)); err != nil {
					t.Fatal(err)
				}
				said := headOf(t, c)
				began := time.Now()
				body := bodyOf(t, c, said)
				first := make([]byte, 5)
				if _, err := io.ReadFull(body, first); err != nil {
					t.Fatal(err)
				}
				r.move()
				atLeast(began, 100*time.Millisecond)
				r.move()
				more <- struct{}{}
				rest, err := io.ReadAll(body)
				if err != nil || string(first)+string(rest) != "first-last" {
					t.Fatalf("the answer: %q%q, %v", first, rest, err)
				}
				if strings.Contains(said, "chunked") {
					c.br.Discard(2) // the end of the last chunk
				}
				sent := n.since(c, before)
				lines := 2
				if !strings.Contains(said, "Connection: close") {
					if _, body := c.do(head("GET /who")); body != "three" {
						t.Errorf("the next request: %q", body)
					}
					lines = 3
				}
				r.want(r.lines(lines)[1], 2, 200, sent, sent-int64(len(said)), 100*time.Millisecond, "three")
			})
		}
	})
}

// bodyOf reads the body of an answer with this head.
func bodyOf(t *testing.T, c *client, head string) io.Reader {
	t.Helper()
	length := 0
	for line := range strings.Lines(head) {
		fmt.Sscanf(line, "Content-Length: %d", &length)
	}
	switch {
	case strings.Contains(head, "Transfer-Encoding: chunked"):
		return &chunks{t: t, c: c}
	case length > 0:
		return io.LimitReader(c.br, int64(length))
	default:
		return c.br
	}
}

func TestTunnelsKeepTheirMeaning(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			backend, _ := echoBackend(t)
			r := newRelay(t, network, `location / { proxy_pass http://`+backend+`; proxy_http_version 1.1;
				proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } location = /who { echo WHO; }`)
			c, n := r.dial()
			c.do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n")
			before := n.since(c, 0)
			say := func(word string) {
				t.Helper()
				if _, err := io.WriteString(c.nc, word); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 5)
				if _, err := io.ReadFull(c.br, got); err != nil {
					t.Fatal(err)
				}
			}
			raw := "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
			if _, err := io.WriteString(c.nc, raw); err != nil {
				t.Fatal(err)
			}
			said := headOf(t, c)
			began := time.Now()
			say("first")
			r.move()
			say("again")
			atLeast(began, 100*time.Millisecond)
			r.move()
			say("third")
			c.nc.Close()
			line := r.lines(2)[1]
			r.want(line, 2, 101, n.since(c, before), 15, 100*time.Millisecond, "three")
			if n.since(c, before) != int64(len(said)+15) {
				t.Errorf("%d bytes came", n.since(c, before))
			}
			if line.length != len(raw) {
				t.Errorf("$request_length %d, want %d", line.length, len(raw))
			}
		})
	}
}

// A request whose body is under way is answered and logged where it began.
func TestRequestUnderWayKeepsItsMeaning(t *testing.T) {
	inEveryForm(t, func(t *testing.T, network string, head func(string, ...string) string) {
		r := newRelay(t, network, `echo "WHO";`)
		c, n := r.dial()
		c.do(head("GET /"))
		before := n.since(c, 0)
		raw := head("POST /body", "Content-Length: 4")
		awaitTotals(t, r.servers[0], func(n httpd.Totals) bool { return n.Waiting == 1 })
		if _, err := io.WriteString(c.nc, raw+"ab"); err != nil {
			t.Fatal(err)
		}
		awaitTotals(t, r.servers[0], func(n httpd.Totals) bool { return n.Writing == 1 })
		began := time.Now()
		done := make(chan httpd.Retired, 1)
		go func() { done <- r.servers[0].Retire(context.Background(), giveTo(r.servers[1])) }()
		atLeast(began, 100*time.Millisecond)
		resp, body := c.do("cd")
		if body != "one|abcd" || resp.Close {
			t.Errorf("the request under way: %q, close %v", body, resp.Close)
		}
		sent := n.since(c, before)
		if got := <-done; got != (httpd.Retired{Moved: 1}) {
			t.Errorf("Retire = %+v", got)
		}
		if _, body := c.do(head("GET /")); body != "two" {
			t.Errorf("the next request: %q", body)
		}
		lines := r.lines(3)
		r.want(lines[1], 2, 200, sent, 8, 100*time.Millisecond, "one")
		if want := len(raw) + 4; lines[1].length != want {
			t.Errorf("$request_length %d, want %d", lines[1].length, want)
		}
		if lines[2].number != 1 || lines[2].served != 3 {
			t.Errorf("the next line: %v", lines[2])
		}
	})
}
