package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/baton-deploy/baton/internal/report"
)

// maxCandidates is how many masters are told of that may be the one whose pid file is lost.
const maxCandidates = 3

// lost finds the master of a pid file that does not name it any more: somebody removed the
// file, or wrote something else to it. A master of Baton has a socket beside it, which tells
// who listens there. nil when there is none.
func lost(ctx context.Context, pidFile string) *sight {
	pid, err := report.Find(ctx, pidFile)
	if err != nil {
		return nil
	}
	p, err := look(pid)
	if err != nil || p.zombie() || !p.isMaster() || !p.ours() {
		return nil
	}
	below, err := children(pid)
	if err != nil {
		return nil
	}
	g := &generation{process: p, named: true, pidFile: pidFile, workers: workersIn(below[pid])}
	return &sight{pidFile: pidFile, new: g, lost: true}
}

// write is the command that makes a pid file name a master again.
func write(pid int, pidFile string) string {
	return fmt.Sprintf("echo %d > %s", pid, shellWord(pidFile))
}

// orLost makes of an error that wraps [ErrNothingRuns] another one, when something runs and
// its pid file is lost; or adds who may be meant.
func orLost(ctx context.Context, pidFile string, err error) error {
	if !errors.Is(err, ErrNothingRuns) {
		return err
	}
	if s := lost(ctx, pidFile); s != nil {
		reason := strings.TrimPrefix(err.Error(), ErrNothingRuns.Error()+": ")
		return fmt.Errorf("%s, but master %d has its socket beside it and runs: \"%s\" writes the pid file again",
			reason, s.new.pid, write(s.new.pid, pidFile))
	}
	for _, p := range candidates(pidFile) {
		err = fmt.Errorf("%w; master %d (%s) runs: if that is the one, \"%s\" writes the pid file again", err, p.pid, p.title, write(p.pid, pidFile))
	}
	return err
}

// candidates returns masters of this user that belong to the prefix of a pid file, by their
// command line or their folder, and that it does not name.
func candidates(pidFile string) (found []process) {
	prefix := filepath.Dir(filepath.Dir(pidFile))
	names, err := os.ReadDir("/proc")
	if err != nil || prefix == "/" {
		return nil
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil || len(found) == maxCandidates {
			continue
		}
		p, err := look(pid)
		if err != nil || p.zombie() || !p.isMaster() || !p.ours() {
			continue
		}
		dir, err := p.link("cwd")
		if errors.Is(err, fs.ErrPermission) {
			dir = ""
		}
		if strings.Contains(p.title, prefix+"/") || dir == prefix || strings.HasPrefix(dir, prefix+"/") {
			found = append(found, p)
		}
	}
	return found
}
