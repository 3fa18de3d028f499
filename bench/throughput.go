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
	close      bool // a new connection for each request
}

// cases are what is compared; access_log is on in all.
var cases = []benchCase{
	{name: "static 1 KB", path: "/1k.bin", status: 200},
	{name: "static 100 KB", path: "/100k.bin", status: 200},
	{name: "404", path: "/missing", status: 404},
	{name: "proxy 1 KB", path: "/proxy/1k.bin", status: 200},
	{name: "proxy 100 KB", path: "/proxy/100k.bin", status: 200},
	{name: "static 1 KB, new connections", path: "/1k.bin", status: 200, close: true},
}

// A row is one case's result.
type row struct {
	name         string
	baton, nginx []float64 // requests per second, by round
}

func (r row) ratio() float64 { return median(r.baton) / median(r.nginx) }

// A report is everything that was measured.
type report struct {
	rows []row
	life []lifeRow
	time time.Duration

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
	backend, err := newServer(tr, "backend", "/usr/sbin/nginx", dir, "", loadCore)
	if err != nil {
		return nil, err
	}
	servers := make([]*server, 2)
	for i, binary := range []string{o.baton, "/usr/sbin/nginx"} {
		if servers[i], err = newServer(tr, []string{"baton", "nginx"}[i], binary, dir, backend.port.Addr(), serverCore); err != nil {
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
		got, err := runCase(ctx, o, tr, c, servers, progress)
		if err != nil {
			return nil, err
		}
		r.rows = append(r.rows, got)
	}
	for _, s := range all {
		if err := s.stop(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func runCase(ctx context.Context, o options, tr *tree.Tree, c benchCase, servers []*server, progress io.Writer) (row, error) {
	got := row{name: c.name}
	for _, s := range servers {
		if err := check(ctx, s.url(c.path), c.status); err != nil {
			return got, fmt.Errorf("%s of %s: %w", c.name, s.name, err)
		}
		if _, err := wrk(ctx, tr, s, c, time.Second); err != nil { // warm
			return got, err
		}
	}
	for round := range o.rounds {
		for i, s := range servers {
			rate, err := wrk(ctx, tr, s, c, o.time)
			if err != nil {
				return got, err
			}
			fmt.Fprintf(progress, "%-30s round %d  %-6s %9.0f requests/s\n", c.name, round+1, s.name, rate)
			if i == 0 {
				got.baton = append(got.baton, rate)
			} else {
				got.nginx = append(got.nginx, rate)
			}
		}
	}
	return got, nil
}

// check makes sure that a server answers what the case is about: a server that
// answers 500 quickly must not win.
func check(ctx context.Context, url string, status int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
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

// wrk loads a server and returns its requests per second.
func wrk(ctx context.Context, tr *tree.Tree, s *server, c benchCase, d time.Duration) (float64, error) {
	args := []string{"taskset", "-c", loadCore, "wrk", "-t1", "-c64", "-d" + strconv.FormatFloat(d.Seconds(), 'f', 0, 64) + "s"}
	if c.close {
		args = append(args, "-H", "Connection: close")
	}
	p, err := tr.Start(tree.Command{Args: append(args, s.url(c.path))})
	if err != nil {
		return 0, err
	}
	if _, err := p.Wait(ctx); err != nil {
		return 0, err
	}
	out := p.Stdout()
	m := rateLine.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("read wrk's output: %q, %q", out, p.Stderr())
	}
	if bad := badAnswer.FindString(out); bad != "" && c.status == 200 && !(c.close && strings.HasPrefix(bad, "Socket errors: connect 0, read")) {
		return 0, fmt.Errorf("%s of %s: %s", c.name, s.name, bad)
	}
	return strconv.ParseFloat(m[1], 64)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
