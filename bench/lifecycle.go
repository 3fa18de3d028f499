package main

import (
	"context"
	"fmt"
	"io"
	"os"
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
		s, err := newServer(tr, []string{"baton", "nginx"}[i], binary, dir, origins{"127.0.0.1:9", "127.0.0.1:9"}, serverCore+","+loadCore)
		if err != nil {
			return err
		}
		var starts, masters, workers []float64
		for range max(o.rounds, 1) {
			took, err := s.start(ctx)
			if err != nil {
				return err
			}
			m, w, err := s.memory(tr)
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

// memory returns the resident megabytes of the master and of its one worker.
func (s *server) memory(tr *tree.Tree) (master, worker float64, err error) {
	found, err := tr.Processes()
	if err != nil {
		return 0, 0, err
	}
	if master, err = resident(s.master); err != nil {
		return 0, 0, err
	}
	for _, p := range found {
		if p.PPID == s.master {
			worker, err = resident(p.PID)
			return master, worker, err
		}
	}
	return 0, 0, fmt.Errorf("find the worker of %s: master %d has no child", s.name, s.master)
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
