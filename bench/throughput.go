package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A benchCase is one kind of request.
type benchCase struct {
	name, path string
	status     int
	tls        bool   // at the address that serves TLS
	header     string // of each request, "" for none
	load       loader // nil: wrk
	clients    int    // of wrk, 0: 64
	behind     bool   // connections to the server behind are counted
}

// A loader loads a server for d and returns its requests per second.
type loader func(ctx context.Context, tr *tree.Tree, s *server, c benchCase, d time.Duration) (float64, error)

// cases are what is compared; access_log is on in all.
var cases = []benchCase{
	{name: "static 1 KB", path: "/1k.bin", status: 200},
	{name: "static 1 KB, 1 client", path: "/1k.bin", status: 200, clients: 1},
	{name: "static 1 KB, 1,000 clients", path: "/1k.bin", status: 200, clients: 1000},
	{name: "static 1 KB, 5,000 clients", path: "/1k.bin", status: 200, clients: 5000},
	{name: "static 100 KB", path: "/100k.bin", status: 200},
	{name: "404", path: "/missing", status: 404},
	{name: "proxy 1 KB", path: "/proxy/1k.bin", status: 200, behind: true},
	{name: "proxy 1 KB, 1 client", path: "/proxy/1k.bin", status: 200, clients: 1, behind: true},
	{name: "proxy 1 KB, 300 clients", path: "/proxy/1k.bin", status: 200, clients: 300, behind: true},
	{name: "proxy 1 KB, 1,000 clients", path: "/proxy/1k.bin", status: 200, clients: 1000, behind: true},
	{name: "proxy 1 KB, 5,000 clients", path: "/proxy/1k.bin", status: 200, clients: 5000, behind: true},
	{name: "proxy 100 KB", path: "/proxy/100k.bin", status: 200},
	{name: "static 1 KB, new connections", path: "/1k.bin", status: 200, header: closeConnection},
	{name: "static 1 KB, new connections, 1 client", path: "/1k.bin", status: 200, header: closeConnection, clients: 1},
	{name: "FastCGI 1 KB", path: "/fcgi/1k.bin", status: 200},
	{name: "gzip level 1, 100 KB of text", path: "/100k.txt", status: 200, header: "Accept-Encoding: gzip"},
	{name: "TLS static 1 KB", path: "/1k.bin", status: 200, tls: true},
	{name: "TLS static 100 KB", path: "/100k.bin", status: 200, tls: true},
	{name: "TLS 1.3, new handshakes", path: "/1k.bin", status: 200, tls: true, load: newHandshakes},
	{name: "TLS 1.3, resumed handshakes", path: "/1k.bin", status: 200, tls: true, load: resumedHandshakes},
	{name: "HTTP/2 1 KB", path: "/1k.bin", status: 200, tls: true, load: h2load},
}

const closeConnection = "Connection: close"

// A row is one case's result.
type row struct {
	name         string
	baton, nginx sample
}

// A sample is what one server did, by round.
type sample struct {
	rate []float64 // requests per second
	cost []float64 // microseconds of the worker's processor time for each request
	conn []float64 // connections to the server behind for each request, where they are counted
}

// ratio compares what came out under the same load.
func (r row) ratio() float64 { return median(r.baton.rate) / median(r.nginx.rate) }

// costRatio compares what the workers spent; above 1 Baton needs less.
func (r row) costRatio() float64 { return median(r.nginx.cost) / median(r.baton.cost) }

// A report is everything that was measured.
type report struct {
	rows []row
	late []lateRow
	life []lifeRow
	time time.Duration

	largeRows []largeRow

	hotRows []hotRow
	idle    idleRow
}

