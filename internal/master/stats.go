package master

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/shm"
)

// StatsDescriptor returns the descriptor in the value of [EnvStats], if it is one that
// this release understands.
func StatsDescriptor(value string) (fd int, ok bool) {
	fd, _, ok = parseStats(value)
	return fd, ok
}

// parseStats reads "version:descriptor:first row".
func parseStats(value string) (fd, first int, ok bool) {
	parts := strings.Split(value, ":")
	if len(parts) != 3 || parts[0] != strconv.Itoa(shm.TableVersion) {
		return 0, 0, false
	}
	fd, err := strconv.Atoi(parts[1])
	first, err2 := strconv.Atoi(parts[2])
	return fd, first, err == nil && err2 == nil && fd > 2 && (first == 0 || first == shm.HalfOfRows)
}

// openStats takes the memory in which all workers count that the old master passed, or
// makes one. A variable that somebody made up is none.
func openStats(passed string, clear func([]byte, int)) (*shm.Table, error) {
	fd, first, ok := parseStats(passed)
	if !ok {
		fd = -1
	}
	return shm.OpenTable(fd, first, clear)
}

// formatStats is the inverse of parseStats.
func formatStats(version, fd, first int) string { return fmt.Sprintf("%d:%d:%d", version, fd, first) }

// sweepEvery is how often we look whether workers still live that are not ours: those
// of another master, or whom it left behind.
const sweepEvery = time.Second

// sweepStats is sweep, now and then again as long as it matters.
func (m *Master) sweepStats() {
	m.shared.strangers = nil
	if m.stats != nil && m.stats.Sweep(func(pid int) bool { return m.children[pid] != nil }) {
		m.shared.strangers = time.After(sweepEvery)
	}
}
