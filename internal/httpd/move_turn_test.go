package httpd_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
)

// idlers are n connections to addr that wait for their next request.
func idlers(t *testing.T, addr string, s *httpd.Server, n int) []*client {
	t.Helper()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dial(t, addr)
		clients[i].do("GET /who HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	awaitTotals(t, s, func(c httpd.Totals) bool { return c.Waiting == int64(n) })
	return clients
}

// A connection that was interrupted as its request came does not keep its turn until
// that is answered: others would wait for it.
func TestTurnEndsWhenARequestCame(t *testing.T) {
	quiet := make(chan struct{})
	backend := backendFunc(t, func(net.Conn, *http.Request) { <-quiet })
	defer close(quiet)
	addr, old, _ := pair(t, `server { LISTEN location / { proxy_pass http://`+backend+`; } location /who { echo WHO; } }`)
	const n = 8
	clients := idlers(t, addr, old, n)
	turns := make(chan struct{}, n)
	poked := old.PokeAsInputComes(turns, func() {
		for _, c := range clients {
			if _, err := io.WriteString(c.nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Error(err)
			}
		}
	})
	if poked == 0 {
		t.Error("nobody was interrupted")
	}
	awaitTotals(t, old, func(c httpd.Totals) bool { return c.Writing == n })
	until(t, "all turns are over", func() bool { return len(turns) == 0 })
}

// A successor that hangs costs the clients nothing but those whose turn it is.
func TestHangingSuccessorHoldsUpFew(t *testing.T) {
	t.Parallel() // mostly waits
	for _, by := range []string{"retire", "redirect"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			addr, old, _ := pair(t, `server { LISTEN echo WHO; }`)
			const n = 40
			clients := idlers(t, addr, old, n)
			hung := make(chan struct{})
			var asked atomic.Int32
			hang := func(byte, []byte, ...int) error {
				asked.Add(1)
				<-hung
				return errors.New("the taker did not answer")
			}
			done := make(chan struct{}, 2)
			began := time.Now()
			go func() {
				if by == "redirect" {
					old.Redirect(hang)
				} else {
					old.Retire(context.Background(), hang)
				}
				done <- struct{}{}
			}()
			until(t, "some are offered", func() bool { return asked.Load() == 8 })
			atLeast(began, 1200*time.Millisecond) // a link to one that hangs ends after 2 s
			var answered atomic.Int32
			var wg sync.WaitGroup
			for _, c := range clients {
				wg.Go(func() {
					_, _ = io.WriteString(c.nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
					if _, err := http.ReadResponse(c.br, nil); err == nil {
						answered.Add(1)
					}
				})
			}
			until(t, "all but those that were offered are answered", func() bool { return answered.Load() >= n-8 })
			for _, c := range clients {
				c.nc.Close()
			}
			wg.Wait()
			close(hung)
			<-done
		})
	}
}

// Close does not wait for a successor, and what was moved does not count as cut.
func TestCloseWhileAGiveIsUnderWay(t *testing.T) {
	addr, old, next := pair(t, `server { LISTEN echo WHO; }`)
	const n = 20
	idlers(t, addr, old, n)
	var asked atomic.Int32
	slow := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan httpd.Retired, 1)
	give := giveTo(next)
	go func() {
		done <- old.Retire(ctx, func(kind byte, state []byte, fds ...int) error {
			asked.Add(1)
			<-slow
			return give(kind, state, fds...)
		})
	}()
	until(t, "a give is under way", func() bool { return asked.Load() == 8 })
	cancel()
	closed := make(chan struct{})
	go func() { old.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("Close waits for a Give under way")
	}
	until(t, "the others are closed", func() bool { return old.Conns() <= 8 })
	close(slow)
	if r := <-done; r.Moved+r.Closed != n || r.Drained != 0 || r.Moved < 1 {
		t.Errorf("Retire = %+v, %d connections", r, n)
	}
}

// Retire does not return while a connection is served that was taken meanwhile, and
// none is taken when it has.
func TestRetireWaitsForWhatIsTaken(t *testing.T) {
	addr := "127.0.0.1:80" // nobody listens
	for range 100 {
		s := serverFor(t, t.TempDir(), addr, `server { LISTEN echo; }`)
		first, firstPeer := socketPair(t)
		if err := s.Take(1, stateOf(addr), []int{first}); err != nil {
			t.Fatal(err)
		}
		late, latePeer := socketPair(t)
		behind, behindPeer := socketPair(t)
		clientOn(t, behindPeer)
		ended := make(chan struct{})
		go func() { s.Retire(context.Background(), nil); close(ended) }()
		client := clientOn(t, firstPeer)
		go client.nc.Close()
		taken := s.Take(1, stateOf(addr), []int{late}) == nil
		if taken {
			select {
			case <-ended:
				t.Fatal("Retire has returned while a connection is served")
			default:
			}
		}
		clientOn(t, latePeer).nc.Close()
		<-ended
		if s.Take(1, stateOf(addr), []int{behind}) == nil {
			t.Fatal("Take = nil behind the end of Retire")
		}
	}
}
