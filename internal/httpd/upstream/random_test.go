package upstream_test

import (
	"bufio"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// busyServers are servers as [servers] are, with a place that never answers: who asks
// for /hang is told to hung by its server's number.
func busyServers(t *testing.T, n int) (addrs []string, hung chan int) {
	t.Helper()
	hung = make(chan int, 10)
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hang" {
				hung <- i
				<-r.Context().Done()
				return
			}
			fmt.Fprint(w, i)
		})}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = s.Serve(ln)
		}()
		t.Cleanup(func() { s.Close(); <-served })
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, hung
}

// ask asks one server for target, many times on one connection, and counts the bodies.
func ask(t *testing.T, addr, target string, times int) map[string]int {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	br := bufio.NewReader(c)
	got := map[string]int{}
	for range times {
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target); err != nil {
			t.Fatal(err)
		}
		a := sidebyside.ReadAnswer(br, "GET")
		if a.Err != "" {
			t.Fatalf("%s: %s", target, a.Err)
		}
		got[a.Code()+" "+a.Body]++
	}
	return got
}

// TestRandomIsByWeight: chance has no order to compare, but shares.
func TestRandomIsByWeight(t *testing.T) {
	a, _ := busyServers(t, 4)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	servers := fmt.Sprintf("server %s weight=5; server %s; server %s weight=2; server %s down;", a[0], a[1], a[2], a[3])
	p := sidebyside.Start(t, `
keepalive_requests 10000;
upstream one { random; `+servers+` keepalive 4; }
upstream two { random two; `+servers+` keepalive 4; }
upstream half { random; server `+a[0]+`; server `+dead.Addr().String()+`; keepalive 4; }
upstream none { random; server `+dead.Addr().String()+`; }
upstream single { random two least_conn; server `+a[1]+`; }
server {
	listen ADDR;
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	location /one { proxy_pass http://one/; }
	location /two { proxy_pass http://two/; }
	location /half { proxy_pass http://half/; }
	location /none { proxy_pass http://none/; }
	location /single { proxy_pass http://single/; }
}`, nil)
	const times = 400
	for name, addr := range map[string]string{"nginx": p.Nginx, "baton": p.Baton} {
		for target, shares := range map[string]map[string]float64{
			"/one": {"200 0": 5. / 8, "200 1": 1. / 8, "200 2": 2. / 8},
			// None is busy: the second that is drawn is taken, and it is another one.
			"/two": {"200 0": 1./8*5/7 + 2./8*5/6, "200 1": 5./8*1/3 + 2./8*1/6, "200 2": 5./8*2/3 + 1./8*2/7},
		} {
			got := ask(t, addr, target, times)
			for body, share := range shares {
				// Six times the standard deviation: once in a thousand million runs.
				off := 6 * math.Sqrt(times*share*(1-share))
				if n := float64(got[body]); math.Abs(n-times*share) > off {
					t.Errorf("%s %s: %q came %v times, want %v ± %.0f", name, target, body, n, times*share, off)
				}
				delete(got, body)
			}
			if len(got) > 0 {
				t.Errorf("%s %s: %v came too", name, target, got)
			}
		}
		for target, want := range map[string]string{"/half": "200 0", "/single": "200 1"} {
			if got := ask(t, addr, target, 50); got[want] != 50 {
				t.Errorf("%s %s: %v, want only %q", name, target, got, want)
			}
		}
	}
	if a := p.Same(sidebyside.Get("/none")); a.Code() != "502" {
		t.Errorf("status %s of a dead server", a.Code())
	}
}

// TestRandomTwoTakesTheFreerOne: of two servers the one that is not busy.
func TestRandomTwoTakesTheFreerOne(t *testing.T) {
	for _, method := range []string{"random two", "random two least_conn"} {
		t.Run(method, func(t *testing.T) {
			a, hung := busyServers(t, 2)
			p := sidebyside.Start(t, `
upstream pair { `+method+`; server `+strings.Join(a, "; server ")+`; }
server { listen ADDR; location / { proxy_pass http://pair; } }`, nil)
			for name, addr := range map[string]string{"nginx": p.Nginx, "baton": p.Baton} {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := fmt.Fprint(c, "GET /hang HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				var busy int
				select {
				case busy = <-hung:
				case <-time.After(time.Minute):
					t.Fatalf("%s asks nobody", name)
				}
				want := fmt.Sprintf("200 %d", 1-busy)
				if got := ask(t, addr, "/", 40); got[want] != 40 {
					t.Errorf("%s: while server %d is busy: %v, want only %q", name, busy, got, want)
				}
			}
		})
	}
}
