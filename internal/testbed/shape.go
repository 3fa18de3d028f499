package testbed

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/testbed/tree"
)

const (
	masterTitle   = ": master process"
	keeperTitle   = ": keeper process"
	workerTitle   = ": worker process"
	retiringTitle = ": worker process is shutting down"
)

// IsMaster reports whether p calls itself a master.
func IsMaster(p tree.Process) bool { return strings.Contains(p.Title, masterTitle+" ") }

// IsWorker reports whether p calls itself a worker, retiring or not. What stands
// behind that may be half written.
func IsWorker(p tree.Process) bool { return strings.Contains(p.Title, workerTitle) }

// IsRetiring reports whether p calls itself a worker that is shutting down.
func IsRetiring(p tree.Process) bool { return strings.HasSuffix(p.Title, retiringTitle) }

// Masters returns the masters among found, oldest first within a parent.
func Masters(found []tree.Process) (masters []tree.Process) {
	for _, p := range found {
		if IsMaster(p) {
			masters = append(masters, p)
		}
	}
	return masters
}

// WorkersOf returns the workers among found whose parent is master.
func WorkersOf(found []tree.Process, master int) (workers []tree.Process) {
	for _, p := range found {
		if IsWorker(p) && p.PPID == master {
			workers = append(workers, p)
		}
	}
	return workers
}

// Shape draws the processes below root by what they call themselves, one in a
// line, indented below their parents, masters and keepers without their arguments.
// Among siblings retiring workers come first, masters last, else the oldest:
//
//	nginx: master process
//	  nginx: worker process is shutting down
//	  nginx: master process
//	    nginx: worker process
//
// What is not indented is a child of root: for an upgraded master that means
// its old one has gone (outside of a test its parent would be process 1).
func Shape(root int, found []tree.Process) string {
	below := make(map[int][]tree.Process)
	for _, p := range found {
		below[p.PPID] = append(below[p.PPID], p)
	}
	var b strings.Builder
	draw(&b, below, root, "")
	return b.String()
}

// rank orders siblings in a Shape.
func rank(p tree.Process) int {
	switch {
	case IsRetiring(p):
		return 0
	case IsMaster(p):
		return 2
	default:
		return 1
	}
}

func draw(b *strings.Builder, below map[int][]tree.Process, parent int, indent string) {
	children := below[parent]
	// Workers that a roll-back started are younger than the new master; a
	// picture that does not depend on that is easier to compare.
	slices.SortStableFunc(children, func(p, q tree.Process) int {
		return cmp.Compare(rank(p), rank(q))
	})
	for _, p := range children {
		name := p.Title
		switch {
		case p.Zombie():
			name = "[" + p.Comm + "] <defunct>"
		case IsMaster(p):
			name, _, _ = strings.Cut(p.Title, masterTitle)
			name += masterTitle
		case strings.Contains(p.Title, keeperTitle+" "):
			name, _, _ = strings.Cut(p.Title, keeperTitle)
			name += keeperTitle
		}
		fmt.Fprintf(b, "%s%s\n", indent, name)
		draw(b, below, p.PID, indent+"  ")
	}
}

// PS returns what ps prints of these processes: pid, parent, user and command
// line, drawn as a forest.
func PS(ctx context.Context, found []tree.Process) (string, error) {
	if len(found) == 0 {
		return "", nil
	}
	var pids []string
	for _, p := range found {
		pids = append(pids, strconv.Itoa(p.PID))
	}
	out, err := exec.CommandContext(ctx, "ps", "-o", "pid,ppid,user,args", "--forest", "-ww", "-p", strings.Join(pids, ",")).Output()
	// ps leaves with 1 when every process is gone by now, and prints a heading.
	if _, left := err.(*exec.ExitError); err != nil && !left {
		return "", fmt.Errorf("run ps: %w", err)
	}
	return string(out), nil
}
