package upgrade

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkMemory finds that a second generation would not fit.
func (op *operation) checkMemory(context.Context) error {
	need := memoryOf(op.old.pid)
	for _, w := range op.old.workers {
		need += memoryOf(w.pid)
	}
	free, where := freeMemory(op.old.pid)
	if where != "" && need > free {
		return fmt.Errorf("two generations do not fit: one takes %s, and %s are free (%s)", size(need), size(free), where)
	}
	return nil
}

// memoryOf returns a process's share of memory; pages that several share count in
// parts. 0 when the kernel does not tell.
func memoryOf(pid int) (bytes uint64) {
	_ = lookInto(pid, func(dir string) error { // none of what may not be looked into
		bytes = lineOf(dir+"/smaps_rollup", "Pss:")
		return nil
	})
	return bytes
}

// freeMemory returns what a new process in the place of pid can get, and by what that
// is limited; where is "" when nothing tells.
func freeMemory(pid int) (free uint64, where string) {
	if n := lineOf("/proc/meminfo", "MemAvailable:"); n > 0 {
		free, where = n, "of the machine"
	}
	text, err := os.ReadFile(procPath(pid, "cgroup"))
	if err != nil {
		return free, where
	}
	for _, dir := range memoryGroups("/sys/fs/cgroup", string(text)) {
		if left, ok := dir.free(); ok && (where == "" || left < free) {
			free, where = left, "memory limit of "+dir.path
		}
	}
	return free, where
}

// A memoryGroup is a control group that may limit memory, and how the kernel calls what
// is in its folder: cgroups(7) has two versions.
type memoryGroup struct{ path, limit, used, inactive string }

// memoryGroups returns the groups of a process, and all above them: any may have a limit.
// root is where they are mounted, text what the process's /proc/PID/cgroup has.
func memoryGroups(root, text string) (groups []memoryGroup) {
	for line := range strings.Lines(text) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		var mounts []string
		g := memoryGroup{limit: "memory.max", used: "memory.current", inactive: "inactive_file"}
		switch {
		case controllers == "": // version 2, alone or beside the other
			mounts = []string{root, filepath.Join(root, "unified")}
		case slices.Contains(strings.Split(controllers, ","), "memory"):
			mounts = []string{filepath.Join(root, "memory")}
			g = memoryGroup{limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", inactive: "total_inactive_file"}
		}
		for _, mount := range mounts {
			// In a container the path may be that of the machine: what is mounted then is
			// the container's own group.
			for g.path = filepath.Join(mount, path); strings.HasPrefix(g.path, mount); g.path = filepath.Dir(g.path) {
				groups = append(groups, g)
			}
		}
	}
	return groups
}

// free returns what is left of the group's limit; ok is false when it has none.
func (g memoryGroup) free() (left uint64, ok bool) {
	limit, err := number(filepath.Join(g.path, g.limit))
	if err != nil {
		return 0, false // "max", or the root, which has none
	}
	used, err := number(filepath.Join(g.path, g.used))
	if err != nil {
		return 0, false
	}
	// What was read from files is given back when it is needed.
	used -= min(used, lineOf(filepath.Join(g.path, "memory.stat"), g.inactive))
	return limit - min(limit, used), true
}

// lineOf returns the number behind a word in a file of lines "word number [kB]", in
// bytes; 0 when it is not there.
func lineOf(path, word string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != word {
			continue
		}
		n, err := strconv.ParseUint(fields[1], 10, 64)
		if err == nil && len(fields) == 3 && fields[2] == "kB" {
			n <<= 10
		}
		return n
	}
	return 0
}

func number(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// checkDisk finds that there is no room for the new binary and a copy of the old one.
func (op *operation) checkDisk(context.Context) error {
	if op.record.inPlace() {
		return nil
	}
	dir := filepath.Dir(op.record.Binary)
	running, err := os.Stat(op.old.imagePath())
	if err != nil {
		return err
	}
	fresh, err := op.fresh.Stat()
	if err != nil {
		return err
	}
	need := uint64(running.Size()) + uint64(fresh.Size())
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	if free := st.Bavail * uint64(st.Bsize); need > free {
		return fmt.Errorf("no room in %s: %s needed, %s free", dir, size(need), size(free))
	}
	return nil
}

func size(n uint64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
