package upgrade

import (
	"io"
	"os"
	"regexp"
	"strings"
)

// An errorLog is the file that a master's standard error goes to, which is its error
// log, from a certain place on.
type errorLog struct {
	master process
	file   *os.File // nil when it is no file, or not ours to read
	from   int64
}

// findErrorLog returns the error log of a master as it is now.
func findErrorLog(master process) errorLog {
	f, err := master.openFile("fd/2")
	if err != nil {
		return errorLog{}
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return errorLog{}
	}
	return errorLog{master, f, fi.Size()}
}

// troubleLine is a line of level warn or above, in nginx's format.
var troubleLine = regexp.MustCompile(`\[(warn|error|crit|alert|emerg)\]`)

// trouble returns the last lines since then that tell of trouble, at most n, and
// without any such the last ones of any kind.
func (l errorLog) trouble(n int) []string {
	all := l.since()
	var bad []string
	for _, line := range all {
		if troubleLine.MatchString(line) {
			bad = append(bad, line)
		}
	}
	if len(bad) > 0 {
		all = bad
	}
	return all[max(0, len(all)-n):]
}

// since returns the lines since then; of many the last ones.
func (l errorLog) since() (lines []string) {
	if l.file == nil {
		return nil
	}
	lines = linesFrom(l.file, l.from)
	if now, err := l.master.openFile("fd/2"); err == nil {
		defer now.Close()
		if isSame(now, l.file) {
			return lines
		}
		lines = append(lines, linesFrom(now, 0)...) // it was rotated
	}
	return lines
}

// linesFrom returns the lines of a file that come after from; of many the last ones.
func linesFrom(f *os.File, from int64) (lines []string) {
	const enough = 64 << 10
	if fi, err := f.Stat(); err != nil || fi.Size() < from {
		from = 0 // it was cut
	} else if fi.Size()-from > enough {
		from = fi.Size() - enough
	}
	text, err := io.ReadAll(io.NewSectionReader(f, from, enough))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func isSame(f, g *os.File) bool {
	a, errA := f.Stat()
	b, errB := g.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}
