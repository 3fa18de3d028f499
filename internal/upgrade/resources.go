package upgrade

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
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
func memoryOf(pid int) uint64 {
	return lineOf(procPath(pid, "smaps_rollup"), "Pss:")
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
	_, group, ok := strings.Cut(strings.TrimSpace(string(text)), "0::")
	if !ok {
		return free, where
	}
	for dir := filepath.Join("/sys/fs/cgroup", group); strings.HasPrefix(dir, "/sys/fs/cgroup"); dir = filepath.Dir(dir) {
		limit, err := number(filepath.Join(dir, "memory.max"))
		if err != nil {
			continue // "max", or the root, which has none
		}
		used, err := number(filepath.Join(dir, "memory.current"))
		if err != nil {
			continue
		}
		// What was read from files is given back when it is needed.
		used -= min(used, lineOf(filepath.Join(dir, "memory.stat"), "inactive_file"))
		if left := limit - min(limit, used); where == "" || left < free {
			free, where = left, "memory.max of "+dir
		}
	}
	return free, where
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
	dir := filepath.Dir(op.record.Binary)
	var need uint64
	for _, path := range []string{op.o.To, procPath(op.old.pid, "exe")} {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		need += uint64(fi.Size())
	}
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