// runCases measures the throughput of all cases.
func runCases(ctx context.Context, o options, tr *tree.Tree, progress io.Writer) (*report, error) {
	dir, err := os.MkdirTemp("", "baton-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// Workers that run as another user read their documents there.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	backend, err := newServer(tr, "backend", "/usr/sbin/nginx", dir, origins{}, loadCore)
	if err != nil {
		return nil, err
	}
	app, stopApp, err := startResponder(ctx, tr)
	if err != nil {
		return nil, err
	}
	from := origins{http: backend.port.Addr(), fastcgi: app}
	servers := make([]*server, 2)
	for i, binary := range []string{o.baton, "/usr/sbin/nginx"} {
		if servers[i], err = newServer(tr, []string{"baton", "nginx"}[i], binary, dir, from, serverCore); err != nil {
			return nil, err
		}
	}
	all := append([]*server{backend}, servers...)
	for _, s := range all {
		if _, err := s.start(ctx); err != nil {
			return nil, err
		}
	}
	r := &report{time: o.time}
	for _, c := range cases {
		if !o.only.MatchString(c.name) {
			continue
		}
		got, err := runCase(ctx, o, tr, c, servers, backend, progress)
		if err != nil {
			return nil, err
		}
		r.rows = append(r.rows, got)
	}
	if err := r.latency(ctx, o, tr, servers, dir, progress); err != nil {
		return nil, err
	}
	for _, s := range all {
		if err := s.stop(ctx); err != nil {
			return nil, err
		}
	}
	return r, stopApp()
}

func runCase(ctx context.Context, o options, tr *tree.Tree, c benchCase, servers []*server, backend *server, progress io.Writer) (row, error) {
	got := row{name: c.name}
	if c.load == nil {
		c.load = wrk
	}
	for _, s := range servers {
		if err := check(ctx, s.url(c), c.status); err != nil {
			return got, fmt.Errorf("%s of %s: %w", c.name, s.name, err)
		}
		if _, err := c.load(ctx, tr, s, c, time.Second); err != nil { // warm
			return got, err
		}
	}
	for round := range o.rounds {
		for i, s := range servers {
			before, err := backend.accepted(ctx, c.behind)
			if err != nil {
				return got, err
			}
			rate, cost, err := s.measure(ctx, tr, c, o.time)
			if err != nil {
				return got, err
			}
			after, err := backend.accepted(ctx, c.behind)
			if err != nil {
				return got, err
			}
			to := []*sample{&got.baton, &got.nginx}[i]
			to.rate, to.cost = append(to.rate, rate), append(to.cost, cost)
			fmt.Fprintf(progress, "%-30s round %d  %-6s %9.0f requests/s %7.1f µs each", c.name, round+1, s.name, rate, cost)
			if c.behind {
				opened := float64(after-before) / (rate * o.time.Seconds())
				to.conn = append(to.conn, opened)
				fmt.Fprintf(progress, ", %.3f connections", opened)
			}
			fmt.Fprintln(progress)
		}
	}
	return got, nil
}

// measure loads the server once.
func (s *server) measure(ctx context.Context, tr *tree.Tree, c benchCase, d time.Duration) (rate, cost float64, err error) {
	before, err := s.spent(tr)
	if err != nil {
		return 0, 0, err
	}
	if rate, err = c.load(ctx, tr, s, c, d); err != nil {
		return 0, 0, err
	}
	after, err := s.spent(tr)
	return rate, float64((after - before).Microseconds()) / (rate * d.Seconds()), err
}

// check makes sure that a server answers what the case is about: a server that
// answers 500 quickly must not win.
func check(ctx context.Context, url string, status int) error {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: anyServer()}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return nil
}

var (
	rateLine  = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	badAnswer = regexp.MustCompile(`(Socket errors: .*|Non-2xx or 3xx responses: \d+)`)
)

// wrk is the loader of plain requests.
func wrk(ctx context.Context, tr *tree.Tree, s *server, c benchCase, d time.Duration) (float64, error) {
	clients := c.clients
	if clients == 0 {
		clients = 64
	}
	args := []string{"wrk", "-t1", "-c" + strconv.Itoa(clients), "-d" + seconds(d), "--timeout", "30s"}
	if c.header != "" {
		args = append(args, "-H", c.header)
	}
	out, err := runLoad(ctx, tr, append(args, s.url(c))...)
	if err != nil {
		return 0, err
	}
	closes := c.header == closeConnection
	if bad := badAnswer.FindString(out); bad != "" && c.status == 200 && !(closes && strings.HasPrefix(bad, "Socket errors: connect 0, read")) {
		return 0, fmt.Errorf("%s of %s: %s", c.name, s.name, bad)
	}
	rate, err := readRate(rateLine, out)
	if err == nil && rate == 0 {
		err = fmt.Errorf("%s of %s: nothing was answered", c.name, s.name)
	}
	return rate, err
}

// runLoad runs a load to its end, on its core, and returns what it printed.
func runLoad(ctx context.Context, tr *tree.Tree, args ...string) (string, error) {
	p, err := tr.Start(tree.Command{Args: append([]string{"taskset", "-c", loadCore}, args...)})
	if err != nil {
		return "", err
	}
	status, err := p.Wait(ctx)
	if err == nil && status.ExitStatus() != 0 {
		err = fmt.Errorf("%s: exit status %d: %s", args[0], status.ExitStatus(), p.Stderr())
	}
	return p.Stdout(), err
}

// readRate finds the requests per second in what a load printed.
func readRate(line *regexp.Regexp, out string) (float64, error) {
	m := line.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("read the output of the load: %q", out)
	}
	return strconv.ParseFloat(m[1], 64)
}

// seconds is d as load programs take it.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 0, 64) }

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
