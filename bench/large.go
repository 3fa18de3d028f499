package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/baton-deploy/baton/internal/testbed"
	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// A shape is how large a configuration is.
type shape struct{ servers, locations int }

func (s shape) String() string { return fmt.Sprintf("%d × %d", s.servers, s.locations) }

// shapes grow, but for the last one, which is one large server.
func shapes() []shape { return []shape{{100, 20}, {1000, 20}, {4000, 20}, {1, 10000}} }

// A largeRow is what a configuration costs.
type largeRow struct {
	shape        shape
	baton, nginx weight
}

// A weight is medians, in seconds and resident megabytes.
type weight struct{ test, ready, retired, master, worker float64 }

// large measures configurations of many servers and locations.
func (r *report) large(ctx context.Context, o options, tr *tree.Tree, progress io.Writer) error {
	if !o.only.MatchString("large configurations") {
		return nil
	}
	dir, err := os.MkdirTemp("", "baton-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, sh := range shapes() {
		row := largeRow{shape: sh}
		for i, binary := range []string{o.baton, "/usr/sbin/nginx"} {
			name := []string{"baton", "nginx"}[i]
			s, err := newLarge(tr, name, binary, filepath.Join(dir, fmt.Sprintf("%s-%d-%d", name, sh.servers, sh.locations)), sh)
			if err != nil {
				return err
			}
			var all [5][]float64
			for range max(o.rounds, 1) {
				w, err := s.weigh(ctx, tr)
				if err != nil {
					return err
				}
				for k, v := range []float64{w.test, w.ready, w.retired, w.master, w.worker} {
					all[k] = append(all[k], v)
				}
			}
			w := weight{median(all[0]), median(all[1]), median(all[2]), median(all[3]), median(all[4])}
			*[]*weight{&row.baton, &row.nginx}[i] = w
			fmt.Fprintf(progress, "%-10s %-6s -t %.2f s, ready %.2f s, retired %.2f s, master %.0f MB, worker %.0f MB\n",
				sh, name, w.test, w.ready, w.retired, w.master, w.worker)
		}
		r.largeRows = append(r.largeRows, row)
	}
	return nil
}

// newLarge lays out a prefix for binary in dir, with a configuration of a shape.
func newLarge(tr *tree.Tree, name, binary, dir string, sh shape) (*server, error) {
	prefix, err := newPrefix(dir, binary)
	if err != nil {
		return nil, err
	}
	port, err := testbed.TakePort()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("server_names_hash_bucket_size 128; server_names_hash_max_size 65536;\n")
	for i := range sh.servers {
		fmt.Fprintf(&b, "server { listen %s; server_name s%d.example.com www.s%d.example.com; root /srv/%d;\n", port.Addr(), i, i, i)
		for j := range sh.locations {
			if j%2 == 0 {
				fmt.Fprintf(&b, "  location /loc%d/ { root /srv/%d/%d; expires 1h; }\n", j, i, j)
			} else {
				fmt.Fprintf(&b, "  location /loc%d/ { proxy_pass http://127.0.0.1:9; proxy_set_header Host $host; }\n", j)
			}
		}
		b.WriteString("}\n")
	}
	c := testbed.Conf{Listen: []string{port.Addr()}, Workers: 1, HTTP: b.String()}
	s := &server{name: name, prefix: prefix, port: port, tree: tr, binary: binary, core: serverCore + "," + loadCore}
	return s, os.WriteFile(prefix.ConfFile(), []byte(c.String()), 0o644)
}

// weigh tests the configuration, starts the server, has it load the configuration again,
// and ends it.
func (s *server) weigh(ctx context.Context, tr *tree.Tree) (w weight, err error) {
	began := time.Now()
	p, err := tr.Start(tree.Command{Args: []string{s.prefix.Binary(), "-t", "-p", s.prefix.Dir, "-c", s.prefix.ConfFile()}})
	if err != nil {
		return w, err
	}
	status, err := p.Wait(ctx)
	if err == nil && status.ExitStatus() != 0 {
		err = fmt.Errorf("%s -t: exit status %d: %s", s.name, status.ExitStatus(), p.Stderr())
	}
	if err != nil {
		return w, err
	}
	w.test = time.Since(began).Seconds()
	began = time.Now()
	if _, err := s.start(ctx); err != nil {
		return w, err
	}
	if err := check(ctx, "http://"+s.port.Addr()+"/missing", 404); err != nil { // once a worker serves
		return w, err
	}
	w.ready = time.Since(began).Seconds()
	if w.master, w.worker, err = s.memory(ctx, tr); err != nil {
		return w, err
	}
	if w.retired, err = s.reload(ctx, tr); err != nil {
		return w, err
	}
	return w, s.stop(ctx)
}

// reload returns the seconds from HUP until the old worker is gone.
func (s *server) reload(ctx context.Context, tr *tree.Tree) (float64, error) {
	old, err := s.workers(tr)
	if err != nil {
		return 0, err
	}
	master, err := tree.Look(s.master)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := master.Signal(syscall.SIGHUP); err != nil {
		return 0, err
	}
	err = within(ctx, 5*time.Minute, "old worker of "+s.name, func() bool {
		now, err := s.workers(tr)
		return err == nil && len(now) > 0 && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(old, pid) })
	})
	return time.Since(began).Seconds(), err
}

// workers are the pids of the master's children.
func (s *server) workers(tr *tree.Tree) (pids []int, err error) {
	found, err := tr.Processes()
	for _, p := range found {
		if p.PPID == s.master {
			pids = append(pids, p.PID)
		}
	}
	return pids, err
}

// largeTable is the rows as Markdown, each figure Baton's and nginx's. Growth is that of -t
// from one size to the next.
func (r *report) largeTable() string {
	var b strings.Builder
	b.WriteString("\n| servers × locations, Baton / nginx | -t, s | growth | start to ready, s | HUP to retired, s | master, MB | worker, MB |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for i, row := range r.largeRows {
		growth := ""
		if i > 0 && row.shape.locations == r.largeRows[i-1].shape.locations {
			before := r.largeRows[i-1]
			growth = fmt.Sprintf("×%.1f / ×%.1f for ×%.0f", row.baton.test/before.baton.test, row.nginx.test/before.nginx.test,
				float64(row.shape.servers)/float64(before.shape.servers))
		}
		x, y := row.baton, row.nginx
		fmt.Fprintf(&b, "| %s | %.2f / %.2f | %s | %.2f / %.2f | %.2f / %.2f | %.0f / %.0f | %.0f / %.0f |\n", row.shape, x.test, y.test, growth,
			x.ready, y.ready, x.retired, y.retired, x.master, y.master, x.worker, y.worker)
	}
	return b.String()
}
