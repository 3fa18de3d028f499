package status_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd"
	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

const config = `
	access_log off;
	server {
		listen ADDR; root ROOT;
		location = /status { stub_status; }
		location = /vars { return 200 "$connections_active $connections_reading $connections_writing $connections_waiting"; }
	}`

// The numbers are nginx's while connections wait, read and write.
func TestNumbersAreNginxs(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, config, sidebyside.Files{"file": "content\n"})
	for _, addr := range []string{p.Nginx, p.Baton} {
		for _, say := range []string{"", "GET /file HTTP/1.1\r\nHost: b\r\n\r\n", "GET /file HT", "GET /file HTTP/1.1\r\nHost: b\r\n\r\nGET"} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := io.WriteString(c, say); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := "Reading: 2 Writing: 1 Waiting: 2"
	for _, addr := range []string{p.Nginx, p.Baton} {
		got := ""
		for deadline := time.Now().Add(time.Minute); !strings.Contains(got, want); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q, want %s", addr, got, want)
			}
			got = page(t, addr, "/status")
		}
		if !strings.HasPrefix(got, "Active connections: 5 \nserver accepts handled requests\n ") {
			t.Errorf("%s: %q", addr, got)
		}
		if vars := page(t, addr, "/vars"); vars != "5 2 1 2" {
			t.Errorf("%s: variables %q", addr, vars)
		}
	}
}

// page returns the body of a response on a connection of its own.
func page(t *testing.T, addr, target string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.0\r\n\r\n", target); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(b), "\r\n\r\n")
	return body
}

// Form and methods are nginx's.
func TestPageIsNginxs(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, config, nil)
	for _, method := range []string{"HEAD", "POST", "DELETE"} {
		p.Same(sidebyside.Ask(method, "/status"))
	}
	nginx, baton := p.Do(sidebyside.Get("/status"))
	if form(nginx.Body) != form(baton.Body) || nginx.Field("Content-Type") != baton.Field("Content-Type") {
		t.Errorf("--- nginx\n%s\n--- baton\n%s", nginx, baton)
	}
}

// form is a page with every number made N.
func form(page string) string {
	return strings.Join(strings.FieldsFunc(page, func(r rune) bool { return r >= '0' && r <= '9' }), "N")
}

// The counters of all workers are added up.
func TestSumIsOverAllWorkers(t *testing.T) {
	t.Parallel()
	if got := httpd.Sum(make([]byte, 4*httpd.StatsBytes)); got != (httpd.Totals{}) {
		t.Errorf("sum of nothing is %+v", got)
	}
	shared := make([]byte, 4*httpd.StatsBytes)
	for worker := range 4 {
		for n := range 9 {
			shared[worker*httpd.StatsBytes+8*n] = byte(n + 1)
		}
	}
	want := httpd.Totals{Accepted: 4, Handled: 8, Requests: 12, Active: 60, Reading: 16, Writing: 20 + 36, Waiting: 24, Answered: 28, Failed: 32}
	if got := httpd.Sum(shared); got != want {
		t.Errorf("sum is %+v, want %+v", got, want)
	}
}
