package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A lifeRow is how one server starts and what it weighs when nobody talks to it.
type lifeRow struct {
	name           string
	start          float64 // milliseconds until the start command returned
	master, worker float64 // resident megabytes
}

// lifecycle measures starting time and idle memory.
func (r *report) lifecycle(ctx context.Context, o options, tr *tree.Tree, progress io.Writer) error {
	if !o.only.MatchString("start and memory") {
		return nil
	}
	dir, err := os.MkdirTemp("", "baton-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i, binary := range []string{o.baton, "/usr/sbin/nginx"} {
		s, err := newServer(tr, []string{"baton", "nginx"}[i], binary, dir, origins{http: "127.0.0.1:9"}, serverCore+","+loadCore)
		if err != nil {
			return err
		}
		var starts, masters, workers []float64
		for range max(o.rounds, 1) {
			took, err := s.start(ctx)
			if err != nil {
				return err
			}
			m, w, err := s.memory(ctx, tr)
			if err != nil {
				return err
			}
			starts = append(starts, float64(took)/float64(time.Millisecond))
			masters, workers = append(masters, m), append(workers, w)
			if err := s.stop(ctx); err != nil {
				return err
			}
		}
		life := lifeRow{s.name, median(starts), median(masters), median(workers)}
		fmt.Fprintf(progress, "%-6s start %.0f ms, master %.1f MB, idle worker %.1f MB\n", life.name, life.start, life.master, life.worker)
		r.life = append(r.life, life)
	}
	return nil
}

// memory returns the resident megabytes of the master and of its one worker, which a
// master may start after it listens.
func (s *server) memory(ctx context.Context, tr *tree.Tree) (master, worker float64, err error) {
	pid := 0
	err = until(ctx, "worker of "+s.name, func() bool {
		found, _ := tr.Processes() // else we look again
		i := slices.IndexFunc(found, func(p tree.Process) bool { return p.PPID == s.master })
		if i >= 0 {
			pid = found[i].PID
		}
		return i >= 0
	})
	if err != nil {
		return 0, 0, err
	}
	if master, err = resident(s.master); err != nil {
		return 0, 0, err
	}
	worker, err = resident(pid)
	return master, worker, err
}

// resident returns VmRSS of a process in megabytes.
func resident(pid int) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("read memory of process %d: no VmRSS", pid)
}
