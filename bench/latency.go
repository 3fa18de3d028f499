package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A lateRow is how long requests take that come at a fixed rate: half of what nginx can do.
type lateRow struct {
	name         string
	rate         float64 // requests per second
	baton, nginx latencies
}

// latencies are of all rounds of one server.
type latencies []time.Duration

// String is p50, p99 and p99.9 in milliseconds.
func (l latencies) String() string {
	l = slices.Sorted(slices.Values(l))
	at := func(part float64) string {
		return fmt.Sprintf("%.2f", float64(l[min(int(part*float64(len(l))), len(l)-1)])/float64(time.Millisecond))
	}
	if len(l) == 0 {
		return "-"
	}
	return at(0.5) + " / " + at(0.99) + " / " + at(0.999)
}

// lateClients is how many clients share a fixed rate.
const lateClients = 64

// lateCases are what is measured at a fixed rate.
func lateCases() []benchCase {
	return []benchCase{
		{name: "static 1 KB, fixed rate", path: "/1k.bin", status: 200},
		{name: "proxy 1 KB, fixed rate", path: "/proxy/1k.bin", status: 200},
	}
}

// latency measures Baton, the first of servers, and nginx at the same rate. dir is for
// what the load writes down.
func (r *report) latency(ctx context.Context, o options, tr *tree.Tree, servers []*server, dir string, progress io.Writer) error {
	for _, c := range lateCases() {
		if !o.only.MatchString(c.name) {
			continue
		}
		full, err := wrk(ctx, tr, servers[1], c, o.time)
		if err != nil {
			return err
		}
		got := lateRow{name: c.name, rate: full / 2}
		for round := range o.rounds {
			for i, s := range servers {
				l, err := s.atRate(ctx, tr, c, got.rate, o.time, filepath.Join(dir, "latency.log"))
				if err != nil {
					return err
				}
				fmt.Fprintf(progress, "%-30s round %d  %-6s %9.0f requests/s %s ms\n", c.name, round+1, s.name, got.rate, l)
				to := []*latencies{&got.baton, &got.nginx}[i]
				*to = append(*to, l...)
			}
		}
		r.late = append(r.late, got)
	}
	return nil
}

// atRate asks s rate times a second for d, and returns how long each answer took. The load
// writes them into log.
func (s *server) atRate(ctx context.Context, tr *tree.Tree, c benchCase, rate float64, d time.Duration, log string) (latencies, error) {
	each := max(rate/lateClients, 1)
	out, err := runLoad(ctx, tr, "h2load", "--h1", "-t1", "-c"+strconv.Itoa(lateClients), "-m1", "-D"+seconds(d),
		"--rps", strconv.FormatFloat(each, 'f', 0, 64), "--log-file", log, s.url(c))
	if err != nil {
		return nil, err
	}
	if m := h2Failed.FindString(out); m != "0 failed, 0 errored, 0 timeout" {
		return nil, fmt.Errorf("%s of %s: %s", c.name, s.name, m)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(log); err != nil { // the next load adds to it otherwise
		return nil, err
	}
	var l latencies
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != strconv.Itoa(c.status) {
			return nil, fmt.Errorf("%s of %s: read the log of the load: %q", c.name, s.name, line)
		}
		took, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, fmt.Errorf("%s of %s: read the log of the load: %w", c.name, s.name, err)
		}
		l = append(l, time.Duration(took)*time.Microsecond)
	}
	if len(l) == 0 {
		return nil, fmt.Errorf("%s of %s: nothing was answered", c.name, s.name)
	}
	return l, nil
}
