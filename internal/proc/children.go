package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// AdoptOrphans makes this process the parent of what descends from it and loses its own,
// as process 1 is without being asked.
func AdoptOrphans() error {
	if os.Getpid() == 1 {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_CHILD_SUBREAPER) failed (%w)", Errno(err))
	}
	return nil
}

// YoungestMaster returns the child of this process that is a master, or is about to
// become one, and was started by argv: this server's own. Of several it is the one that
// pidFile names, else the youngest. 0 says that there is none. Nobody but a child of ours
// is found, whatever the file says.
func YoungestMaster(argv []string, pidFile string) (pid int, err error) {
	all, err := children(os.Getpid())
	if err != nil {
		return 0, err
	}
	named, _ := ReadPidFile(pidFile) // without one the youngest is taken
	line := strings.TrimRight(strings.Join(argv, " "), " ")
	var youngest uint64
	for _, c := range all {
		title := commandLine(c.pid)
		if title != line && !strings.HasSuffix(title, masterPart+line) {
			continue
		}
		if c.pid == named {
			return c.pid, nil
		}
		if c.started >= youngest {
			pid, youngest = c.pid, c.started
		}
	}
	return pid, nil
}

// A relative is another process and when it was started, in ticks since boot.
type relative struct {
	pid     int
	started uint64
}

// children returns the children of process parent that have not ended.
func children(parent int) (found []relative, err error) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it ended since the listing
		}
		state, ppid, started, err := parseStat(line)
		if err == nil && ppid == parent && state != 'Z' && state != 'X' {
			found = append(found, relative{pid, started})
		}
	}
	return found, nil
}

// parseStat reads a line of proc_pid_stat(5). The name, in parentheses, may hold anything.
func parseStat(line []byte) (state byte, ppid int, started uint64, err error) {
	f := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	if len(f) < 20 {
		return 0, 0, 0, errors.New("too few fields")
	}
	if ppid, err = strconv.Atoi(f[1]); err == nil {
		started, err = strconv.ParseUint(f[19], 10, 64)
	}
	return f[0][0], ppid, started, err
}
