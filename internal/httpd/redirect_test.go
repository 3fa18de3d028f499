package httpd_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/handoff"
	"github.com/baton-deploy/baton/internal/httpd"
)

// refusing is a successor that takes nothing, and how often it was asked.
func refusing() (give httpd.Give, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	return func(byte, []byte, ...int) error {
		asked.Add(1)
		return errors.New("refused")
	}, asked
}

// echoed fails the test unless a tunnel to an echo answers.
func (c *client) echoed(word string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, word); err != nil {
		c.t.Fatal(err)
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(c.br, got); err != nil || string(got) != word {
		c.t.Fatalf("the tunnel answered %q, %v, want %q", got, err, word)
	}
}

const tunnelPlace = `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;`

// Retire may interrupt a wait that a connection began after it was refused: it goes
// on waiting.
func TestLateInterruptionEndsNothing(t *testing.T) {
	more := make(chan struct{}, 1)
	backend, _ := echoBackend(t)
	addr, old, _ := pair(t, `server { LISTEN
		location /ws { proxy_pass http://`+backend+`; `+tunnelPlace+` }
		location /length { proxy_pass http://`+halves(t, more)+`; proxy_http_version 1.1; }
		location / { echo WHO; } }`)
	idle, ws, stream := dial(t, addr), dial(t, addr), dial(t, addr)
	idle.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	ws.ask("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", 0)
	_, got := stream.ask("GET /length HTTP/1.1\r\nHost: a\r\n\r\n", 5)
	give, asked := refusing()
	done := make(chan httpd.Retired, 1)
	go func() { done <- old.Retire(context.Background(), give) }()
	until(t, "three are refused", func() bool { return asked.Load() >= 3 })
	for range 50 {
		old.PokeAll()
		ws.echoed("word")
	}
	more <- struct{}{}
	if body := stream.rest(got, 10); string(body) != "first-last" {
		t.Errorf("the stream: %q", body)
	}
	if resp, body := idle.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); body != "old" || !resp.Close {
		t.Errorf("the idle connection: %q, close %v", body, resp.Close)
	}
	ws.nc.Close()
	stream.nc.Close()
	if r := <-done; r.Closed != 0 || r.Moved != 0 {
		t.Errorf("Retire = %+v", r)
	}
}

// What one successor refused goes to the next one.
func TestAnotherSuccessorTakesWhatWasRefused(t *testing.T) {
	backend, _ := echoBackend(t)
	addr, old, next := pair(t, `server { LISTEN
		location /ws { proxy_pass http://`+backend+`; `+tunnelPlace+` }
		location / { echo WHO; } }`)
	idle, ws := dial(t, addr), dial(t, addr)
	idle.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	ws.ask("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", 0)
	give, asked := refusing()
	done := make(chan httpd.Retired, 1)
	go func() { done <- old.Retire(context.Background(), give) }()
	until(t, "both are refused", func() bool { return asked.Load() >= 2 })
	old.Redirect(giveTo(next))
	if r := <-done; r != (httpd.Retired{Moved: 2}) {
		t.Errorf("Retire = %+v", r)
	}
	if resp, body := idle.do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); body != "next" || resp.Close {
		t.Errorf("the idle connection: %q, close %v", body, resp.Close)
	}
	ws.echoed("word")
	ws.nc.Close()
}

// A successor that retires itself has promised another: until he comes nobody is told
// to leave, and when he does not come everybody is.
func TestClientsOfAPromisedSuccessorStay(t *testing.T) {
	t.Parallel() // mostly waits
	addr, old, next := pair(t, `server { LISTEN echo WHO; }`)
	moves, ends := dial(t, addr), dial(t, addr)
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	moves.do(get)
	ends.do(get)
	var asked atomic.Int32
	done := make(chan httpd.Retired, 1)
	go func() {
		done <- old.Retire(context.Background(), func(byte, []byte, ...int) error {
			asked.Add(1)
			return handoff.ErrLater
		})
	}()
	until(t, "both are put off", func() bool { return asked.Load() >= 2 })
	began := time.Now()
	for _, c := range []*client{moves, ends} {
		if resp, body := c.do(get); (resp.Close || body != "old") && time.Since(began) < time.Second {
			t.Errorf("before the promised successor came: %q, close %v", body, resp.Close)
		}
	}
	give := giveTo(next)
	var taken atomic.Int32
	old.Redirect(func(kind byte, state []byte, fds ...int) error {
		if taken.Add(1) > 1 {
			return handoff.ErrLater
		}
		return give(kind, state, fds...)
	})
	until(t, "one has moved and one is put off again", func() bool { return taken.Load() == 2 })
	putOff, last := time.Now(), 0
	until(t, "the one that stayed is told to leave", func() bool {
		last++
		for _, c := range []*client{moves, ends} {
			if resp, body := c.do(get); body == "old" && resp.Close {
				return true
			}
		}
		return false
	})
	if last < 2 && time.Since(putOff) < time.Second {
		t.Error("it was told at once")
	}
	if r := <-done; r != (httpd.Retired{Moved: 1, Drained: 1}) {
		t.Errorf("Retire = %+v", r)
	}
}
