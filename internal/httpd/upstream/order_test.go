package upstream_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// servers starts n servers that answer with their number, and returns their
// addresses. Each counts the connections it got.
func servers(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		t.Cleanup(func() { ln.Close(); <-done })
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go answer(c, i) // ends with its connection
			}
		}()
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs
}

func answer(c net.Conn, number int) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	br := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.URL.Path == "/fail" {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%2d", number)
	}
}

// Every balancing method chooses the very servers that nginx chooses.
func TestOrderOfServersIsNginxs(t *testing.T) {
	a := servers(t, 6)
	var closed string
	{
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closed = ln.Addr().String()
		ln.Close()
	}
	groups := map[string]string{
		"plain":    "server %0; server %1; server %2;",
		"weights":  "server %0 weight=5; server %1; server %2 weight=2;",
		"weights2": "server %0 weight=3; server %1 weight=7; server %2 weight=1; server %3 weight=4;",
		"down":     "server %0; server %1 down; server %2 weight=2;",
		"backup":   "server %0 down; server %1 backup weight=2; server %2 backup;",
		"dead":     "server %0; server %x; server %2 weight=3;",
		"nofails":  "server %0; server %x max_fails=0; server %2;",
		"fails3":   "server %0; server %x max_fails=3 weight=6; server %2;",
		"least":    "least_conn; server %0 weight=3; server %1; server %2 weight=2;",
		"leastbak": "least_conn; server %x; server %1 backup; server %2 backup weight=2;",
		"iphash":   "ip_hash; server %0; server %1 weight=2; server %2; server %3; server %4 down;",
		"hash":     "hash $arg_k; server %0 weight=2; server %1; server %2 weight=3;",
		"hashdead": "hash $arg_k; server %0; server %x; server %2;",
		"ring":     "hash $arg_k consistent; server %0; server %1 weight=2; server %2; server %3; server %4; server %5;",
		"ringdead": "hash $arg_k consistent; server %0; server %x; server %2;",
		"zone":     "zone z 64k; server %0 weight=2; server %1;",
		"one":      "server %0 max_conns=5;",
	}
	text := ""
	for name, g := range groups {
		for i, addr := range a {
			g = strings.ReplaceAll(g, fmt.Sprintf("%%%d", i), addr)
		}
		g = strings.ReplaceAll(g, "%x", closed)
		text += fmt.Sprintf("upstream %s { %s }\n", name, g)
	}
	text += "log_format u '$request $upstream_addr $upstream_status'; access_log logs/u.log u;\nserver { listen ADDR;\n"
	for name := range groups {
		text += fmt.Sprintf("location /%s { proxy_pass http://%s; }\n", name, name)
	}
	p := sidebyside.Start(t, text+"}", nil)
	for name := range groups {
		for i := range 24 {
			p.Same(sidebyside.Get(fmt.Sprintf("/%s?k=key%d", name, i)))
		}
	}
	var n, b []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		nginx, baton := p.Logs("logs/u.log")
		n, b = strings.Split(nginx, "\n"), strings.Split(baton, "\n")
		if len(n) == len(b) && len(n) > 24*len(groups) {
			break
		}
	}
	// A line is written when the answer is on its way: the next may overtake it.
	slices.Sort(n)
	slices.Sort(b)
	for i := range min(len(n), len(b)) {
		if n[i] != b[i] {
			t.Errorf("nginx %s\nbaton %s", n[i], b[i])
		}
	}
	if len(n) != len(b) {
		t.Errorf("nginx logged %d lines, baton %d", len(n), len(b))
	}
}
